"""A tool that sets `locking_mode=EXCLUSIVE` keeps its lock between transactions, for as long as it is open."""
#: {"cause": "exclusive-mode", "outcome": "gave-up", "victim": null, "culprit": "INSERT INTO t(v) VALUES(4)", "perhaps_contributing": ["rollback-journal"]}
import stage

stage.database("delete")
tool = stage.Shell()
tool.run("PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t(v) VALUES(4);")
db = stage.connect(timeout=0.1, fresh=True)
with stage.locked():
    db.execute("SELECT count(*) FROM t")
tool.quit()
