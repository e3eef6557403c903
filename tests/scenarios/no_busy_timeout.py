"""The sqlite3 shell has no busy timeout: its INSERT fails at the first try, while an application is in a short transaction."""
#: {"cause": "no-busy-timeout", "outcome": "gave-up", "victim": "INSERT INTO t(v) VALUES(1)", "culprit": "INSERT INTO t(v) VALUES(?)", "contributing": [], "perhaps_contributing": ["idle-in-transaction"], "attempts": 1, "fix": ".timeout 20000"}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import sqlite3

import stage

stage.database("wal")
shell = stage.Shell()
app = sqlite3.connect("app.db")
app.execute("INSERT INTO t(v) VALUES(?)", (0,))
assert "database is locked" in shell.run("INSERT INTO t(v) VALUES(1);")
app.commit()
shell.quit()
