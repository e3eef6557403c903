"""One connection of the pool was made with timeout 0."""
#: {"cause": "no-busy-timeout", "outcome": "gave-up", "victim": "INSERT INTO t(v) VALUES(2)", "culprit": "INSERT INTO t(v) VALUES(1)", "perhaps_contributing": ["idle-in-transaction"], "attempts": 1}
import threading

import stage

stage.database("delete")
patient, hasty = stage.connect(timeout=5), stage.connect(timeout=0)
written, refused = threading.Event(), threading.Event()


def first():
    patient.execute("BEGIN")
    patient.execute("INSERT INTO t(v) VALUES(1)")
    written.set()
    stage.happened(refused)
    patient.execute("COMMIT")


def second():
    stage.happened(written)
    with stage.locked():
        hasty.execute("INSERT INTO t(v) VALUES(2)")
    refused.set()


stage.together(first, second)
