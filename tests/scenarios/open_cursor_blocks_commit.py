"""A cursor that is not read to its end keeps SHARED; a writer elsewhere can prepare its commit, and not carry it out."""
#: {"cause": "reader-blocks-commit", "outcome": "gave-up", "victim": "INSERT INTO t(v) VALUES(4)", "culprit": "SELECT v FROM t ORDER BY id", "contributing": ["rollback-journal"], "perhaps_contributing": ["unfinished-statement"], "fix": "execute(\"PRAGMA journal_mode=WAL\") once"}
import threading

import stage

stage.database("delete")
reader, writer = stage.connect(timeout=5), stage.connect(timeout=0.1)
reading, refused = threading.Event(), threading.Event()


def template():
    rows = reader.execute("SELECT v FROM t ORDER BY id")
    assert next(rows) == (10,)
    reading.set()
    stage.happened(refused)
    rows.close()


def insert():
    stage.happened(reading)
    with stage.locked():
        writer.execute("INSERT INTO t(v) VALUES(4)")
    refused.set()


stage.together(template, insert)
