"""PASSIVE checkpoints, SQLite's own and asked for, beside a reader in a short transaction: they do what they can, and that is well."""
#: {"clean": true}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import stage

stage.database("wal")
reader, app = stage.connect(timeout=5), stage.connect(timeout=5)
app.execute("PRAGMA wal_autocheckpoint=5")
for n in range(10):
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM t").fetchone()
    app.execute("INSERT INTO t(v) VALUES(zeroblob(20000))")
    assert app.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[0] == 0
    reader.execute("COMMIT")
