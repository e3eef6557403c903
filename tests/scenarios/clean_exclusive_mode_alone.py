"""`locking_mode=EXCLUSIVE` in a program that is the only one."""
#: {"clean": true}
import stage

stage.database("wal")
db = stage.connect(timeout=5, fresh=True)
db.execute("PRAGMA locking_mode=EXCLUSIVE")
for n in range(10):
    db.execute("INSERT INTO t(v) VALUES(?)", (n,))
assert db.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
