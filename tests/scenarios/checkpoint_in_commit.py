"""A checkpoint job meets the checkpoint that SQLite runs by itself at the end of another connection's commit."""
#: {"preload": "slow_disk.c"}
#: {"cause": "checkpoint-contended", "outcome": "gave-up", "victim": "PRAGMA wal_checkpoint(TRUNCATE)", "contributing": ["checkpoint-in-commit"], "attempts": 1, "perhaps_contributing": ["slow-sync"], "state": "checkpointing"}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import stage

stage.database("wal")
app, job = stage.connect(timeout=5, durable=True), stage.connect(timeout=5)
app.execute("PRAGMA wal_autocheckpoint=1")
with stage.hold("sync", "app.db") as disk:
    committing = stage.Thread(app.execute, "INSERT INTO t(v) VALUES(0)")
    disk.arrived()
    assert job.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (1, -1, -1)
committing.end()
