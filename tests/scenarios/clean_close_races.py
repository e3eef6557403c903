"""Processes that open, write and close again all the time: whether one is the last to close is asked of the lock, and refused."""
#: {"clean": true}
#: {"may": "hold-exceeds-timeout", "outcome": "succeeded-after-wait"}
#: {"may": "last-close", "outcome": "succeeded-after-wait"}
#: {"may": "wal-recovery", "outcome": "succeeded-after-wait"}
#: {"may": "wal-protocol-retry", "outcome": "succeeded-after-wait"}
#: {"may": "unexplained", "outcome": "succeeded-after-wait"}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3"}
import sqlite3

import stage

stage.database("wal")


def visit(parent):
    for n in range(8):
        db = sqlite3.connect("app.db", timeout=20)
        with db:
            db.execute("INSERT INTO t(v) VALUES(?)", (n,))
        db.close()


for child in [stage.Child(visit) for _ in range(3)]:
    child.end()
