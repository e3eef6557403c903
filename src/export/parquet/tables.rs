//! The tables of a dataset and the meaning of their columns. Each file carries these texts, too (key `locktrace.columns`).
//!
//! Texts are UTF-8; invalid bytes become U+FFFD. `*_ns` is nanoseconds: a length, or a time since 1970. `time` is the same time as a timestamp in UTC,
//! in microseconds, because Spark reads no finer ones. An unknown value is NULL. `host` and `day` (UTC) are not columns but parts of the path. An
//! unknown host or day is `__HIVE_DEFAULT_PARTITION__`, which readers take for NULL.
#![forbid(unsafe_code)]

/// The type of a column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnType {
    /// Text.
    Text,
    /// A signed 64-bit integer with few different values.
    Number,
    /// A signed 64-bit integer that grows, or has many different values.
    Count,
    /// A timestamp.
    Time,
    /// True or false.
    Truth,
}

/// A column: its name, its type, its meaning.
pub(super) struct Column(pub &'static str, pub ColumnType, pub &'static str);

/// A table: a directory of the dataset.
pub(super) struct Table {
    pub name: &'static str,
    /// Its columns in groups. Several tables share a group.
    groups: &'static [&'static [Column]],
}

impl Table {
    /// Its columns, in the order of the cells of a row.
    pub(super) fn columns(&self) -> impl Iterator<Item = &'static Column> + use<> {
        self.groups.iter().copied().flatten()
    }
}

use ColumnType::{Count, Number, Text, Time, Truth};

const LOG: Column = Column("log", Text, "<pid>-<start>: the process, by the name of its files in the trace directory");
const PID: Column = Column("pid", Number, "the process");
const TID: Column = Column("tid", Number, "the thread");
const THREAD: Column = Column("thread", Text, "its name");
const CONNECTION: Column = Column("connection", Number, "counted from 1 in the process that opened it");
const DATABASE: Column = Column("database", Text, "the path of the database");
const LOCK: Column =
    Column("lock", Text, "SHARED, RESERVED, PENDING, EXCLUSIVE; of the wal-index WRITE, CKPT, RECOVER, READ0 to READ4");
const MODE: Column = Column("mode", Text, "of the wal-index: SHARED, EXCLUSIVE; empty for the database file");
const TIME: Column = Column("time", Time, "when it began; day is the day of this");
const TIME_NS: Column = Column("time_ns", Count, "the same in nanoseconds since 1970");
const RECORD: Column = Column("record", Count, "the number of the record in the log");

/// The time of the beginning.
const WHEN: &[Column] = &[TIME, TIME_NS];
/// The connection and its database.
const WHOSE: &[Column] = &[PID, TID, THREAD, CONNECTION, DATABASE];
const LOCKED: &[Column] = &[LOCK, MODE];

/// Every record.
pub(super) const EVENTS: Table = Table {
    name: "events",
    groups: &[
        &[LOG, RECORD],
        WHEN,
        &[Column("took_ns", Count, "how long the call took; NULL where the clock was read once")],
        WHOSE,
        &[
            Column("kind", Text, "the call: xLock, xUnlock, xShmLock, xSync, ..."),
            Column("file_kind", Text, "database, journal, wal, shm"),
            Column("asked", Text, "what xLock, xUnlock and xShmLock asked for: a level; S, X or U and slots"),
            Column("lock", Text, "of an attempt to take a lock: which, the first where it asked for several"),
            MODE,
            Column("refused", Truth, "an attempt to take a lock that was answered SQLITE_BUSY"),
            Column("lock_before", Text, "the connection's level on the database file before the call"),
            Column("lock_after", Text, "and after it"),
            Column("slots_shared", Text, "the slots of the wal-index that it holds after the call"),
            Column("slots_exclusive", Text, "and those that it holds exclusively"),
            Column("result", Text, "OK, BUSY, ..."),
            Column("flags", Text, "with blanks between"),
            Column("sql", Text, "the hash of the statement that was running, 16 hexadecimal digits: statements.sql"),
            Column("arg", Count, "by kind: open flags, bytes written, microseconds slept, ..."),
        ],
    ],
};

/// Every hold of a lock.
pub(super) const HOLDS: Table = Table {
    name: "holds",
    groups: &[
        &[
            LOG,
            Column("record", Count, "the record that took it (seen) or showed it"),
            Column("end_record", Count, "the record that ended it, or showed the end"),
        ],
        WHEN,
        &[
            Column("until_ns", Count, "when the call that ended it began; else what ended says"),
            Column("held_ns", Count, "from the end of the call that took it to until; NULL if either is unknown"),
            Column("ended", Text, "released; unseen: it had ended by until; open: held to the end of the trace or of its process"),
            Column("seen", Truth, "the call that took it was recorded"),
            Column("lifetime", Truth, "the SHARED lock that a connection in WAL mode keeps for its whole life, not a transaction"),
        ],
        WHOSE,
        LOCKED,
        &[Column("sql", Text, "the hash of the statement that took it: statements.sql")],
    ],
};

