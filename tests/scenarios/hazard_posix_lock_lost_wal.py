"""The same with the -shm file of a WAL database: two processes both have the write lock."""
#: {"hazard": "posix-lock-lost"}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import shutil
import time

import stage

stage.database("wal")
app = stage.connect(timeout=5)


def second_writer(parent):
    db = stage.connect(timeout=0.1)
    parent.tell()
    parent.told()
    db.execute("BEGIN IMMEDIATE")
    parent.tell()
    parent.told()
    db.execute("ROLLBACK")


other = stage.Child(second_writer)
other.told()
app.execute("BEGIN IMMEDIATE")
shutil.copy("app.db-shm", "backup.db-shm")
other.tell()
other.told()
# A shorter overlap proves nothing: the clocks of two processes are not that exact.
time.sleep(0.02)
app.execute("ROLLBACK")
other.tell()
other.end()
