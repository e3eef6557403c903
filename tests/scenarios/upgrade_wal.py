"""Two workers read, then write in the same transaction: whoever writes second is refused at once, whatever its timeout.

This is Django's `get_or_create` inside `transaction.atomic()`, SQLAlchemy's flush after a query, and any BEGIN … SELECT … INSERT.
"""
#: {"cause": "upgrade-refused", "outcome": "gave-up", "victim": "INSERT INTO t VALUES(5", "culprit": "INSERT INTO t VALUES(4", "perhaps_contributing": ["idle-in-transaction"], "attempts": 1, "fix": "isolation_level=\"IMMEDIATE\""}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import threading

import stage

stage.database("wal")
both_have_read, second_is_refused = threading.Barrier(2, timeout=stage.PATIENCE), threading.Event()
first_has_written = threading.Event()


one, two = stage.connect(timeout=5), stage.connect(timeout=5)


def get_or_create(db, key):
    db.execute("BEGIN")
    assert db.execute("SELECT v FROM t WHERE id = ?", (key,)).fetchone() is None
    both_have_read.wait()


def first():
    get_or_create(one, 4)
    one.execute("INSERT INTO t VALUES(4, 0)")
    first_has_written.set()
    stage.happened(second_is_refused)
    one.execute("COMMIT")


def second():
    get_or_create(two, 5)
    stage.happened(first_has_written)
    with stage.locked():
        two.execute("INSERT INTO t VALUES(5, 0)")
    two.execute("ROLLBACK")
    second_is_refused.set()


stage.together(first, second)
