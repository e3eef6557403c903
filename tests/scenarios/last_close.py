"""The last connection closes, checkpoints and deletes the -wal; a process that starts just then finds the database locked."""
#: {"preload": "slow_disk.c"}
#: {"cause": "last-close", "outcome": "gave-up", "victim": null, "perhaps_contributing": ["slow-sync"]}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import stage

stage.database("wal")
last = stage.connect(timeout=5, durable=True)
last.execute("INSERT INTO t(v) VALUES(0)")
with stage.hold("sync", "app.db") as disk:
    closing = stage.Thread(last.close)
    disk.arrived()
    with stage.locked():
        stage.connect(timeout=0.1, fresh=True).execute("SELECT count(*) FROM t")
closing.end()
