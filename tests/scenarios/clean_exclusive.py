"""An import in an EXCLUSIVE transaction, while the others have their connections open and ask for nothing."""
#: {"clean": true}
import stage

stage.database("delete")
idle, job = stage.connect(timeout=5), stage.connect(timeout=5)
idle.execute("SELECT * FROM t").fetchall()
job.execute("BEGIN EXCLUSIVE")
job.executemany("INSERT INTO t(v) VALUES(?)", [(n,) for n in range(1000)])
job.execute("COMMIT")
assert idle.execute("SELECT count(*) FROM t").fetchone() == (1003,)
