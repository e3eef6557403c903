"""BEGIN EXCLUSIVE for an import, where BEGIN IMMEDIATE would have let readers go on for most of it."""
#: {"cause": "commit-blocks-reader", "outcome": "gave-up", "victim": null, "culprit": "BEGIN EXCLUSIVE", "contributing": ["rollback-journal"], "perhaps_contributing": ["idle-in-transaction"]}
import stage

stage.database("delete")
shell = stage.Shell()
shell.run("BEGIN EXCLUSIVE; INSERT INTO t(v) VALUES(4);")
reader = stage.connect(timeout=0.1, fresh=True)
with stage.locked():
    reader.execute("SELECT count(*) FROM t")
shell.run("COMMIT;")
shell.quit()
