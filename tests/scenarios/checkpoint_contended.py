"""Two jobs that both run checkpoints: the second is turned away at once."""
#: {"preload": "slow_disk.c"}
#: {"cause": "checkpoint-contended", "outcome": "gave-up", "victim": "PRAGMA wal_checkpoint(TRUNCATE)", "culprit": "PRAGMA wal_checkpoint(FULL)", "attempts": 1, "perhaps_contributing": ["slow-sync"]}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import stage

stage.database("wal")
one, two = stage.connect(timeout=5, durable=True), stage.connect(timeout=5)
one.execute("INSERT INTO t(v) VALUES(0)")
with stage.hold("sync", "app.db") as disk:
    checkpointing = stage.Thread(one.execute, "PRAGMA wal_checkpoint(FULL)")
    disk.arrived()
    assert two.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (1, -1, -1)
checkpointing.end()
