"""Prefork workers, as under gunicorn: one calls a payment service inside its transaction, the other's request fails."""
#: {"cause": "hold-exceeds-timeout", "outcome": "gave-up", "victim": "UPDATE t SET v = v + 1 WHERE id = 2", "culprit": "UPDATE t SET v = v + 1 WHERE id = 1", "contributing": ["idle-in-transaction"], "state": "idle-in-transaction"}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import sqlite3

import stage

stage.database("wal")


def slow_worker(parent):
    db = sqlite3.connect("app.db", timeout=0.1)
    db.execute("UPDATE t SET v = v + 1 WHERE id = 1")
    parent.tell()
    parent.told()  # the payment service answers
    db.commit()
    db.close()


def quick_worker(parent):
    db = sqlite3.connect("app.db", timeout=0.1)
    with stage.locked():
        db.execute("UPDATE t SET v = v + 1 WHERE id = 2")
    db.close()
    parent.tell()


slow = stage.Child(slow_worker)
slow.told()
quick = stage.Child(quick_worker)
quick.told()
quick.end()
slow.tell()
slow.end()
