"""INSERT … RETURNING whose rows are not all read: the statement is not over, and neither is its transaction."""
#: {"cause": "hold-exceeds-timeout", "outcome": "gave-up", "victim": "DELETE FROM t", "culprit": "INSERT INTO t(v) VALUES(1), (2) RETURNING id", "contributing": ["unfinished-statement", "same-thread-holder"]}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import stage

stage.database("wal")
app, janitor = stage.connect(timeout=5), stage.connect(timeout=0.1)
cursor = app.execute("INSERT INTO t(v) VALUES(1), (2) RETURNING id")
assert cursor.fetchone() == (4,)
with stage.locked():
    janitor.execute("DELETE FROM t WHERE id < 0")
cursor.close()
