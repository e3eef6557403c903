"""Starts many short processes that use one database, a few at a time, and waits for all of them.

crowd.py DATABASE FORKS SHELLS: so many forked children, and so many of the sqlite3 shell.
"""

import os
import sqlite3
import subprocess
import sys

database, forks, shells = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
INSERT = "INSERT INTO t VALUES(1)"


def child():
    connection = sqlite3.connect(database, timeout=60, isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute(INSERT)
    connection.close()
    os._exit(0)


running = set()
for n in range(forks):
    pid = os.fork()
    if pid == 0:
        child()
    running.add(pid)
    if len(running) == 4:
        pid, status = os.wait()
        assert status == 0, status
        running.remove(pid)
for pid in running:
    assert os.waitpid(pid, 0)[1] == 0
for n in range(shells):
    subprocess.run(["sqlite3", "-cmd", ".timeout 60000", database, INSERT], check=True)
connection = sqlite3.connect(database)
print(connection.execute("SELECT count(*) FROM t").fetchone()[0], connection.execute("PRAGMA integrity_check").fetchone()[0])
