# Two connections of one DB-API module (PEP 249), whose name is the argument: the second one's write is refused.
import importlib
import sys

module = importlib.import_module(sys.argv[1])


def connect():
    return module.connect("a.db", isolation_level=None, timeout=0)


a = connect()
a.execute("PRAGMA journal_mode = WAL").fetchall()
a.execute("CREATE TABLE t(x)")
b = connect()
a.execute("BEGIN IMMEDIATE")
a.execute("INSERT INTO t VALUES (1)")
try:
    b.execute("INSERT INTO t VALUES (2)")
except Exception as error:
    assert "locked" in str(error), error
    print("busy")
a.execute("COMMIT")
b.execute("INSERT INTO t VALUES (3)")
print("done", a.execute("SELECT count(*) FROM t").fetchone()[0])
a.close()
b.close()
