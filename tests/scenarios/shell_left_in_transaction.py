"""Somebody typed BEGIN IMMEDIATE into a shell and went to lunch."""
#: {"cause": "hold-exceeds-timeout", "outcome": "gave-up", "victim": "INSERT INTO t(v) VALUES(?)", "culprit": "BEGIN IMMEDIATE", "contributing": ["idle-in-transaction"], "state": "idle-in-transaction", "fix": "end its transaction (COMMIT; or ROLLBACK;), or leave it with .quit"}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import sqlite3

import stage

stage.database("wal")
shell = stage.Shell()
shell.run("BEGIN IMMEDIATE; UPDATE t SET v = 0 WHERE id = 1;")
app = sqlite3.connect("app.db", timeout=0.1)
with stage.locked():
    app.execute("INSERT INTO t(v) VALUES(?)", (7,))
shell.run("COMMIT;")
shell.quit()
