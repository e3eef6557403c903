"""Worker threads that all write, with BEGIN IMMEDIATE and a timeout that always is enough."""
#: {"clean": true}
#: {"may": "hold-exceeds-timeout", "outcome": "succeeded-after-wait"}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3"}
import stage

stage.database("wal")
pool = [stage.connect(timeout=20) for _ in range(4)]


def work(db):
    for n in range(25):
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE t SET v = v + 1 WHERE id = 1")
        db.execute("COMMIT")


stage.together(*[lambda db=db: work(db) for db in pool])
assert pool[0].execute("SELECT v FROM t WHERE id = 1").fetchone() == (110,)
