"""A worker is killed with a commit in the -wal; the next one finds it and goes on."""
#: {"clean": true}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import os

import stage

stage.database("wal")


def crash(parent):
    stage.connect(timeout=5).execute("INSERT INTO t(v) VALUES(0)")
    os.kill(os.getpid(), 9)


stage.Child(crash).end(-9)
db = stage.connect(timeout=5)
assert db.execute("SELECT count(*) FROM t").fetchone() == (4,)
db.execute("INSERT INTO t(v) VALUES(1)")
