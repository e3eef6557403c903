"""Datasette's way to open a database, `mode=ro`: when such a connection closes a WAL it asks for a write lock, which its file cannot take, and an I/O error is the answer."""
#: {"clean": true}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import sqlite3

import stage

stage.database("wal")
app = stage.connect(timeout=5)
app.execute("UPDATE t SET v = 11 WHERE id = 1")
reader = sqlite3.connect("file:app.db?mode=ro", uri=True)
assert reader.execute("SELECT v FROM t WHERE id = 1").fetchone() == (11,)
app.execute("UPDATE t SET v = 12 WHERE id = 1")
assert reader.execute("SELECT v FROM t WHERE id = 1").fetchone() == (12,)
app.close()
# It is the last one now, and asks whether it is.
reader.close()
