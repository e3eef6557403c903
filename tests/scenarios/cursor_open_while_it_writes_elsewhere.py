"""A loop over a query that, for each row, writes to another database: the query is not over as long as the loop runs."""
#: {"stock": true}
#: {"cause": "reader-blocks-commit", "outcome": "gave-up", "victim": "INSERT INTO t(v) VALUES(4)", "culprit": "SELECT v FROM t ORDER BY id", "contributing": ["unfinished-statement", "rollback-journal"]}
import threading

import stage

stage.database("delete")
stage.database("delete", path="log.db")
reader, log, writer = stage.connect(timeout=5), stage.connect(timeout=5, path="log.db"), stage.connect(timeout=0.1)
reading, refused = threading.Event(), threading.Event()


def export():
    for (value,) in reader.execute("SELECT v FROM t ORDER BY id"):
        log.execute("INSERT INTO t(v) VALUES(?)", (value,))
        reading.set()
        stage.happened(refused)


def insert():
    stage.happened(reading)
    with stage.locked():
        writer.execute("INSERT INTO t(v) VALUES(4)")
    refused.set()


stage.together(export, insert)
