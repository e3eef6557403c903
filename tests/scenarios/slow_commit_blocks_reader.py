"""Without WAL a commit that waits for the disk keeps every reader out."""
#: {"preload": "slow_disk.c"}
#: {"cause": "commit-blocks-reader", "outcome": "gave-up", "victim": "SELECT count(*) FROM t", "culprit": "INSERT INTO t(v) VALUES(4)", "contributing": ["slow-sync", "rollback-journal"], "state": "syncing", "fix": "writers still take turns"}
import stage

stage.database("delete")
writer, reader = stage.connect(timeout=5, durable=True), stage.connect(timeout=0.1)
with stage.hold("sync", "app.db") as disk:
    writing = stage.Thread(writer.execute, "INSERT INTO t(v) VALUES(4)")
    disk.arrived()
    with stage.locked():
        reader.execute("SELECT count(*) FROM t")
writing.end()
