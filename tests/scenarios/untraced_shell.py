"""The shell in the way was started by somebody else, outside the trace: only /proc/locks knows it."""
#: {"cause": "untraced-holder", "outcome": "gave-up", "victim": "INSERT INTO t(v) VALUES(?)", "state": "untraced"}
import sqlite3

import stage

stage.database("delete")
shell = stage.Shell(traced=False)
shell.run("BEGIN IMMEDIATE; UPDATE t SET v = 0 WHERE id = 1;")
app = sqlite3.connect("app.db", timeout=0.1)
with stage.locked():
    app.execute("INSERT INTO t(v) VALUES(?)", (7,))
shell.run("COMMIT;")
shell.quit()
