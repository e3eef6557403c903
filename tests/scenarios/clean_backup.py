"""The backup API, a few pages at a time, while the application goes on writing between the steps."""
#: {"clean": true}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import sqlite3

import stage

stage.database("wal", "CREATE TABLE t(v); WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) INSERT INTO t SELECT zeroblob(2000) FROM n;")
app, source, copy = stage.connect(timeout=5), stage.connect(timeout=5), sqlite3.connect("copy.db")
written = []


def progress(status, remaining, total):
    if len(written) < 5:
        written.append(app.execute("INSERT INTO t VALUES(1)"))


source.backup(copy, pages=20, progress=progress, sleep=0)
assert len(written) == 5
assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
