CREATE VIEW hold_details AS
  -- Every hold with its names, in the order in which they ended.
  SELECT h.id, d.path AS database, h.lock, h.mode, h.held_ns / 1e6 AS held_ms, h.ended, h.since, h.until, p.host, p.pid, p.command,
         t.tid, t.name AS thread, c.number AS connection, s.text AS statement, s.hash AS statement_hash, h.lifetime
  FROM holds h
  JOIN databases d ON d.id = h.database
  JOIN connections c ON c.id = h.connection
  JOIN processes p ON p.id = c.process
  LEFT JOIN threads t ON t.id = h.thread
  LEFT JOIN statements s ON s.id = h.statement;

CREATE VIEW longest_holds AS
  -- The holds of known length, longest first, without the locks that WAL connections keep for their lives. An open hold lasted at least that long.
  SELECT d.path AS database, h.lock, h.mode, h.held_ns / 1e6 AS held_ms, h.ended = 'open' AS open, h.since, p.pid, p.command,
         c.number AS connection, t.name AS thread, s.text AS statement
  FROM holds h
  -- (CROSS: the holds lead, in their order.)
  CROSS JOIN databases d ON d.id = h.database
  CROSS JOIN connections c ON c.id = h.connection
  CROSS JOIN processes p ON p.id = c.process
  LEFT JOIN threads t ON t.id = h.thread
  LEFT JOIN statements s ON s.id = h.statement
  WHERE h.held_ns IS NOT NULL AND NOT h.lifetime
  ORDER BY h.held_ns DESC;

CREATE VIEW incident_details AS
  -- Every listed incident in one line, with its main blocker.
  SELECT i.id, d.path AS database, i.first, i.waited_ns / 1e6 AS waited_ms, i.outcome, i.cause,
         (SELECT group_concat(x.cause, ' ') FROM contributing x WHERE x.incident = i.id) AS contributing,
         trim(replace(substr(i.mode, 1, 1), 'E', 'X') || ' ' || i.lock) AS lock, i.attempts, p.host, p.pid, c.number AS connection, t.name AS thread, s.text AS statement,
         coalesce(bp.pid, b.pid) AS blocker_pid, coalesce(bp.command, b.command) AS blocker_command, bc.number AS blocker_connection,
         trim(replace(substr(b.mode, 1, 1), 'E', 'X') || ' ' || b.lock) AS blocker_lock, b.state AS blocker_state, b.certain AS blocker_certain,
         bs.text AS blocker_statement, b.held_before_ns / 1e6 AS blocker_held_before_ms, i.fix
  FROM incidents i
  CROSS JOIN connections c ON c.id = i.connection
  CROSS JOIN processes p ON p.id = c.process
  LEFT JOIN databases d ON d.id = i.database
  LEFT JOIN threads t ON t.id = i.thread
  LEFT JOIN statements s ON s.id = i.statement
  LEFT JOIN blockers b ON b.incident = i.id AND b.position = 1
  LEFT JOIN connections bc ON bc.id = b.connection
  LEFT JOIN processes bp ON bp.id = bc.process
  LEFT JOIN statements bs ON bs.id = b.statement;

CREATE VIEW waits AS
  -- Who waited for whom, longest first: a line for each connection or process that blocked an incident, and one line without a blocker if none is known.
  -- share_ms is its part of waited_ms, by the attempts it refused, so that sums of it over any blockers are time waited for them.
  SELECT i.id AS incident, d.path AS database, i.first, i.waited_ns / 1e6 AS waited_ms, i.outcome, i.cause,
         trim(replace(substr(i.mode, 1, 1), 'E', 'X') || ' ' || i.lock) AS wants, p.host, p.pid, p.command, c.number AS connection, t.name AS thread,
         s.text AS statement, b.position,
         i.waited_ns / 1e6 * coalesce(max(coalesce(b.attempts, 1), 1) * 1.0 /
           (SELECT sum(max(coalesce(x.attempts, 1), 1)) FROM blockers x WHERE x.incident = i.id), 1) AS share_ms,
         coalesce(bp.pid, b.pid) AS blocker_pid, coalesce(bp.command, b.command) AS blocker_command, bc.number AS blocker_connection, bt.name AS blocker_thread,
         bs.text AS blocker_statement, trim(replace(substr(b.mode, 1, 1), 'E', 'X') || ' ' || b.lock) AS blocker_lock, b.state AS blocker_state,
         b.certain AS blocker_certain, b.same_thread, b.held_before_ns / 1e6 AS blocker_held_before_ms, b.held_after_ns / 1e6 AS blocker_held_after_ms
  FROM incidents i
  -- (CROSS: the incidents lead, in their order.)
  CROSS JOIN connections c ON c.id = i.connection
  CROSS JOIN processes p ON p.id = c.process
  LEFT JOIN databases d ON d.id = i.database
  LEFT JOIN threads t ON t.id = i.thread
  LEFT JOIN statements s ON s.id = i.statement
  LEFT JOIN blockers b ON b.incident = i.id
  LEFT JOIN connections bc ON bc.id = b.connection
  LEFT JOIN processes bp ON bp.id = bc.process
  LEFT JOIN threads bt ON bt.id = b.thread
  LEFT JOIN statements bs ON bs.id = b.statement
  ORDER BY i.waited_ns DESC;

