"""VACUUM when nobody else is there."""
#: {"clean": true}
import stage

stage.database("delete")
db = stage.connect(timeout=5)
db.execute("INSERT INTO t(v) VALUES(zeroblob(100000))")
db.execute("DELETE FROM t WHERE id = 4")
db.execute("VACUUM")