/// Waits that an application could notice, with their main blocker.
pub(super) const INCIDENTS: Table = Table {
    name: "incidents",
    groups: &[
        &[LOG, Column("incident", Count, "its number in the trace: what locktrace explain --incident takes")],
        WHEN,
        &[
            Column("waited_ns", Count, "from the first attempt to the success, or to the end of the last attempt"),
            Column("attempts", Number, "that were refused"),
            Column("sleeps", Number, "of SQLite's own between them"),
            Column("outcome", Text, "succeeded-after-wait, gave-up (the application saw an error), open (the trace ended)"),
            Column("cause", Text, "why"),
            Column("contributing", Text, "what made it worse, with blanks between"),
            Column("fix", Text, "what removes it"),
            PID,
            Column("command", Text, "of the process, a JSON array"),
            TID,
            THREAD,
            CONNECTION,
            DATABASE,
        ],
        LOCKED,
        &[
            Column("sql", Text, "the hash of the statement that was refused: statements.sql"),
            Column("statement", Text, "its text, up to 1000 characters"),
            Column("blockers", Number, "how many connections or processes blocked it"),
            Column("blocker_log", Text, "the main blocker: it refused most attempts; NULL for an untraced process"),
            Column("blocker_pid", Number, "its process"),
            Column("blocker_command", Text, "a JSON array; for an untraced process from the kernel"),
            Column("blocker_tid", Number, "the thread that took the lock"),
            Column("blocker_thread", Text, "its name"),
            Column("blocker_connection", Number, "counted as connection is"),
            Column("blocker_lock", Text, "what it held"),
            Column("blocker_mode", Text, "as mode"),
            Column("blocker_sql", Text, "the hash of the statement that took it"),
            Column("blocker_statement", Text, "its text, up to 1000 characters"),
            Column("blocker_state", Text, "running, idle-in-transaction, syncing, checkpointing, waiting, gone, untraced"),
            Column("blocker_certain", Truth, "it certainly held it throughout one of the attempts"),
            Column("same_thread", Truth, "holder and victim are one thread, so waiting can never help"),
            Column("held_before_ns", Count, "how long it had held it at the first attempt"),
            Column("held_after_ns", Count, "and how long after the last one, or the success"),
        ],
    ],
};

/// Hazards: what can go wrong, found without a refusal.
pub(super) const HAZARDS: Table = Table {
    name: "hazards",
    groups: &[&[
        Column("log", Text, "a process in which it shows"),
        RECORD,
        PID,
        Column("sqlite", Text, "the SQLite versions in that process"),
        DATABASE,
        Column("hazard", Text, "which"),
        Column("what", Text, "what was found, in words"),
    ]],
};

/// The texts of statements, once for each host. Their day is the day on which the trace began.
pub(super) const STATEMENTS: Table = Table {
    name: "statements",
    groups: &[&[
        Column("sql", Text, "the hash, 16 hexadecimal digits; the same text has the same hash everywhere"),
        Column("text", Text, "as prepared, never bound values"),
        Column("length", Number, "of the whole statement in bytes; more than the length of text if that was cut"),
    ]],
};

/// The processes and what became of their records: head = read + overwritten + lost + empty + torn + missing. Their day is the day on which they
/// began.
pub(super) const PROCESSES: Table = Table {
    name: "processes",
    groups: &[&[
        LOG,
        PID,
        Column("time", Time, "when its log began"),
        TIME_NS,
        Column("exe", Text, "the program"),
        Column("command", Text, "the arguments, a JSON array"),
        Column("sqlite", Text, "the SQLite versions in it"),
        Column("sql_policy", Text, "what was kept of statements: text, hash, off"),
        Column("boot_id", Text, "of its host"),
        Column("lengths_known", Truth, "false: the length of a clock tick is unknown, so all its times and lengths are NULL"),
        Column("records", Count, "claimed"),
        Column("records_read", Count, "read, and in events"),
        Column("overwritten", Count, "by later ones: the ring wrapped"),
        Column("lost", Count, "for want of disk space"),
        Column("empty", Count, "claimed and never written"),
        Column("torn", Count, "half a record, or damage"),
        Column("missing", Count, "beyond the end of a truncated file"),
        Column("lost_names", Count, "lines of names that could not be written"),
    ]],
};

/// All tables.
pub(super) const ALL: [&Table; 6] = [&EVENTS, &HOLDS, &INCIDENTS, &HAZARDS, &STATEMENTS, &PROCESSES];
