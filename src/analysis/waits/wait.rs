//! A wait: the refused attempts of one statement for one lock, and how it ended.
//!
//! [`super::follow`] builds it from the records of one connection. A wait also carries what a cause rests on: what the connection held at first, and
//! whether it kept that.
#![forbid(unsafe_code)]

use crate::analysis::locks::lock::Request;
use crate::analysis::locks::reading::Reading;
use crate::analysis::locks::state::ConnId;
use crate::analysis::order::instants::Instant;
use shim::event::{Kind, Level};
use shim::format::record::Record;

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitEnd {
    /// The lock was granted.
    Acquired,
    /// The connection went on without the lock to something else.
    GaveUp,
    /// The statement went on without the lock: see [`Before::early`].
    WentOn,
    /// The trace ended before anything else happened.
    TraceEnd,
}

/// The state of a connection when its first attempt was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Before {
    /// The connection's level on the database file.
    pub level: Level,
    /// The wal-index slots that it held exclusively.
    pub exclusive: u8,
    /// It was in WAL mode.
    pub wal: bool,
    /// Its previous call was `xCheckReservedLock`.
    pub checked: bool,
    /// The kind of the connection's record before it began to read, or before the attempt if it does not read. The number is the record from
    /// which on that is known: why a lock was released shows in the record before. The kind is also `SLEEP` if the thread slept since.
    pub earlier: Option<(u64, Kind)>,
    /// The lock that it read under. The lifetime SHARED of WAL mode does not count.
    pub reading: Option<Reading>,
    /// Its statement had already waited for that lock.
    pub waited: bool,
    /// Its statement may have waited already. It may have waited for the lock that it reads under. Or it was the last to have WRITE and wrote
    /// nothing to the WAL, perhaps because its snapshot was stale. Then SQLite called the busy handler (btree.c: `sqlite3BtreeBeginTrans`), and
    /// an application's own handler leaves no record.
    pub may_have_waited: bool,
    /// A statement that changes rows or the schema asked for EXCLUSIVE, without a WAL: to commit, or early, because the page cache is full. The latter is a
    /// cache spill: SQLite ignores SQLITE_BUSY there (pcache.c, `sqlite3PcacheFetchStress`) and retries at the next page. SQLite rolls back
    /// a commit that fails at once, and releases its locks.
    pub early: bool,
    /// Its process can have no busy handler but SQLite's, which sleeps after every refused attempt but the last.
    pub default_handler: bool,
}

/// The refused attempts of one statement for one lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wait {
    /// The connection that waited.
    pub who: ConnId,
    /// The database, an index into [`crate::analysis::Analysis::databases`]; `None` if unknown.
    pub db: Option<u32>,
    /// What it asked for.
    pub request: Request,
    /// The thread that waited.
    pub tid: u32,
    /// The statement that waited; 0 = unknown.
    pub sql: u64,
    /// When the first attempt began.
    pub from: Instant,
    /// When the lock was granted. If it was not, when the last attempt was refused.
    pub until: Instant,
    /// Refused attempts.
    pub attempts: u32,
    /// Sleeps between the attempts, through SQLite's `xSleep`.
    pub sleeps: u32,
    /// The sum of the times that those sleeps asked for, in microseconds.
    pub slept_us: u64,
    /// How the wait ended.
    pub end: WaitEnd,
    /// The records of the first and the last refused attempt.
    pub numbers: (u64, u64),
    /// The record that shows how the connection went on: the last one that this wait rests on.
    pub next: Option<u64>,
    /// The record that shows that the wait was over; `None` if the trace ended first.
    pub over: Option<u64>,
    /// The state of the connection when its first attempt was refused.
    pub before: Before,
    /// Refused attempts after which the connection kept the lock it read under, or after which a later statement released that lock.
    pub kept: u32,
    /// Refused attempts after which the connection released that lock.
    pub released: u32,
    /// Those of them after which the refused statement itself released it: the connection had read for this statement only.
    pub released_by_it: u32,
    /// How many attempts at RECOVER were refused, and how many granted. The connection found the wal-index unusable.
    pub recovery: (u32, u32),
    /// The connection then unmapped the wal-index or closed: it only wanted to know whether it is the last one.
    pub closing: bool,
    /// The last sleep was shorter than SQLite's next delay, because no more was left of the timeout.
    pub last_sleep_cut: bool,
    /// How often the database's writer had changed before the wait, and at its end.
    pub writers: (u64, u64),
    /// How many bytes had been written to the WAL before the wait.
    pub wal_bytes: u64,
}

impl Wait {
    /// A wait that begins with this refused attempt. The caller adds what is known of the connection's earlier state.
    pub(crate) fn new(
        who: ConnId,
        db: Option<u32>,
        request: Request,
        number: u64,
        record: &Record,
        span: (Instant, Instant),
    ) -> Wait {
        Wait {
            who,
            db,
            request,
            tid: record.tid,
            sql: record.sql,
            from: span.0,
            until: span.1,
            attempts: 1,
            sleeps: 0,
            slept_us: 0,
            end: WaitEnd::TraceEnd,
            numbers: (number, number),
            next: None,
            over: None,
            before: Before {
                level: record.before,
                exclusive: record.shm_exclusive,
                wal: matches!(request, Request::Shm { .. }),
                checked: false,
                earlier: None,
                reading: Reading::unseen(record, number),
                waited: false,
                may_have_waited: false,
                early: false,
                default_handler: false,
            },
            kept: 0,
            released: 0,
            released_by_it: 0,
            recovery: (0, 0),
            closing: false,
            last_sleep_cut: false,
            writers: (0, 0),
            wal_bytes: 0,
        }
    }

    /// Whether the connection found the wal-index unusable and tried to rebuild it.
    pub fn is_recovery(&self) -> bool {
        self.before.wal
            && self.before.reading.is_none()
            && self.before.exclusive == 0
            && matches!(self.request, Request::Shm { mask: 0b1 | 0b100, .. })
    }
}
