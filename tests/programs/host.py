"""Does what it is told on standard input, with the system's SQLite and the extension of the first argument.

The extension is loaded once, on a :memory: connection; every later connection must be traced. One JSON object a line comes in;
one line goes out for each, behind a mark. The Rust twin is tests/live/child.rs.
"""

import json
import sqlite3
import sys
import threading

loader = sqlite3.connect(":memory:")
loader.enable_load_extension(True)
loader.load_extension(sys.argv[1])

connections = {}
cursors = {}


def version():
    major, minor, patch = (int(part) for part in sqlite3.sqlite_version.split("."))
    return major * 1000000 + minor * 1000 + patch


def perform(command):
    what, name = command["do"], command.get("conn")
    answer = {"tid": threading.get_native_id()}
    if what == "version":
        answer["version"] = version()
    elif what == "open":
        connections[name] = sqlite3.connect(
            command["path"], timeout=0, isolation_level=None, check_same_thread=False, uri=True
        )
    elif what == "sql":
        answer["rows"] = [list(row) for row in connections[name].execute(command["sql"]).fetchall()]
    elif what == "step":
        cursors[name] = connections[name].execute(command["sql"])
        answer["row"] = list(cursors[name].fetchone())
    elif what == "reset":
        cursors.pop(name).close()
    elif what == "close":
        connections.pop(name).close()
    else:
        raise ValueError(what)
    return answer


def guarded(command):
    try:
        return perform(command)
    except sqlite3.Error as error:
        return {
            "tid": threading.get_native_id(),
            "error": str(error),
            "code": getattr(error, "sqlite_errorcode", None),
        }


for line in sys.stdin:
    command = json.loads(line)
    if "thread" in command:
        answers = []
        thread = threading.Thread(target=lambda: answers.append(guarded(command)), name=command["thread"])
        thread.start()
        thread.join()
        answer = answers[0]
    else:
        answer = guarded(command)
    print("@locktrace-answer " + json.dumps(answer), flush=True)
