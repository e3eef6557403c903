"""A transaction that only reads stays open for seconds while others write: the -wal cannot be used again from its start."""
#: {"hazard": "long-read-transaction"}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import time

import stage

stage.database("wal")
report, app = stage.connect(timeout=5), stage.connect(timeout=5)
app.execute("INSERT INTO t(v) VALUES(0)")
report.execute("BEGIN")
report.execute("SELECT count(*) FROM t").fetchone()
# How long is what makes it a long one; nothing waits for it.
end = time.monotonic() + 1.2
while time.monotonic() < end:
    app.execute("INSERT INTO t(v) VALUES(zeroblob(5000))")
    time.sleep(0.01)
report.execute("COMMIT")
