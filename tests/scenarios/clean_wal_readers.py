"""Many readers and one writer on a WAL database: what WAL is for."""
#: {"clean": true}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import stage

stage.database("wal")
writer = stage.connect(timeout=5)
readers = [stage.connect(timeout=5) for _ in range(4)]


def read(db):
    before = 3
    for _ in range(100):
        (now,) = db.execute("SELECT count(*) FROM t").fetchone()
        assert now >= before
        before = now


def write():
    for n in range(100):
        writer.execute("INSERT INTO t(v) VALUES(?)", (n,))


stage.together(write, *[lambda db=db: read(db) for db in readers])
