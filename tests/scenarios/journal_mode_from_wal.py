"""Switching back from WAL needs to be alone: any other open connection is in the way, however idle."""
#: {"cause": "journal-mode-switch", "outcome": "gave-up", "victim": null, "perhaps_contributing": ["same-thread-holder"]}
import stage

stage.database("wal")
idle, script = stage.connect(timeout=5), stage.connect(timeout=0.1)
idle.execute("SELECT count(*) FROM t").fetchone()
with stage.locked():
    script.execute("PRAGMA journal_mode=DELETE")
