"""A deployment switches to WAL while an old worker still reads."""
#: {"cause": "journal-mode-switch", "outcome": "gave-up", "victim": "PRAGMA journal_mode=WAL", "culprit": "SELECT v FROM t", "perhaps_contributing": ["unfinished-statement", "idle-in-transaction", "rollback-journal"]}
import threading

import stage

stage.database("delete")
worker, deployment = stage.connect(timeout=5), stage.connect(timeout=0.1)
reading, refused = threading.Event(), threading.Event()


def work():
    rows = worker.execute("SELECT v FROM t")
    next(rows)
    reading.set()
    stage.happened(refused)
    rows.close()


def deploy():
    stage.happened(reading)
    with stage.locked():
        deployment.execute("PRAGMA journal_mode=WAL")
    refused.set()


stage.together(work, deploy)
