"""Three children of `multiprocessing`, started the way of the first argument, that write to a.db at the same time.

Prints the process numbers: the parent's, then each child's.
"""

import json
import multiprocessing
import os
import sqlite3
import sys


def work(barrier, number):
    barrier.wait(30)
    db = sqlite3.connect("a.db", timeout=30)
    with db:
        db.execute(f"INSERT INTO t VALUES ({number})")
    db.close()


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    db = sqlite3.connect("a.db")
    db.execute("CREATE TABLE t(x)")
    db.close()
    barrier = context.Barrier(3)
    children = [context.Process(target=work, args=(barrier, number)) for number in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    print(json.dumps([os.getpid(), *(child.pid for child in children)]))