CREATE VIEW errors AS
  -- The incidents that the application saw as an error.
  SELECT * FROM incident_details WHERE outcome = 'gave-up';

CREATE VIEW who_blocks_whom AS
  -- Statement by statement, most harm first: errors, then time waited. NULL is an unknown statement.
  SELECT blocker, victim, incidents, gave_up, waited_ns / 1e6 AS waited_ms FROM statement_pairs ORDER BY id;

CREATE VIEW causes_by_harm AS
  -- The few things to change, most harm first.
  SELECT cause, incidents, gave_up, waited_ns / 1e6 AS waited_ms, fix FROM causes ORDER BY gave_up DESC, waited_ns DESC, incidents DESC;

CREATE VIEW write_occupancy AS
  -- Which part of each minute (UTC) the one writer's lock was held: WRITE in WAL mode, RESERVED and above else. Left out: minutes without a hold, holds whose
  -- times are unknown, and holds of more than a week. Parts can add up to more than 1 if the end of a hold was not recorded (ended <> 'released').
  WITH RECURSIVE part(database, minute, from_ns, until_ns) AS (
    SELECT database, since_ns / 60000000000, since_ns, until_ns FROM holds
    WHERE (lock = 'WRITE' AND mode = 'EXCLUSIVE' OR lock = 'RESERVED') AND until_ns - since_ns BETWEEN 0 AND 604800000000000
    UNION ALL
    SELECT database, minute + 1, (minute + 1) * 60000000000, until_ns FROM part WHERE until_ns > (minute + 1) * 60000000000
  )
  SELECT d.path AS database, strftime('%Y-%m-%dT%H:%MZ', p.minute * 60, 'unixepoch') AS minute, count(*) AS holds,
         sum(min(p.until_ns, (p.minute + 1) * 60000000000) - p.from_ns) / 6e10 AS occupied
  FROM part p JOIN databases d ON d.id = p.database
  GROUP BY p.database, p.minute
  ORDER BY p.minute, p.database;

CREATE VIEW refusals_by_statement AS
  -- Refused attempts by the statement that was refused, most first.
  SELECT s.text AS statement, s.hash AS statement_hash, trim(replace(substr(r.mode, 1, 1), 'E', 'X') || ' ' || r.lock) AS lock, d.path AS database,
         count(*) AS refused, min(r.at) AS first, max(r.at) AS last
  FROM refusals r
  LEFT JOIN statements s ON s.id = r.statement
  LEFT JOIN databases d ON d.id = r.database
  GROUP BY r.statement, r.lock, r.mode, r.database
  ORDER BY refused DESC;

CREATE VIEW idle_in_transaction AS
  -- The transactions that blocked somebody and mostly did nothing, longest first.
  SELECT d.path AS database, p.pid, p.command, c.number AS connection, t.name AS thread, s.text AS took_it, l.text AS last_statement,
         trim(replace(substr(b.mode, 1, 1), 'E', 'X') || ' ' || b.lock) AS lock, h.held_ns / 1e6 AS held_ms, h.since, count(*) AS incidents,
         sum(i.outcome = 'gave-up') AS gave_up, sum(i.waited_ns) / 1e6 AS waited_ms
  FROM blockers b
  JOIN incidents i ON i.id = b.incident
  JOIN connections c ON c.id = b.connection
  JOIN processes p ON p.id = c.process
  LEFT JOIN databases d ON d.id = i.database
  LEFT JOIN holds h ON h.id = b.hold
  LEFT JOIN threads t ON t.id = b.thread
  LEFT JOIN statements s ON s.id = b.statement
  LEFT JOIN statements l ON l.id = b.last_statement
  WHERE b.state = 'idle-in-transaction'
  GROUP BY b.connection, b.lock, b.mode, b.hold
  ORDER BY h.held_ns DESC;

CREATE VIEW hazards_by_database AS
  -- What can go wrong, and where.
  SELECT h.hazard, d.path AS database, h.what,
         (SELECT group_concat(DISTINCT p.host) FROM hazard_evidence e JOIN processes p ON p.id = e.process WHERE e.hazard = h.id) AS hosts
  FROM hazards h JOIN databases d ON d.id = h.database
  ORDER BY h.hazard, d.path;

CREATE VIEW lossy_processes AS
  -- The processes of which records or names are missing: results about them may be incomplete.
  SELECT p.log, p.pid, p.command, l.* FROM losses l JOIN processes p ON p.id = l.process
  WHERE l.overwritten + l.lost + l.empty + l.torn + l.missing + l.lost_names > 0;
