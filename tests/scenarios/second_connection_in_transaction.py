"""A function opens a connection of its own while its caller is in a transaction, on the same thread: no timeout is long enough."""
#: {"cause": "hold-exceeds-timeout", "outcome": "gave-up", "victim": "INSERT INTO t(v) VALUES('audit')", "culprit": "UPDATE t SET v = 1 WHERE id = 1", "contributing": ["same-thread-holder", "idle-in-transaction"]}
import sqlite3

import stage

stage.database("delete")


def audit():
    log = sqlite3.connect("app.db", timeout=0.15)
    with stage.locked():
        log.execute("INSERT INTO t(v) VALUES('audit')")
    log.close()


with sqlite3.connect("app.db") as db:
    db.execute("UPDATE t SET v = 1 WHERE id = 1")
    audit()
