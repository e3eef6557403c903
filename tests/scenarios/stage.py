"""What the scenarios share: a database made before the trace begins, and conditions that decide the order of events.

Nothing here sleeps for a fixed time and hopes. A thread that must come second waits for a thread, an event, a line on a pipe, for
the trace itself to hold a refusal (`refused`), or for a system call that the scenario holds up (`hold`, which needs the preload
`slow_disk.c`). Every wait ends after `PATIENCE` seconds, and then the scenario fails.
"""

import contextlib
import ctypes
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time

PATIENCE = 20
DATABASE = "app.db"


def untraced():
    """An environment in which a child process is not traced, as a program started elsewhere would not be."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def outside(script, path=DATABASE):
    """Runs SQL in a process that the trace does not know, and waits for its end."""
    source = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.executescript(sys.argv[2]); db.close()"
    subprocess.run([sys.executable, "-c", source, path, script], env=untraced(), check=True, timeout=PATIENCE)


def database(mode, script="CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 10), (2, 20), (3, 30);", path=DATABASE):
    """Makes the database in a journal mode, outside the trace."""
    outside(f"PRAGMA journal_mode={mode}; {script}", path)


def connect(timeout, path=DATABASE, fresh=False, durable=False, **more):
    """An autocommit connection with a busy timeout in seconds; any thread may use it.

    It has looked at the database already, so that two of them do not meet in the first opening of a WAL, unless it is `fresh`. Then
    it does not wait for the disk either, which would be one more reason for everything here, unless it is `durable`.
    """
    db = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False, **more)
    if not (durable or fresh):
        db.execute("PRAGMA synchronous=OFF")
    if not fresh:
        db.execute("PRAGMA schema_version").fetchone()
    return db


@contextlib.contextmanager
def locked(code=sqlite3.SQLITE_BUSY):
    """What is inside must fail, and with this result code."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != code:
            raise
    else:
        raise AssertionError(f"this should have failed with result code {code}")


class Thread(threading.Thread):
    """A thread whose failure is the scenario's."""

    def __init__(self, work, *arguments):
        super().__init__(daemon=True)
        self.work, self.arguments, self.failure = work, arguments, None
        self.start()

    def run(self):
        try:
            self.work(*self.arguments)
        except BaseException as failure:
            self.failure = failure

    def end(self):
        self.join(PATIENCE)
        assert not self.is_alive(), "a thread of this scenario did not end"
        if self.failure is not None:
            raise self.failure


def together(*works):
    """Runs functions in threads of their own, to the end of all."""
    for thread in [Thread(work) for work in works]:
        thread.end()


def happened(event):
    """Waits for an event of another thread."""
    assert event.wait(PATIENCE), "what this scenario waits for did not happen"


def until(condition, what):
    """Asks until the answer is true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.002)


def records():
    """Every record in the trace at this moment, as `locktrace cat --json` has it."""
    command = [os.environ["LOCKTRACE_BIN"], "cat", "--json", os.environ["LOCKTRACE_DIR"]]
    out = subprocess.run(command, env=untraced(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=PATIENCE).stdout
    lines = (json.loads(line) for line in out.splitlines())
    return [line for line in lines if line["t"] == "record"]


def refused(lock, attempts=1, by=None):
    """Waits until the trace holds this many refused attempts for a lock (`WRITE`, `RESERVED`, …), by any or one thread."""

    def enough():
        found = 0
        for record in records():
            asked = record.get("slots", [record.get("lock")])
            tries = record["kind"] in ("xLock", "xShmLock") and record.get("op", "lock") == "lock"
            found += tries and record["rc"] & 0xFF == 5 and lock in asked and by in (None, record["tid"])
        return found >= attempts

    until(enough, f"{attempts} refused attempts for {lock}")


class Shell:
    """A `sqlite3` shell on the database, typed into; `run` returns when it has done what was typed."""

    def __init__(self, *arguments, traced=True, path=DATABASE):
        pipe = subprocess.PIPE
        environment = dict(os.environ) if traced else untraced()
        # The shell goes with the system's library, whichever SQLite this scenario was told to use.
        environment.pop("LD_LIBRARY_PATH", None)
        command = ["sqlite3", *arguments, path]
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=environment)

    def run(self, sql):
        self.process.stdin.write(f"{sql}\n.print done\n")
        self.process.stdin.flush()
        said = []
        for line in self.process.stdout:
            if line == "done\n":
                return "".join(said)
            said.append(line)
        raise AssertionError(f"the shell ended: {said}")

    def quit(self):
        self.process.communicate(timeout=PATIENCE)


class Child:
    """A forked child that runs a function with a connection to us, and a way to tell each other what happened."""

    def __init__(self, work):
        to_child, from_parent = os.pipe()
        to_parent, from_child = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(from_parent)
                os.close(to_parent)
                self.input, self.output = to_child, from_child
                work(self)
                status = 0
            except BaseException as failure:
                print(f"child: {failure!r}", file=sys.stderr, flush=True)
            finally:
                os._exit(status)
        os.close(to_child)
        os.close(from_child)
        self.input, self.output = to_parent, from_parent

    def tell(self):
        os.write(self.output, b".")

    def told(self):
        assert os.read(self.input, 1) == b".", "the other process ended too early"

    def end(self, status=0):
        found = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        assert found == status, f"the child ended with {found}"


class hold:
    """Holds up a system call on files whose path ends in a suffix (`slow_disk.c`), from `with` to its end or to `release`.

    The calls: `sync` (fsync, fdatasync), `read` (pread), `sleep` (usleep, nanosleep: any, the suffix must be empty).
    """

    CALLS = {"sync": 0, "read": 1, "sleep": 2}

    def __init__(self, call, suffix=""):
        self.disk, self.call = ctypes.CDLL(None), self.CALLS[call]
        self.suffix = suffix.encode()

    def __enter__(self):
        self.disk.slow_disk_hold(self.call, self.suffix)
        return self

    def __exit__(self, *failure):
        self.release()

    def arrived(self):
        """Waits until a call is held up."""
        assert self.disk.slow_disk_arrived(self.call, PATIENCE * 1000), "no call came to be held up"

    def let_go(self):
        """Lets those go on that are held up at this moment, if any."""
        self.disk.slow_disk_pass(self.call)

    def one(self):
        """Lets the one that is held up go on, and waits until a call is held up again."""
        self.disk.slow_disk_pass(self.call)
        self.arrived()

    def release(self):
        self.disk.slow_disk_release(self.call)
