"""A database browser: it began a transaction (a savepoint), showed a table, and stays open on the desktop."""
#: {"cause": "reader-blocks-commit", "outcome": "gave-up", "victim": "COMMIT", "culprit": "SELECT count(*) FROM t", "contributing": ["rollback-journal"], "perhaps_contributing": ["idle-in-transaction"], "state": "idle-in-transaction"}
import stage

stage.database("delete")
browser = stage.Shell()
browser.run('SAVEPOINT "browse"; SELECT count(*) FROM t;')
db = stage.connect(timeout=0.1)
db.execute("BEGIN")
db.execute("INSERT INTO t(v) VALUES(4)")
with stage.locked():
    db.execute("COMMIT")
db.execute("ROLLBACK")
browser.run('RELEASE "browse";')
browser.quit()
