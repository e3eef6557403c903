//! A wait: the refused attempts of one statement for one lock, and how it ended.
//!
//! [`super::follow`] makes it of the records of one connection. A wait also carries what a cause rests on: what the connection held at first, and whether it kept
//! it.
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
    /// The connection went on to something else.
    GaveUp,
    /// The statement goes on without it: see [`Before::early`].
    WentOn,
    /// The trace ended before anything else happened.
    TraceEnd,
}

/// What a connection was when it was refused first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Before {
    /// Its level on the database file.
    pub level: Level,
    /// The wal-index slots it held exclusively.
    pub exclusive: u8,
    /// It was in WAL mode.
    pub wal: bool,
    /// Its call before was `xCheckReservedLock`.
    pub checked: bool,
    /// The kind of this connection's record before it began to read (before the attempt, where it does not read), and from which number on
    /// that is understood. Why a lock was released shows in the record before. `SLEEP` also where its thread slept since.
    pub earlier: Option<(u64, Kind)>,
    /// The lock it read under. The lifetime SHARED of WAL mode is none.
    pub reading: Option<Reading>,
    /// Its statement had to wait for that lock already.
    pub waited: bool,
    /// The same statement had WRITE last, and put nothing into the WAL. Its snapshot may have been stale. SQLite called the busy handler
    /// then, which leaves no record where it is the application's own (btree.c: `sqlite3BtreeBeginTrans`). Or it may have waited for the
    /// lock it reads under.
    pub in_vain: bool,
    /// A statement that changes something asked for EXCLUSIVE in a rollback journal's transaction: to commit, or early, because the page
    /// cache is full. That is a cache spill, not a commit: SQLite ignores SQLITE_BUSY here (pcache.c, `sqlite3PcacheFetchStress`) and
    /// retries at the next page. A commit that fails is rolled back at once, and its locks are released.
    pub early: bool,
}

/// The refused attempts of one statement for one lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wait {
    /// Whose.
    pub who: ConnId,
    /// The database, an index into [`crate::analysis::Analysis::databases`]; `None` where it is not known.
    pub db: Option<u32>,
    /// For what.
    pub request: Request,
    /// The thread that waited.
    pub tid: u32,
    /// The statement; 0 = not known.
    pub sql: u64,
    /// When the first attempt began.
    pub from: Instant,
    /// When the lock was granted; otherwise when the last attempt was refused.
    pub until: Instant,
    /// Refused attempts.
    pub attempts: u32,
    /// Sleeps between them through SQLite's `xSleep`, and the time asked for, in microseconds.
    pub sleeps: u32,
    /// The time those sleeps asked for, in microseconds.
    pub slept_us: u64,
    /// How it ended.
    pub end: WaitEnd,
    /// The records of the first and the last refused attempt.
    pub numbers: (u64, u64),
    /// The record that showed how it went on: the last one this wait rests on.
    pub next: Option<u64>,
    /// The record that showed that it was over; `None` where the trace ended first.
    pub over: Option<u64>,
    /// What the connection was when it was refused first.
    pub before: Before,
    /// Refused attempts after which it was seen to have kept the lock it read under, or after which a later statement released that.
    pub kept: u32,
    /// Refused attempts after which it released that.
    pub released: u32,
    /// Of these, those after which the refused statement itself was seen to do so: it had read for this statement only.
    pub released_by_it: u32,
    /// Attempts at recovery's lock that were refused, and granted: it found the wal-index out of order.
    pub recovery: (u32, u32),
    /// It went on by unmapping the wal-index or closing: it wanted to know only whether it is the last.
    pub closing: bool,
    /// Its last sleep was shorter than SQLite's next delay: that was all that was left of the timeout.
    pub last_sleep_cut: bool,
    /// Changes of the writer, on this database, before it and at its end.
    pub writers: (u64, u64),
    /// Bytes that had gone into the WAL before it.
    pub wal_bytes: u64,
}

impl Wait {
    /// A wait that begins with this refused attempt. What the connection was before it is for the caller to add, where that is known.
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
                in_vain: false,
                early: false,
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

    /// It found the wal-index unusable and tried to rebuild it.
    pub fn is_recovery(&self) -> bool {
        self.before.wal
            && self.before.reading.is_none()
            && self.before.exclusive == 0
            && matches!(self.request, Request::Shm { mask: 0b1 | 0b100, .. })
    }
}
