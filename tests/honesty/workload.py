"""A random workload that keeps its own log: several processes, threads and connections on one database.

    workload.py SEED DIRECTORY

Every call is a line of JSON in DIRECTORY/log-PID.jsonl: which connection, its SQL, when it began and ended (nanoseconds since 1970, but counted by
CLOCK_MONOTONIC), the name of SQLite's error, and whether the connection may hold a lock afterwards. Every SQL text names its connection in a comment, so that a report can be held against the log. The seed decides
what is done; the order in which processes meet is the machine's.
"""

import json
import os
import random
import sqlite3
import sys
import threading
import time

SEED, DIRECTORY = int(sys.argv[1]), sys.argv[2]
DATABASE = os.path.join(DIRECTORY, "app.db")
PLAN = random.Random(SEED)
MODE = PLAN.choice(["wal", "delete", "wal", "truncate"])
PROCESSES, THREADS, STEPS = PLAN.randint(1, 3), PLAN.randint(1, 3), PLAN.randint(10, 40)


# Steady, and comparable with the wall-clock times of a trace.
OFFSET = time.time_ns() - time.monotonic_ns()


def now():
    return time.monotonic_ns() + OFFSET


class Worker:
    """One thread, and one connection at a time."""

    def __init__(self, process, thread):
        self.random = random.Random(SEED * 1000 + process * 10 + thread)
        self.name, self.opened, self.log = f"p{process}t{thread}", 0, []
        self.timeout = self.random.choice([0, 0, 0.03, 0.1, 0.4])

    def run(self):
        self.open()
        for _ in range(STEPS):
            self.random.choice(
                [self.insert, self.insert, self.immediate, self.upgrade, self.read, self.cursor, self.exclusive, self.checkpoint, self.reopen]
            )()
        self.close()

    def call(self, sql, what=None):
        """One call; whether it succeeded."""
        line = {"connection": self.tag, "sql": sql, "from": now()}
        try:
            result = what() if what else self.db.execute(f"{sql} /* {self.tag} */")
            line["rows"] = None
            if sql.startswith("PRAGMA wal_checkpoint"):
                line["rows"] = result.fetchone()
            self.result = result
        except sqlite3.Error as error:
            line["error"] = getattr(error, "sqlite_errorname", str(error))
        line["to"] = now()
        line["holds"] = self.db_in_transaction() or sql == "SELECT id FROM t" or (what is not None and sql == "fetch" and self.cursor_open)
        self.log.append(line)
        return "error" not in line

    def db_in_transaction(self):
        try:
            return self.db.in_transaction
        except sqlite3.ProgrammingError:
            return False

    def open(self):
        self.opened += 1
        self.cursor_open = False
        self.tag = f"{self.name}c{self.opened}"
        self.db = sqlite3.connect(DATABASE, timeout=self.timeout, isolation_level=None)
        self.call("PRAGMA synchronous=OFF")

    def close(self):
        self.result = None
        self.call("close", self.db.close)

    def reopen(self):
        self.close()
        self.open()

    def pause(self):
        time.sleep(self.random.choice([0, 0, 0.001, 0.01, 0.05]))

    def end(self):
        """Commits; rolls back what cannot be committed."""
        if not self.call(self.random.choice(["COMMIT", "COMMIT", "ROLLBACK"])):
            self.call("ROLLBACK")

    def insert(self):
        self.call("INSERT INTO t(v) VALUES(1)")
        self.pause()

    def transaction(self, begin, *statements):
        if not self.call(begin):
            return
        for sql in statements:
            ok = self.call(sql)
            if ok and sql.startswith("SELECT"):
                self.call("fetch", self.result.fetchall)
            self.pause()
        self.end()

    def immediate(self):
        self.transaction("BEGIN IMMEDIATE", "INSERT INTO t(v) VALUES(2)")

    def exclusive(self):
        self.transaction("BEGIN EXCLUSIVE", "INSERT INTO t(v) VALUES(3)")

    def upgrade(self):
        self.transaction("BEGIN", "SELECT count(*) FROM t", "UPDATE t SET v = v + 1 WHERE id = 1")

    def read(self):
        self.transaction("BEGIN", "SELECT sum(v) FROM t")

    def cursor(self):
        """A cursor that is left open for a while."""
        if self.call("SELECT id FROM t"):
            cursor, self.cursor_open = self.result, True
            self.call("fetch", cursor.fetchone)
            self.pause()
            self.cursor_open = False
            self.call("reset", cursor.close)

    def checkpoint(self):
        if MODE == "wal":
            self.call(f"PRAGMA wal_checkpoint({self.random.choice(['PASSIVE', 'FULL', 'TRUNCATE'])})")


def process(number):
    workers = [Worker(number, thread) for thread in range(THREADS)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open(os.path.join(DIRECTORY, f"log-{os.getpid()}.jsonl"), "w") as out:
        for worker in workers:
            for line in worker.log:
                out.write(json.dumps(line) + "\n")


def main():
    db = sqlite3.connect(DATABASE, isolation_level=None)
    db.execute(f"PRAGMA journal_mode={MODE}")
    db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    db.executemany("INSERT INTO t(v) VALUES(?)", [(n,) for n in range(100)])
    db.close()
    children = []
    for number in range(1, PROCESSES):
        pid = os.fork()
        if pid == 0:
            process(number)
            os._exit(0)
        children.append(pid)
    process(0)
    for pid in children:
        os.waitpid(pid, 0)


main()
