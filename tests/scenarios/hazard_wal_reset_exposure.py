"""Two processes that write to one WAL database, in turns, with an SQLite that can lose a commit when the log starts again."""
#: {"hazard": "wal-reset-exposure", "below": "3.51.3"}
import stage

stage.database("wal")
db = stage.connect(timeout=5)


def other(parent):
    mine = stage.connect(timeout=5)
    for n in range(5):
        parent.told()
        mine.execute("INSERT INTO t(v) VALUES(?)", (n,))
        parent.tell()
    mine.close()


child = stage.Child(other)
for n in range(5):
    db.execute("INSERT INTO t(v) VALUES(?)", (n,))
    child.tell()
    child.told()
    db.execute("PRAGMA wal_checkpoint").fetchall()
child.end()
