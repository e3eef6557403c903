CREATE TABLE about (
  -- What this database is, where it came from, and what is not in it.
  key TEXT PRIMARY KEY,
  value ANY
) STRICT, WITHOUT ROWID;

CREATE TABLE processes (
  -- One row for each log of the trace: a process, or a child after its fork.
  id INTEGER PRIMARY KEY,
  log TEXT NOT NULL UNIQUE,           -- <pid>-<start>, the name of its files in the trace directory
  pid INTEGER NOT NULL,
  exe TEXT,
  command TEXT,                       -- the arguments, a JSON array
  host TEXT,
  sqlite TEXT,                        -- the SQLite versions in it
  sql_policy TEXT,                    -- what was kept of statements: text, hash, off
  boot_id TEXT,                       -- of its host; NULL if unknown
  started_ns INTEGER,                 -- when its log began: nanoseconds since 1970, as in all columns that end in _ns and are not lengths
  started TEXT AS ({time:started}) VIRTUAL,
  lengths_known INTEGER NOT NULL      -- 0: the length of a clock tick is unknown, so all its times and lengths are NULL
) STRICT;

CREATE TABLE losses (
  -- What became of the records of each process: head = read + overwritten + lost + empty + torn + missing.
  process INTEGER PRIMARY KEY REFERENCES processes,
  head INTEGER NOT NULL,              -- claimed
  read INTEGER NOT NULL,              -- read, and counted here
  overwritten INTEGER NOT NULL,       -- by later ones: the ring wrapped
  lost INTEGER NOT NULL,              -- for want of disk space
  empty INTEGER NOT NULL,             -- claimed and never written
  torn INTEGER NOT NULL,              -- half a record, or damage
  missing INTEGER NOT NULL,           -- beyond the end of a truncated file
  lost_names INTEGER NOT NULL         -- lines of names that could not be written
) STRICT;

CREATE TABLE problems (
  -- What was wrong with the trace, in words.
  id INTEGER PRIMARY KEY,
  severity TEXT NOT NULL,             -- notice, problem
  what TEXT NOT NULL
) STRICT;

CREATE TABLE databases (
  -- Every database with records. id is its place in `databases` of locktrace report --json.
  id INTEGER PRIMARY KEY,
  path TEXT,                          -- NULL if no name of it was kept
  path_bytes BLOB,                    -- the path's bytes if they are not UTF-8
  journal_modes TEXT NOT NULL,        -- wal, delete, rollback, unknown
  file_systems TEXT NOT NULL,
  connections INTEGER NOT NULL,
  processes INTEGER NOT NULL,
  records INTEGER NOT NULL,
  transitions INTEGER NOT NULL,       -- calls that changed a lock
  redundant INTEGER NOT NULL          -- calls that released a lock that was not held
) STRICT;

