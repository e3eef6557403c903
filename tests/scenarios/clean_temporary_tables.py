"""Temporary tables filled from the database while another connection writes to it."""
#: {"clean": true}
#: {"hazard": "wal-reset-exposure", "below": "3.51.3", "perhaps": true}
import stage

stage.database("wal")
analyst, app = stage.connect(timeout=5), stage.connect(timeout=5)
analyst.execute("CREATE TEMP TABLE mine(v)")
for n in range(10):
    analyst.execute("INSERT INTO mine SELECT v FROM t")
    app.execute("INSERT INTO t(v) VALUES(?)", (n,))
assert analyst.execute("SELECT count(*) FROM mine").fetchone()[0] == sum(range(3, 13))
