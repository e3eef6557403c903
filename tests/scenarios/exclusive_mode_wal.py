"""The same on a WAL database, which then is no more concurrent than a file."""
#: {"cause": "exclusive-mode", "outcome": "gave-up", "victim": null}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import stage

stage.database("wal")
tool = stage.Shell()
tool.run("PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t(v) VALUES(4);")
db = stage.connect(timeout=0.1, fresh=True)
with stage.locked():
    db.execute("SELECT count(*) FROM t")
tool.quit()
