"""A commit waits for one old reader with PENDING; meanwhile no new reader gets in."""
#: {"cause": "reader-blocks-commit", "outcome": "gave-up", "victim": "COMMIT", "culprit": "SELECT v FROM t", "contributing": ["rollback-journal"], "perhaps_contributing": ["unfinished-statement", "idle-in-transaction"]}
#: {"cause": "commit-blocks-reader", "outcome": "gave-up", "victim": "SELECT count(*) FROM t", "culprit": "INSERT INTO t(v) VALUES(4)", "contributing": ["rollback-journal"], "perhaps_contributing": ["idle-in-transaction"]}
import threading

import stage

stage.database("delete")
old, writer, new = stage.connect(timeout=5), stage.connect(timeout=0.05), stage.connect(timeout=0.1)
committed, looked = threading.Event(), threading.Event()


def read_slowly():
    rows = old.execute("SELECT v FROM t")
    next(rows)
    writing = stage.Thread(write)
    stage.happened(looked)
    rows.close()
    writing.end()


def write():
    writer.execute("BEGIN")
    writer.execute("INSERT INTO t(v) VALUES(4)")
    with stage.locked():
        writer.execute("COMMIT")
    reading = stage.Thread(read)
    stage.happened(looked)
    writer.execute("ROLLBACK")
    reading.end()


def read():
    with stage.locked():
        new.execute("SELECT count(*) FROM t")
    looked.set()


read_slowly()
