"""Two connections in shared-cache mode: they lock tables against each other where no timeout applies, and no VFS sees it."""
#: {"hazard": "shared-cache"}
import sqlite3

import stage

stage.database("delete")
one = stage.connect(timeout=5, path="file:app.db?cache=shared", uri=True)
two = stage.connect(timeout=5, path="file:app.db?cache=shared", uri=True)
one.execute("BEGIN IMMEDIATE")
one.execute("UPDATE t SET v = 0 WHERE id = 1")
with stage.locked(sqlite3.SQLITE_LOCKED_SHAREDCACHE):
    two.execute("SELECT * FROM t").fetchall()
one.execute("COMMIT")
