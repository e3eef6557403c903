"""A transaction reads, another connection commits, and the transaction's first write fails though nobody holds a lock."""
#: {"cause": "stale-snapshot", "outcome": "gave-up", "victim": "UPDATE t SET v = 11 WHERE id = 1", "culprit": "UPDATE t SET v = 99 WHERE id = 2", "contributing": []}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import sqlite3

import stage

stage.database("wal")
report, other = stage.connect(timeout=5), stage.connect(timeout=5)
report.execute("BEGIN")
assert report.execute("SELECT v FROM t WHERE id = 1").fetchone() == (10,)
other.execute("UPDATE t SET v = 99 WHERE id = 2")
with stage.locked(sqlite3.SQLITE_BUSY_SNAPSHOT):
    report.execute("UPDATE t SET v = 11 WHERE id = 1")
report.execute("ROLLBACK")
