"""DROP TABLE while a cursor of the same connection is open: "database table is locked", which no other connection caused."""
#: {"clean": true}
import sqlite3

import stage

stage.database("wal")
db = stage.connect(timeout=5)
db.execute("CREATE TABLE other(x)")
rows = db.execute("SELECT v FROM t")
next(rows)
with stage.locked(sqlite3.SQLITE_LOCKED):
    db.execute("DROP TABLE other")
rows.close()
db.execute("DROP TABLE other")
