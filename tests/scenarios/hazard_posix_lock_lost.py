"""A backup copies the database file inside the process that writes to it: closing the copy's descriptor drops the writer's locks."""
#: {"hazard": "posix-lock-lost"}
import shutil
import time

import stage

stage.database("delete")
app = stage.connect(timeout=5)


def second_writer(parent):
    parent.told()
    db = stage.connect(timeout=0.1)
    db.execute("BEGIN IMMEDIATE")
    parent.tell()
    parent.told()
    db.execute("ROLLBACK")


other = stage.Child(second_writer)
app.execute("BEGIN IMMEDIATE")
shutil.copy("app.db", "backup.db")
other.tell()
other.told()
# A shorter overlap proves nothing: the clocks of two processes are not that exact.
time.sleep(0.02)
app.execute("ROLLBACK")
other.tell()
other.end()
