# A WSGI application with two connections: the second one's write is refused.
import sqlite3


def connect():
    return sqlite3.connect("a.db", isolation_level=None, timeout=0)


def application(environ, start_response):
    a = connect()
    a.execute("PRAGMA journal_mode = WAL")
    a.execute("CREATE TABLE t(x)")
    b = connect()
    a.execute("BEGIN IMMEDIATE")
    a.execute("INSERT INTO t VALUES (1)")
    said = "nothing"
    try:
        b.execute("INSERT INTO t VALUES (2)")
    except sqlite3.OperationalError as error:
        said = "busy" if error.sqlite_errorcode == sqlite3.SQLITE_BUSY else str(error)
    a.execute("COMMIT")
    b.execute("INSERT INTO t VALUES (3)")
    rows = a.execute("SELECT count(*) FROM t").fetchone()[0]
    a.close()
    b.close()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{said}\ndone {rows}\n".encode()]
