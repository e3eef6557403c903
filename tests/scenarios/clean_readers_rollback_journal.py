"""Without WAL: readers beside readers, and a writer that comes when they have finished."""
#: {"clean": true}
import stage

stage.database("delete")
readers = [stage.connect(timeout=5) for _ in range(3)]
cursors = [db.execute("SELECT v FROM t") for db in readers]
for rows in cursors:
    assert len(rows.fetchall()) == 3
readers[0].execute("INSERT INTO t(v) VALUES(1)")
