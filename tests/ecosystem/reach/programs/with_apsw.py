# Two connections of apsw: the second one's write is refused.
import apsw

a = apsw.Connection("a.db")
a.execute("PRAGMA journal_mode = WAL").fetchall()
a.execute("CREATE TABLE t(x)")
b = apsw.Connection("a.db")
a.execute("BEGIN IMMEDIATE")
a.execute("INSERT INTO t VALUES (1)")
try:
    b.execute("INSERT INTO t VALUES (2)")
except apsw.BusyError:
    print("busy")
a.execute("COMMIT")
b.execute("INSERT INTO t VALUES (3)")
print("done", a.execute("SELECT count(*) FROM t").fetchone()[0])
a.close()
b.close()
