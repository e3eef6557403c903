"""The same loop beside a writer: SQLite does not wait for it, because the SELECT is a transaction that is open already."""
#: {"cause": "upgrade-refused", "outcome": "gave-up", "victim": "UPDATE t SET v = 0 WHERE id = ?", "culprit": "BEGIN IMMEDIATE", "attempts": 1, "perhaps_contributing": ["idle-in-transaction"]}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import stage

stage.database("wal")
web = stage.Shell()
job = stage.connect(timeout=5)
for (key,) in job.execute("SELECT id FROM t ORDER BY id"):
    web.run("BEGIN IMMEDIATE; DELETE FROM t WHERE id = 3;")
    with stage.locked():
        job.execute("UPDATE t SET v = 0 WHERE id = ?", (key,))
    web.run("COMMIT;")
    break
web.quit()
