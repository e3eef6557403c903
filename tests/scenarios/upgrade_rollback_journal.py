"""Read, then write, without WAL: two transactions hold SHARED, one has RESERVED, the other is refused at once."""
#: {"cause": "upgrade-refused", "outcome": "gave-up", "victim": "UPDATE t SET v = v + 1 WHERE id = 2", "culprit": "UPDATE t SET v = v + 1 WHERE id = 1", "perhaps_contributing": ["idle-in-transaction"], "attempts": 1}
import threading

import stage

stage.database("delete")
mine, theirs = stage.connect(timeout=5), stage.connect(timeout=5)
asked, refused = threading.Event(), threading.Event()


def counter():
    mine.execute("BEGIN")
    mine.execute("SELECT v FROM t WHERE id = 1").fetchone()
    mine.execute("UPDATE t SET v = v + 1 WHERE id = 1")
    asked.set()
    stage.happened(refused)
    mine.execute("COMMIT")


def other_counter():
    theirs.execute("BEGIN")
    theirs.execute("SELECT v FROM t WHERE id = 2").fetchone()
    stage.happened(asked)
    with stage.locked():
        theirs.execute("UPDATE t SET v = v + 1 WHERE id = 2")
    theirs.execute("ROLLBACK")
    refused.set()


stage.together(counter, other_counter)
