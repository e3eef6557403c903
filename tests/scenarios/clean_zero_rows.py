"""UPDATE and DELETE that find nothing, beside a connection that commits: WRITE is taken and let go, and nobody was refused."""
#: {"clean": true}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import stage

stage.database("wal")
app, other = stage.connect(timeout=5), stage.connect(timeout=5)
for n in range(20):
    app.execute("UPDATE t SET v = 0 WHERE id = -1")
    other.execute("UPDATE t SET v = ? WHERE id = 2", (n,))
    app.execute("BEGIN")
    app.execute("DELETE FROM t WHERE id = -1")
    app.execute("COMMIT")
