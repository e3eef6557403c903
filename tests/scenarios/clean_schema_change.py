"""ALTER TABLE and CREATE INDEX beside readers that have prepared their statements already."""
#: {"clean": true}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import stage

stage.database("wal")
reader, app = stage.connect(timeout=5), stage.connect(timeout=5)
for n in range(5):
    assert len(reader.execute("SELECT * FROM t").fetchall()) == 3
    app.execute(f"ALTER TABLE t ADD COLUMN extra{n}")
    app.execute(f"CREATE INDEX i{n} ON t(extra{n})")
    assert len(reader.execute("SELECT * FROM t").fetchall()[0]) == 3 + n
