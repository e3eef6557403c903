"""A file server whose lock manager refuses without a reason: nobody holds the lock, in the trace or outside it."""
#: {"preload": "slow_disk.c", "environment": {"SLOW_DISK_REFUSES": "RESERVED"}}
#: {"cause": "unexplained", "outcome": "gave-up", "victim": "INSERT INTO t(v) VALUES(?)"}
import sqlite3

import stage

stage.database("delete")
app = sqlite3.connect("app.db", timeout=0.1)
with stage.locked():
    app.execute("INSERT INTO t(v) VALUES(?)", (7,))
