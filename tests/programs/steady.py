"""Does the same work whatever happens to it, and prints what came of every statement.

steady.py DATABASE JOURNAL_MODE MISFORTUNE TRACE_DIRECTORY

The work comes in three phases; the misfortune strikes before the first open or between the first two phases, and ends (where it
can end) before the last. Run bare and run under the recorder, it must print the same, and leave the same database.
"""

import hashlib
import os
import resource
import shutil
import sqlite3
import sys
import threading

database, mode, misfortune, traces = sys.argv[1:]
NOBODY = 65534
outcomes = {}
history = hashlib.sha256()
spare = []


def did(connection, sql, *arguments):
    try:
        result = connection.execute(sql, arguments).fetchall()
        code = "OK"
    except sqlite3.Error as error:
        result, code = str(error), error.sqlite_errorname
    history.update(repr((sql, arguments, result, code)).encode())
    outcomes[code] = outcomes.get(code, 0) + 1
    return result


def connect(path):
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    did(connection, "PRAGMA synchronous=OFF")
    return connection


def phase(number, selects):
    for n in range(selects):
        if n % 100 == 0:
            did(one, "BEGIN IMMEDIATE")
            did(one, "INSERT INTO t VALUES(?, ?)", number, n)
            did(two, "INSERT INTO t VALUES(?, ?)", -number, n)
            did(two, "SELECT max(n) FROM t")
            did(one, "COMMIT")
        if n % 500 == 0:
            # A statement that was never seen before.
            did(two, "SELECT %d * %d" % (number, n))
            did(two, "UPDATE t SET n = n + 0 * %d WHERE phase = %d AND n = %d" % (n, number, n))
        did(one, "SELECT count(*) FROM t")


def exhaust(leave):
    """Takes every descriptor there is but so many."""
    while True:
        try:
            spare.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            break
    for _ in range(leave):
        os.close(spare.pop())


def lower(which, value):
    resource.setrlimit(which, (value, resource.getrlimit(which)[1]))


def lift(which):
    resource.setrlimit(which, (resource.getrlimit(which)[1],) * 2)


def as_nobody():
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def become_a_daemon():
    """The parent waits for the daemon, and ends as it does."""
    for _ in range(2):
        child = os.fork()
        if child:
            os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        os.setsid()
    os.closerange(3, 1024)


def fill():
    """Takes all the room where the trace is."""
    with open(os.path.join(traces, "filler"), "wb", buffering=0) as filler:
        for size in (4096, 512, 1):
            try:
                while filler.write(b"x" * size):
                    pass
            except OSError:
                pass


def before_the_first_open():
    if misfortune == "nofile-first":
        lower(resource.RLIMIT_NOFILE, 64)
        exhaust(1)
    elif misfortune in ("address-space", "address-space-tight"):
        with open("/proc/self/statm") as statm:
            size = int(statm.read().split()[0]) * 4096
        # No room for the ring of 2 MiB; or just enough, and then none for the application.
        lower(resource.RLIMIT_AS, size + (3 << 19 if misfortune == "address-space" else (2 << 20) + (300 << 10)))
    elif misfortune == "file-size":
        lower(resource.RLIMIT_FSIZE, 1 << 20)
    elif misfortune == "read-only-first":
        if os.geteuid() == 0:
            as_nobody()
        os.mkdir(traces, 0o555)
    elif misfortune == "full-first":
        fill()
    elif misfortune == "daemon":
        connect(database).close()
        become_a_daemon()


def when_it_is_open():
    if misfortune == "nofile-first":
        # The application is given what it needs for its other files; the recorder has been refused by now.
        for _ in range(16):
            os.close(spare.pop())


def in_the_middle():
    if misfortune == "nofile":
        lower(resource.RLIMIT_NOFILE, 64)
        exhaust(0)
    elif misfortune == "gone":
        shutil.rmtree(traces, ignore_errors=True)
    elif misfortune == "replaced":
        if os.path.isdir(traces):
            os.rename(traces, traces + "-moved")
        with open(traces, "w") as file:
            file.write("not a directory")
    elif misfortune == "read-only":
        if os.path.isdir(traces):
            os.chmod(traces, 0o555)
    elif misfortune == "setuid":
        as_nobody()
    elif misfortune == "chroot":
        os.mkdir("jail")
        os.chroot("jail")
    elif misfortune == "full":
        fill()
    elif misfortune == "daemon":
        os.closerange(100, 1024)


def in_the_end():
    for descriptor in spare:
        os.close(descriptor)
    if misfortune.startswith("address-space"):
        lift(resource.RLIMIT_AS)
    elif misfortune == "file-size":
        lift(resource.RLIMIT_FSIZE)
    elif misfortune == "replaced":
        os.remove(traces)
        if os.path.isdir(traces + "-moved"):
            os.rename(traces + "-moved", traces)
    elif misfortune in ("read-only", "read-only-first"):
        if os.path.isdir(traces):
            os.chmod(traces, 0o755)
    elif misfortune in ("full", "full-first"):
        os.remove(os.path.join(traces, "filler"))


before_the_first_open()
one = connect(database)
when_it_is_open()
two = connect(database)
did(one, "PRAGMA journal_mode=" + mode)
did(one, "CREATE TABLE IF NOT EXISTS t(phase, n)")
# Every file that SQLite keeps open is open now.
did(two, "SELECT count(*) FROM t")
phase(1, 2000)
in_the_middle()
phase(2, 5000)
in_the_end()
phase(3, 2000)


def late():
    try:
        did(connect(database), "SELECT count(*) AS the_last_one FROM t")
    except sqlite3.Error as error:
        outcomes[repr(error)] = 1


thread = threading.Thread(target=late, name="late")
thread.start()
thread.join()
rows = did(one, "SELECT count(*), sum(phase), sum(n) FROM t")
print(mode, misfortune, rows, did(one, "PRAGMA integrity_check"), sorted(outcomes.items()), history.hexdigest())
two.close()
one.close()
