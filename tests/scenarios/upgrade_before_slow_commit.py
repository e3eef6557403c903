"""The other's write is refused while the first transaction waits for its user; that its commit is slow, later, is no part of this."""
#: {"preload": "slow_disk.c"}
#: {"cause": "upgrade-refused", "outcome": "gave-up", "victim": "UPDATE t SET v = 2", "culprit": "UPDATE t SET v = 1", "perhaps_contributing": ["idle-in-transaction"], "attempts": 1}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import threading

import stage

stage.database("wal")
one, two = stage.connect(timeout=5, durable=True), stage.connect(timeout=5)
written, refused = threading.Event(), threading.Event()


def first():
    one.execute("BEGIN")
    one.execute("UPDATE t SET v = 1 WHERE id = 1")
    written.set()
    stage.happened(refused)
    one.execute("COMMIT")


def second():
    two.execute("BEGIN")
    two.execute("SELECT v FROM t").fetchall()
    stage.happened(written)
    with stage.locked():
        two.execute("UPDATE t SET v = 2 WHERE id = 2")
    two.execute("ROLLBACK")
    refused.set()


with stage.hold("sync", "-wal") as disk:
    writing, reading = stage.Thread(first), stage.Thread(second)
    disk.arrived()
    reading.end()
    # The disk takes as long as it takes to read the trace.
    stage.refused("WRITE")
writing.end()
