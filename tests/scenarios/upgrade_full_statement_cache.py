"""A transaction that reads and then writes is tried again by the application, on a connection whose driver keeps many statements.

A look-up on a read lock passes only the newest statements, so that the trace does not tell which one began to read; that a later one,
ROLLBACK, gives the read lock back does.
"""
#: {"cause": "upgrade-refused", "outcome": "gave-up", "victim": "INSERT INTO t VALUES(?, 0)", "culprit": "BEGIN IMMEDIATE", "perhaps_contributing": ["idle-in-transaction"], "attempts": 1, "fix": "isolation_level=\"IMMEDIATE\""}
#: {"cause": "upgrade-refused", "outcome": "gave-up", "victim": "INSERT INTO t VALUES(?, 0)", "culprit": "BEGIN IMMEDIATE", "perhaps_contributing": ["idle-in-transaction"], "attempts": 1, "fix": "isolation_level=\"IMMEDIATE\""}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
#: {"stock": true}
import threading

import stage

stage.database("wal")
writes, is_refused = threading.Event(), threading.Event()
one, two = stage.connect(timeout=5), stage.connect(timeout=5)
INSERT = "INSERT INTO t VALUES(?, 0)"


def first():
    one.execute("BEGIN IMMEDIATE")
    one.execute("INSERT INTO t VALUES(4, 0)")
    writes.set()
    stage.happened(is_refused)
    one.execute("COMMIT")


def second():
    two.execute("SELECT v FROM t").fetchall()
    two.execute(INSERT, (5,))
    for n in range(20):
        two.execute(f"SELECT {n} FROM t").fetchall()
    first_thread.start()
    stage.happened(writes)
    for _ in range(2):
        two.execute("BEGIN")
        two.execute("SELECT v FROM t").fetchall()
        with stage.locked():
            two.execute(INSERT, (6,))
        two.execute("ROLLBACK")
    is_refused.set()


first_thread = threading.Thread(target=first)
second()
first_thread.join()
