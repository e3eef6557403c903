# Two connections of DuckDB's sqlite_scanner to one database: the second one's write is refused.
import importlib.util
import pathlib

import duckdb

package = pathlib.Path(importlib.util.find_spec("duckdb_extension_sqlite_scanner").origin).parent
[scanner] = package.glob("extensions/*/sqlite_scanner.duckdb_extension")


def connect():
    connection = duckdb.connect()
    connection.execute(f"LOAD '{scanner}'")
    connection.execute("ATTACH 'a.db' AS a (TYPE sqlite, JOURNAL_MODE 'WAL', BUSY_TIMEOUT 0)")
    connection.execute("USE a")
    return connection


a = connect()
a.execute("CREATE TABLE t(x INTEGER)")
b = connect()
a.execute("BEGIN TRANSACTION")
a.execute("INSERT INTO t VALUES (1)")
try:
    b.execute("INSERT INTO t VALUES (2)")
except duckdb.Error as error:
    assert "locked" in str(error), error
    print("busy")
a.execute("COMMIT")
b.execute("INSERT INTO t VALUES (3)")
print("done", a.execute("SELECT count(*) FROM t").fetchone()[0])
a.close()
b.close()
