-- What to ask a fleet: a directory to which `locktrace export TRACE --format parquet -o fleet` has added the traces of many hosts.
--
-- DuckDB, begun where `fleet` is:
--   CREATE VIEW incidents AS SELECT * FROM read_parquet('fleet/incidents/*/*/*.parquet', hive_types = {'host': VARCHAR, 'day': DATE});
-- and so on for events, holds, hazards, statements and processes. Spark:
--   spark.conf.set("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
--   spark.read.parquet("fleet/incidents").createOrReplaceTempView("incidents")
-- Each query below runs as it stands in both.

-- top_causes: why was the database locked, on which host, on which day
SELECT host, day, cause, count(*) AS incidents, count(*) FILTER (WHERE outcome = 'gave-up') AS errors, CAST(sum(waited_ns) AS BIGINT) AS waited_ns
FROM incidents
GROUP BY host, day, cause
ORDER BY errors DESC, waited_ns DESC, host, day, cause;

-- culprits: the statements that were most in the way, over all hosts
SELECT blocker_sql, max(blocker_statement) AS statement, count(DISTINCT host) AS hosts, count(*) AS incidents,
       count(*) FILTER (WHERE outcome = 'gave-up') AS errors, CAST(sum(waited_ns) AS BIGINT) AS waited_ns
FROM incidents
WHERE blocker_sql IS NOT NULL
GROUP BY blocker_sql
ORDER BY errors DESC, waited_ns DESC, blocker_sql;

-- hold_lengths: how long each lock was held, day by day
SELECT host, day, database, lock, mode, count(*) AS holds, percentile_disc(0.99) WITHIN GROUP (ORDER BY held_ns) AS p99_ns, max(held_ns) AS max_ns,
       CAST(sum(held_ns) AS BIGINT) AS total_ns
FROM holds
WHERE ended = 'released' AND NOT lifetime AND held_ns IS NOT NULL
GROUP BY host, day, database, lock, mode
ORDER BY host, day, database, lock, mode;

-- longest_holds: with the statement that took the lock
SELECT h.host, h.time, h.database, h.lock, h.mode, h.held_ns, h.pid, h.thread, s.text AS statement
FROM holds h
LEFT JOIN (SELECT sql, max(text) AS text FROM statements GROUP BY sql) s ON s.sql = h.sql
WHERE NOT h.lifetime AND h.held_ns IS NOT NULL
ORDER BY h.held_ns DESC, h.host, h.log, h.record
LIMIT 20;

-- refusals: attempts that were refused, by database
SELECT host, database, lock, mode, count(*) AS refused
FROM events
WHERE refused
GROUP BY host, database, lock, mode
ORDER BY refused DESC, host, database, lock, mode;

-- exposed: hosts on which a WAL database is written by a SQLite that has the WAL-reset bug
SELECT host, database, max(sqlite) AS sqlite
FROM hazards
WHERE hazard = 'wal-reset-exposure'
GROUP BY host, database
ORDER BY host, database;

-- losses: how much of what the hosts recorded is missing here
SELECT host, count(*) AS processes, CAST(sum(records) AS BIGINT) AS records, CAST(sum(records_read) AS BIGINT) AS records_read,
       CAST(sum(overwritten) AS BIGINT) AS overwritten, CAST(sum(lost + empty + torn + missing) AS BIGINT) AS gone
FROM processes
GROUP BY host
ORDER BY host;
