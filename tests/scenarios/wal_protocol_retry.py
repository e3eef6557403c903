"""Somebody restored the -shm file from a backup under a live writer: readers can neither use the wal-index nor rebuild it.

SQLite tries for ten seconds and then answers "locking protocol"; here nobody really sleeps that long.
"""
#: {"preload": "slow_disk.c"}
#: {"cause": "wal-protocol-retry", "outcome": "gave-up", "victim": null, "culprit": "BEGIN IMMEDIATE", "perhaps_contributing": ["idle-in-transaction", "same-thread-holder"]}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import sqlite3
import subprocess
import sys

import stage

stage.database("wal")
writer, reader = stage.connect(timeout=5), stage.connect(timeout=5, fresh=True)
writer.execute("INSERT INTO t(v) VALUES(0)")
writer.execute("BEGIN IMMEDIATE")
# By another process: opening and closing the file in this one would drop the writer's locks.
restore = "shm = open('app.db-shm', 'r+b'); shm.write(bytes(136)); shm.close()"
subprocess.run([sys.executable, "-c", restore], env=stage.untraced(), check=True)


def read():
    with stage.locked(sqlite3.SQLITE_PROTOCOL):
        reader.execute("SELECT count(*) FROM t")


with stage.hold("sleep") as clock:
    reading = stage.Thread(read)
    while reading.is_alive():
        clock.let_go()
        reading.join(0.001)
reading.end()
writer.execute("ROLLBACK")