CREATE TABLE database_paths (
  -- All paths by which a database was opened (several for links).
  database INTEGER NOT NULL REFERENCES databases,
  path TEXT NOT NULL,
  PRIMARY KEY (database, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE locks (
  -- Sums for each lock of each database, as in `databases[].locks` of locktrace report --json.
  database INTEGER NOT NULL REFERENCES databases,
  lock TEXT NOT NULL,                 -- SHARED, RESERVED, PENDING, EXCLUSIVE; of the wal-index WRITE, CKPT, RECOVER, READ0 to READ4
  mode TEXT NOT NULL,                 -- of the wal-index: SHARED, EXCLUSIVE; '' for the database file
  acquired INTEGER NOT NULL,
  refused INTEGER NOT NULL,           -- attempts, those of closing connections too
  held_count INTEGER NOT NULL,        -- holds of known length; their median, 95th and 99th percentile (exact to three digits), longest, and sum
  held_p50_ns INTEGER, held_p95_ns INTEGER, held_p99_ns INTEGER, held_max_ns INTEGER, held_total_ns INTEGER,
  unknown_holds INTEGER NOT NULL,     -- holds of unknown length
  open_holds INTEGER NOT NULL,        -- holds that the trace ends with
  waited_count INTEGER NOT NULL,      -- waits that ended with the lock
  waited_p50_ns INTEGER, waited_p95_ns INTEGER, waited_p99_ns INTEGER, waited_max_ns INTEGER, waited_total_ns INTEGER,
  gave_up INTEGER NOT NULL,           -- waits that ended without the lock
  PRIMARY KEY (database, lock, mode)
) STRICT, WITHOUT ROWID;

CREATE TABLE connections (
  -- Every connection to a database file: one that attaches a second file has two.
  id INTEGER PRIMARY KEY,
  process INTEGER NOT NULL REFERENCES processes,
  number INTEGER NOT NULL,            -- counted from 1 in the process that opened it
  forked INTEGER NOT NULL,            -- 1: another process opened it, and a fork copied it
  database INTEGER REFERENCES databases
) STRICT;

CREATE TABLE threads (
  id INTEGER PRIMARY KEY,
  process INTEGER NOT NULL REFERENCES processes,
  tid INTEGER NOT NULL,
  name TEXT                           -- both names if the number was used again
) STRICT;

CREATE TABLE statements (
  id INTEGER PRIMARY KEY,
  hash TEXT NOT NULL UNIQUE,          -- 16 hexadecimal digits; the same text has the same hash in every process
  text TEXT,                          -- as prepared, never bound values; NULL if it was not kept
  text_bytes BLOB,                    -- its bytes if they are not UTF-8
  length INTEGER                      -- of the whole statement in bytes; more than the length of text if that was cut
) STRICT;

CREATE TABLE holds (
  -- Every lock that was held, once.
  id INTEGER PRIMARY KEY,
  database INTEGER NOT NULL REFERENCES databases,
  connection INTEGER NOT NULL REFERENCES connections,
  thread INTEGER REFERENCES threads,          -- that took it; NULL if that was not recorded
  statement INTEGER REFERENCES statements,    -- that took it; NULL if there was none, or it is unknown
  lock TEXT NOT NULL,                 -- as in locks
  mode TEXT NOT NULL,
  record INTEGER NOT NULL,            -- the number of the record that took it (seen = 1) or showed it
  end_record INTEGER,                 -- of the record that ended it, or showed the end
  since_ns INTEGER,                   -- when the call that took it began; NULL if that is before the first record that is left
  until_ns INTEGER,                   -- when the call that ended it began; otherwise see ended
  held_ns INTEGER,                    -- from the end of the call that took it to until; NULL if either is unknown
  ended TEXT NOT NULL,                -- released; unseen: it had ended by until; open: held to the end of the trace or of its process
  seen INTEGER NOT NULL,              -- 1: the call that took it was recorded
  lifetime INTEGER NOT NULL,          -- 1: the SHARED lock that a connection in WAL mode keeps for its whole life, not a transaction
  since TEXT AS ({time:since}) VIRTUAL,
  until TEXT AS ({time:until}) VIRTUAL
) STRICT;

CREATE TABLE refusals (
  -- Every attempt to take a lock that was answered SQLITE_BUSY, also those of closing connections and opportunistic ones.
  id INTEGER PRIMARY KEY,
  database INTEGER REFERENCES databases,
  connection INTEGER REFERENCES connections,
  process INTEGER NOT NULL REFERENCES processes,
  thread INTEGER REFERENCES threads,
  statement INTEGER REFERENCES statements,
  lock TEXT NOT NULL,                 -- the first one if the call requested several
  mode TEXT NOT NULL,
  result TEXT NOT NULL,               -- BUSY, or an extended code of it
  record INTEGER NOT NULL,
  at_ns INTEGER,                      -- when the call began
  at TEXT AS ({time:at}) VIRTUAL
) STRICT;

CREATE TABLE work (
  -- Stretches of work of a connection.
  id INTEGER PRIMARY KEY,
  database INTEGER REFERENCES databases,
  connection INTEGER NOT NULL REFERENCES connections,
  thread INTEGER REFERENCES threads,
  what TEXT NOT NULL,                 -- sync-database, sync (of another file), checkpoint (copying the WAL), delete (a journal or WAL)
  record INTEGER NOT NULL,            -- the record that ended it
  since_ns INTEGER,
  until_ns INTEGER,
  since TEXT AS ({time:since}) VIRTUAL
) STRICT;

CREATE TABLE wal_sizes (
  -- How much was written to a database's -wal since it was last restarted (or since the trace began), at each change.
  id INTEGER PRIMARY KEY,
  database INTEGER NOT NULL REFERENCES databases,
  connection INTEGER NOT NULL REFERENCES connections,
  bytes INTEGER NOT NULL,
  at_ns INTEGER,
  at TEXT AS ({time:at}) VIRTUAL
) STRICT;

CREATE TABLE incidents (
  -- Waits that an application could notice, and upgrades that failed without one. id is what locktrace explain --incident takes.
  id INTEGER PRIMARY KEY,
  database INTEGER REFERENCES databases,
  connection INTEGER NOT NULL REFERENCES connections,   -- who was refused
  thread INTEGER REFERENCES threads,
  statement INTEGER REFERENCES statements,
  lock TEXT NOT NULL,
  mode TEXT NOT NULL,
  first_ns INTEGER,                   -- when the first attempt began
  waited_ns INTEGER,                  -- from then to the success, or to the end of the last attempt
  attempts INTEGER NOT NULL,
  sleeps INTEGER NOT NULL,            -- of SQLite's own, between the attempts
  slept_us INTEGER NOT NULL,          -- the sleep that they requested
  outcome TEXT NOT NULL,              -- succeeded-after-wait, gave-up (the application saw an error; of PRAGMA wal_checkpoint, a row), open (the trace ended)
  cause TEXT NOT NULL,
  fix TEXT NOT NULL,                  -- what removes it
  more_blockers INTEGER NOT NULL,     -- not listed in blockers
  first TEXT AS ({time:first}) VIRTUAL
) STRICT;

CREATE TABLE contributing (
  -- What made an incident worse.
  incident INTEGER NOT NULL REFERENCES incidents,
  cause TEXT NOT NULL,
  PRIMARY KEY (incident, cause)
) STRICT, WITHOUT ROWID;

CREATE TABLE blockers (
  -- The blockers of an incident; position 1 refused most attempts.
  incident INTEGER NOT NULL REFERENCES incidents,
  position INTEGER NOT NULL,
  hold INTEGER REFERENCES holds,                        -- NULL for an untraced process
  connection INTEGER REFERENCES connections,            -- NULL for an untraced process
  thread INTEGER REFERENCES threads,
  statement INTEGER REFERENCES statements,              -- that took the lock
  last_statement INTEGER REFERENCES statements,         -- that was seen last while it was held
  lock TEXT NOT NULL,
  mode TEXT NOT NULL,
  state TEXT NOT NULL,                -- running, idle-in-transaction, syncing, checkpointing, waiting, gone, untraced
  certain INTEGER NOT NULL,           -- 1: it certainly held it throughout one of the attempts
  same_thread INTEGER NOT NULL,       -- 1: holder and victim are one thread, so waiting can never help
  attempts INTEGER,                   -- that it refused
  held_before_ns INTEGER,             -- up to the first attempt
  held_after_ns INTEGER,              -- after the last attempt, or the success
  waits_in INTEGER REFERENCES incidents,                -- the incident in which it waits itself
  pid INTEGER,
  command TEXT,                       -- of an untraced process
  PRIMARY KEY (incident, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE evidence (
  -- The records that an incident's cause rests on.
  incident INTEGER NOT NULL REFERENCES incidents,
  position INTEGER NOT NULL,
  process INTEGER NOT NULL REFERENCES processes,
  record INTEGER NOT NULL,
  shows TEXT NOT NULL,
  PRIMARY KEY (incident, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE causes (
  -- The causes of all incidents, also of those that are not listed.
  cause TEXT PRIMARY KEY,
  incidents INTEGER NOT NULL,
  gave_up INTEGER NOT NULL,           -- of these, the ones that the application saw as an error
  waited_ns INTEGER NOT NULL,
  fix TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE statement_pairs (
  -- Which statement blocked which, in all incidents; the blocker is the one that refused most attempts.
  id INTEGER PRIMARY KEY,             -- most harm first
  victim TEXT,                        -- NULL if unknown
  blocker TEXT,
  incidents INTEGER NOT NULL,
  gave_up INTEGER NOT NULL,
  waited_ns INTEGER NOT NULL
) STRICT;

CREATE TABLE hazards (
  -- What can go wrong, found without any refusal.
  id INTEGER PRIMARY KEY,
  database INTEGER NOT NULL REFERENCES databases,
  hazard TEXT NOT NULL,
  what TEXT NOT NULL
) STRICT;

CREATE TABLE hazard_evidence (
  -- The records that a hazard rests on; none if names alone prove it.
  hazard INTEGER NOT NULL REFERENCES hazards,
  position INTEGER NOT NULL,
  process INTEGER NOT NULL REFERENCES processes,
  record INTEGER NOT NULL,
  PRIMARY KEY (hazard, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
  -- Every record, in the order of time; empty without --events (see about).
  id INTEGER PRIMARY KEY,
  process INTEGER NOT NULL REFERENCES processes,
  record INTEGER NOT NULL,            -- its number there
  database INTEGER REFERENCES databases,
  connection INTEGER REFERENCES connections,
  thread INTEGER REFERENCES threads,
  statement INTEGER REFERENCES statements,
  kind TEXT NOT NULL,                 -- the call: xLock, xUnlock, xShmLock, xSync, ...
  file_kind TEXT NOT NULL,            -- database, journal, wal, shm
  asked TEXT,                         -- the request of xLock, xUnlock and xShmLock: a level; S, X or U and slots
  lock_before TEXT,                   -- the connection's level on the database file before the call, and after it
  lock_after TEXT,
  slots_shared TEXT,                  -- the slots of the wal-index it holds after the call
  slots_exclusive TEXT,
  result TEXT NOT NULL,
  flags TEXT,
  arg INTEGER,                        -- by kind: open flags, bytes written, microseconds slept, ...
  at_ns INTEGER,                      -- when the call began
  took_ns INTEGER,                    -- NULL if the clock was read only once
  at TEXT AS ({time:at}) VIRTUAL
) STRICT;
