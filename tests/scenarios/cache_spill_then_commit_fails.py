"""The same without BEGIN: the statement goes on in memory, too, and cannot commit in the end. However often it was refused, the application sees one error."""
#: {"cause": "reader-blocks-commit", "outcome": "gave-up", "victim": "UPDATE big", "culprit": "SELECT a FROM big", "contributing": ["rollback-journal"], "perhaps_contributing": ["unfinished-statement"], "fix": "execute(\"PRAGMA journal_mode=WAL\") once"}
import threading

import stage

stage.database("delete", "CREATE TABLE big(a); WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO big SELECT hex(randomblob(300)) FROM n;")
reader, importer = stage.connect(timeout=5), stage.connect(timeout=0.1)
importer.execute("PRAGMA cache_size=20")
reading, refused = threading.Event(), threading.Event()


def report():
    rows = reader.execute("SELECT a FROM big")
    rows.fetchone()
    reading.set()
    stage.happened(refused)
    rows.close()


def load():
    stage.happened(reading)
    with stage.locked():
        importer.execute("UPDATE big SET a = 'x' || a")
    refused.set()


stage.together(report, load)
assert importer.execute("SELECT count(*) FROM big WHERE a LIKE 'x%'").fetchone() == (0,)
