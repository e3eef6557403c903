"""Holds locks on the database of the first argument, untraced, until its input ends: no locktrace is in this process.

The second argument says how: `sql`, and the statements follow (the rows of each are fetched, but for the last one, whose cursor stays open); or
`ofd` or `posix` or `flock`, and the file's suffix, a kind (`r` or `w`), a first byte and a number of bytes follow.
"""

import fcntl
import os
import sqlite3
import struct
import sys

path, how, *rest = sys.argv[1:]
if how == "sql":
    connection = sqlite3.connect(path, isolation_level=None)
    for sql in rest[:-1]:
        connection.execute(sql).fetchall()
    cursor = connection.execute(rest[-1])
    cursor.fetchone()
else:
    suffix, kind, start, length = rest
    file = os.open(path + suffix, os.O_RDWR)
    if how == "flock":
        fcntl.flock(file, fcntl.LOCK_EX)
    else:
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK if kind == "w" else fcntl.F_RDLCK, os.SEEK_SET, int(start), int(length), 0)
        fcntl.fcntl(file, 37 if how == "ofd" else fcntl.F_SETLK, lock)  # 37: F_OFD_SETLK
print("@locktrace-answer {}", flush=True)
sys.stdin.read()
