"""The same on a WAL database, where the lock is in the -shm file."""
#: {"cause": "untraced-holder", "outcome": "gave-up", "victim": "INSERT INTO t(v) VALUES(?)", "state": "untraced"}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import sqlite3

import stage

stage.database("wal")
shell = stage.Shell(traced=False)
shell.run("BEGIN IMMEDIATE; UPDATE t SET v = 0 WHERE id = 1;")
app = sqlite3.connect("app.db", timeout=0.1)
with stage.locked():
    app.execute("INSERT INTO t(v) VALUES(?)", (7,))
shell.run("COMMIT;")
shell.quit()
