"""An export reads for hours; the nightly `wal_checkpoint(TRUNCATE)` reports busy, and the -wal keeps growing."""
#: {"cause": "checkpoint-starved", "outcome": "gave-up", "victim": "PRAGMA wal_checkpoint(TRUNCATE)", "culprit": "SELECT v FROM t ORDER BY id", "perhaps_contributing": ["unfinished-statement", "idle-in-transaction"]}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
#: {"hazard": "long-read-transaction", "perhaps": true}
import threading

import stage

stage.database("wal")
export, app = stage.connect(timeout=5), stage.connect(timeout=0)
reading, refused = threading.Event(), threading.Event()
app.execute("INSERT INTO t(v) VALUES(0)")


def read():
    rows = export.execute("SELECT v FROM t ORDER BY id")
    next(rows)
    reading.set()
    stage.happened(refused)
    rows.close()


def maintain():
    stage.happened(reading)
    for n in range(50):
        app.execute("INSERT INTO t(v) VALUES(zeroblob(2000))")
    busy, pages, moved = app.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert busy == 1 and moved < pages
    refused.set()


stage.together(read, maintain)
