"""BEGIN IMMEDIATE on a connection whose own SELECT is not at its end: refused at once, and only finishing the SELECT helps."""
#: {"cause": "upgrade-refused", "outcome": "gave-up", "victim": "BEGIN IMMEDIATE", "culprit": "BEGIN IMMEDIATE", "attempts": 1, "contributing": ["unfinished-statement"], "perhaps_contributing": ["idle-in-transaction"], "fix": "Read all rows of SELECT id FROM t ORDER BY id, or close its cursor"}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import stage

stage.database("wal")
web = stage.Shell()
job = stage.connect(timeout=5)
cursor = job.execute("SELECT id FROM t ORDER BY id")
assert cursor.fetchone()
web.run("BEGIN IMMEDIATE; DELETE FROM t WHERE id = 3;")
with stage.locked():
    job.execute("BEGIN IMMEDIATE")
web.run("COMMIT;")
cursor.close()
job.execute("BEGIN IMMEDIATE")
job.execute("COMMIT")
web.quit()
