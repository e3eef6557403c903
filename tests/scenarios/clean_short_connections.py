"""A connection for each request, a hundred times, one after the other."""
#: {"clean": true}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import sqlite3

import stage

stage.database("wal")
for n in range(100):
    db = sqlite3.connect("app.db")
    with db:
        db.execute("UPDATE t SET v = ? WHERE id = 1", (n,))
    db.close()
