"""A FULL checkpoint waits for a reader and keeps every writer out while it waits."""
#: {"cause": "checkpoint-convoy", "outcome": "gave-up", "victim": "PRAGMA wal_checkpoint(FULL)", "culprit": "SELECT count(*) FROM t", "perhaps_contributing": ["idle-in-transaction"]}
#: {"cause": "hold-exceeds-timeout", "outcome": "gave-up", "victim": "INSERT INTO t(v) VALUES('order')", "culprit": "PRAGMA wal_checkpoint(FULL)", "contributing": ["checkpoint-convoy"], "state": "waiting"}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
#: {"hazard": "long-read-transaction", "perhaps": true}
import stage

stage.database("wal")
reader, keeper, app = stage.connect(timeout=5), stage.connect(timeout=0.6), stage.connect(timeout=0.1)
app.execute("INSERT INTO t(v) VALUES(0)")
reader.execute("BEGIN")
reader.execute("SELECT count(*) FROM t").fetchone()
app.execute("INSERT INTO t(v) VALUES(1)")


def checkpoint():
    assert keeper.execute("PRAGMA wal_checkpoint(FULL)").fetchone()[0] == 1


checkpointing = stage.Thread(checkpoint)
stage.refused("READ1")
with stage.locked():
    app.execute("INSERT INTO t(v) VALUES('order')")
checkpointing.end()
reader.execute("COMMIT")
