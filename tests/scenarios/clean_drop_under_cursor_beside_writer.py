"""The same beside a connection that has just committed: it looks much like a stale snapshot, and is none."""
#: {"clean": true}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import sqlite3

import stage

stage.database("wal")
db, other = stage.connect(timeout=5), stage.connect(timeout=5)
other.execute("CREATE TABLE other(x)")
other.execute("INSERT INTO t(v) VALUES(0)")
rows = db.execute("SELECT v FROM t")
next(rows)
with stage.locked(sqlite3.SQLITE_LOCKED):
    db.execute("DROP TABLE other")
other.execute("INSERT INTO t(v) VALUES(1)")
rows.close()
