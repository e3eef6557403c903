"""A commit that waits for the disk: the writer holds WRITE while fsync takes longer than the other's timeout."""
#: {"preload": "slow_disk.c"}
#: {"cause": "hold-exceeds-timeout", "outcome": "gave-up", "victim": "INSERT INTO t(v) VALUES(2)", "culprit": "INSERT INTO t(v) VALUES(1)", "contributing": ["slow-sync"], "state": "syncing"}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import stage

stage.database("wal")
slow, quick = stage.connect(timeout=5, durable=True), stage.connect(timeout=0.1)
with stage.hold("sync", "-wal") as disk:
    writer = stage.Thread(slow.execute, "INSERT INTO t(v) VALUES(1)")
    disk.arrived()
    with stage.locked():
        quick.execute("INSERT INTO t(v) VALUES(2)")
writer.end()
