"""A worker is killed in the middle of its commit; the next reader plays the journal back, and the one after must wait for that."""
#: {"preload": "slow_disk.c"}
#: {"cause": "hot-journal", "outcome": "gave-up", "victim": null, "perhaps_contributing": ["slow-sync", "rollback-journal"]}
import os

import stage

stage.database("delete")


def killed(parent):
    db = stage.connect(timeout=5, durable=True)
    with stage.hold("sync", "app.db") as disk:
        stage.Thread(db.execute, "UPDATE t SET v = 0")
        disk.arrived()
        os.kill(os.getpid(), 9)


stage.Child(killed).end(-9)
assert os.stat("app.db-journal").st_size > 0
first, second = stage.connect(timeout=5, fresh=True, durable=True), stage.connect(timeout=0.1, fresh=True)
with stage.hold("sync", "app.db") as disk:
    playing = stage.Thread(lambda: first.execute("SELECT sum(v) FROM t").fetchone())
    disk.arrived()
    with stage.locked():
        second.execute("SELECT sum(v) FROM t")
playing.end()
