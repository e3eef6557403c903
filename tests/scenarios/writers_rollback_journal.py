"""Two writers without WAL: writers exclude each other in every journal mode, so this is no fault of the rollback journal."""
#: {"cause": "hold-exceeds-timeout", "outcome": "gave-up", "victim": "BEGIN IMMEDIATE", "culprit": "begin immediate", "contributing": ["idle-in-transaction"]}
import stage

stage.database("delete")
shell = stage.Shell()
shell.run("begin immediate;")
db = stage.connect(timeout=0.1)
with stage.locked():
    db.execute("BEGIN IMMEDIATE")
shell.quit()
