"""The same loop when nobody else writes meanwhile: WRITE is taken inside the SELECT's snapshot and let go, and all is well."""
#: {"clean": true}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import stage

stage.database("wal")
job, web = stage.connect(timeout=5), stage.connect(timeout=5)
web.execute("INSERT INTO t(v) VALUES(40)")
for (key,) in job.execute("SELECT id FROM t ORDER BY id").fetchall():
    job.execute("UPDATE t SET v = 0 WHERE id = ?", (-key,))
rows = job.execute("SELECT id FROM t")
next(rows)
job.execute("UPDATE t SET v = 0 WHERE id = -1")
web.execute("INSERT INTO t(v) VALUES(41)")
rows.close()
