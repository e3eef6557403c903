"""Nested savepoints, rolled back and released, by two connections in turn."""
#: {"clean": true}
import stage

stage.database("delete")
connections = [stage.connect(timeout=5) for _ in range(2)]
for n in range(10):
    db = connections[n % 2]
    db.execute("SAVEPOINT outer")
    db.execute("INSERT INTO t(v) VALUES(?)", (n,))
    db.execute("SAVEPOINT inner")
    db.execute("UPDATE t SET v = 0")
    db.execute("ROLLBACK TO inner")
    db.execute("RELEASE outer")
