"""No BEGIN anywhere: a loop over a SELECT holds the snapshot that the UPDATE in its body would need to be the newest."""
#: {"cause": "stale-snapshot", "outcome": "gave-up", "victim": "UPDATE t SET v = 0 WHERE id = ?", "culprit": "INSERT INTO t(v) VALUES(40)", "perhaps_contributing": ["unfinished-statement"]}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import sqlite3

import stage

stage.database("wal")
job, web = stage.connect(timeout=5), stage.connect(timeout=5)
for (key,) in job.execute("SELECT id FROM t ORDER BY id"):
    web.execute("INSERT INTO t(v) VALUES(40)")
    with stage.locked(sqlite3.SQLITE_BUSY_SNAPSHOT):
        job.execute("UPDATE t SET v = 0 WHERE id = ?", (key,))
    break
