"""Two attached databases in one transaction, again and again."""
#: {"clean": true}
import stage

stage.database("delete")
stage.database("delete", path="archive.db")
db = stage.connect(timeout=5)
db.execute("ATTACH 'archive.db' AS archive")
for n in range(5):
    db.execute("BEGIN")
    db.execute("INSERT INTO archive.t(v) SELECT v FROM main.t")
    db.execute("UPDATE main.t SET v = v + 1")
    db.execute("COMMIT")
db.execute("DETACH archive")
