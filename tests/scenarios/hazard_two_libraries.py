"""Two SQLite libraries in one process on one database: each drops the other's POSIX locks when it closes.

The system's, through Python, and a copy of it under another name, which traces through the loadable extension.
"""
#: {"hazard": "two-sqlite-libraries"}
import ctypes
import os
import shutil

import stage

stage.database("delete")
system = stage.connect(timeout=5)
mapped = next(line.split()[-1] for line in open("/proc/self/maps") if "/libsqlite3.so" in line)
shutil.copy(mapped, "libbundled.so")
other = ctypes.CDLL("./libbundled.so")
extension = os.environ["LD_PRELOAD"].split(":")[0].encode()


def use(path, act):
    db = ctypes.c_void_p()
    assert other.sqlite3_open(path, ctypes.byref(db)) == 0
    assert act(db) == 0
    assert other.sqlite3_close(db) == 0


def load(db):
    assert other.sqlite3_enable_load_extension(db, 1) == 0
    return other.sqlite3_load_extension(db, extension, None, None)


use(b":memory:", load)
use(b"app.db", lambda db: other.sqlite3_exec(db, b"INSERT INTO t(v) VALUES(4)", None, None, None))
assert system.execute("SELECT count(*) FROM t").fetchone() == (4,)
