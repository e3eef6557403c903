"""After a crash the first connection rebuilds the wal-index; the second has no patience for it."""
#: {"preload": "slow_disk.c"}
#: {"cause": "wal-recovery", "outcome": "gave-up", "victim": null}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import os
import sqlite3

import stage

stage.database("wal")


def crash(parent):
    db = stage.connect(timeout=5)
    db.execute("INSERT INTO t(v) VALUES(0)")
    os._exit(9)


stage.Child(crash).end(9)
first, second = stage.connect(timeout=5, fresh=True), stage.connect(timeout=0.1, fresh=True)
with stage.hold("read", "-wal") as disk:
    recovering = stage.Thread(lambda: first.execute("SELECT count(*) FROM t").fetchone())
    disk.arrived()
    with stage.locked(sqlite3.SQLITE_BUSY_RECOVERY):
        second.execute("SELECT count(*) FROM t")
recovering.end()
