# Two connections by ctypes, which looks the system's library up with dlopen and dlsym: the second one's write is refused.
import ctypes

sqlite = ctypes.CDLL("libsqlite3.so.0")
ROW = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_char_p), ctypes.c_void_p)
sqlite.sqlite3_exec.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ROW, ctypes.c_void_p, ctypes.c_void_p]
sqlite.sqlite3_close.argtypes = [ctypes.c_void_p]
SQLITE_OK, SQLITE_BUSY = 0, 5


def connect():
    connection = ctypes.c_void_p()
    assert sqlite.sqlite3_open(b"a.db", ctypes.byref(connection)) == SQLITE_OK
    return connection


def execute(connection, sql):
    rows = []

    @ROW
    def row(_, columns, values, names):
        rows.append(values[0].decode())
        return 0

    return sqlite.sqlite3_exec(connection, sql, row, None, None), rows


a = connect()
assert execute(a, b"PRAGMA journal_mode = WAL")[0] == SQLITE_OK
assert execute(a, b"CREATE TABLE t(x)")[0] == SQLITE_OK
b = connect()
assert execute(a, b"BEGIN IMMEDIATE")[0] == SQLITE_OK
assert execute(a, b"INSERT INTO t VALUES (1)")[0] == SQLITE_OK
if execute(b, b"INSERT INTO t VALUES (2)")[0] == SQLITE_BUSY:
    print("busy")
assert execute(a, b"COMMIT")[0] == SQLITE_OK
assert execute(b, b"INSERT INTO t VALUES (3)")[0] == SQLITE_OK
print("done", *execute(a, b"SELECT count(*) FROM t")[1])
sqlite.sqlite3_close(a)
sqlite.sqlite3_close(b)
