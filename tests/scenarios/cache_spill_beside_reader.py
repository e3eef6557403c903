"""An import outgrows its page cache while a report is being read: it waits for the busy timeout, goes on in memory, and commits when the reader is done. Nothing fails."""
#: {"cause": "reader-blocks-commit", "outcome": "succeeded-after-wait", "victim": "UPDATE big", "culprit": "SELECT a FROM big", "contributing": ["rollback-journal"], "perhaps_contributing": ["unfinished-statement"], "fix": "execute(\"PRAGMA journal_mode=WAL\") once"}
import threading

import stage

stage.database("delete", "CREATE TABLE big(a); WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO big SELECT hex(randomblob(300)) FROM n;")
reader, importer = stage.connect(timeout=5), stage.connect(timeout=0.1)
importer.execute("PRAGMA cache_size=20")
reading, changed, read = threading.Event(), threading.Event(), threading.Event()


def report():
    rows = reader.execute("SELECT a FROM big")
    rows.fetchone()
    reading.set()
    stage.happened(changed)
    rows.close()
    read.set()


def load():
    stage.happened(reading)
    importer.execute("BEGIN")
    importer.execute("UPDATE big SET a = 'x' || a")
    changed.set()
    stage.happened(read)
    importer.execute("COMMIT")


stage.together(report, load)
assert importer.execute("SELECT count(*) FROM big WHERE a LIKE 'x%'").fetchone() == (3000,)
