//! How long connections waited: runs of refused attempts, and how they ended.
//!
//! A [`Wait`] is what `waiting` made of the records of one connection. What a cause rests on is noted in it: what the connection held at
//! first, and whether it kept it.
#![forbid(unsafe_code)]

use super::lock::{LockId, Request};
use super::timeline::{ConnId, Locks, Taken};
use super::times::Instant;
use locktrace::event::{Kind, Level, Slot};
use locktrace::format::record::Record;

/// How a run of refused attempts ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The lock was granted.
    Acquired,
    /// The connection went on to something else.
    GaveUp,
    /// The statement goes on without it: see [`Before::early`].
    WentOn,
    /// The trace ended before anything else happened.
    TraceEnd,
}

/// The read lock under which a connection asked for more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// SHARED, or a reader's slot.
    pub lock: LockId,
    /// The thread and the statement that took it.
    pub tid: u32,
    /// The statement; 0 = none, or not known.
    pub sql: u64,
    /// The record of that call.
    pub number: u64,
    /// When it was held; the end of time where that is not known.
    pub from: Instant,
    /// Whether that call was seen.
    pub seen: bool,
}

impl Reading {
    pub(crate) fn of(lock: LockId, taken: &Taken) -> Reading {
        Reading { lock, tid: taken.tid, sql: taken.sql, number: taken.number, from: taken.from, seen: taken.seen }
    }

    /// Whether the statement that asks for more took it. (Its thread does not matter: in exclusive mode it may have been another one's, in an earlier transaction.)
    pub(crate) fn is_of(&self, sql: u64) -> bool {
        self.sql != 0 && self.sql == sql
    }

    /// Whether another statement took it than the one that asks for more. Where one of the two is not known, another thread did.
    pub(crate) fn is_of_another(&self, tid: u32, sql: u64) -> bool {
        if self.sql != 0 && sql != 0 { self.sql != sql } else { self.tid != tid }
    }

    /// The lock a connection with these reads under; of several readers' slots (a log restart), the one taken last. `lifetime`: its SHARED is that of WAL mode.
    pub(crate) fn under(locks: &mut Locks, lifetime: bool) -> Option<Reading> {
        let held = locks.shared;
        let slots = (Slot::READ0.0..Slot::COUNT).filter(|slot| held & (1 << slot) != 0).map(|slot| LockId::shm(slot, false));
        let latest = slots.max_by_key(|&lock| locks.taken(lock).number);
        let shared = LockId::file(Level::SHARED);
        let lock = latest.or_else(|| (locks.level.0 >= Level::SHARED && !lifetime).then_some(shared))?;
        Some(Reading::of(lock, locks.taken(lock)))
    }

    /// The reader's slot that this record shows to be held, of which nothing else is known. (SHARED may be the lifetime lock of WAL mode.)
    fn unseen(record: &Record, number: u64) -> Option<Reading> {
        let slot = (0..Slot::COUNT).find(|&slot| Slot(slot).is_read() && record.shm_shared & (1 << slot) != 0)?;
        Some(Reading { lock: LockId::shm(slot, false), tid: 0, sql: 0, number, from: Instant::MAX, seen: false })
    }
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
    /// The kind of the record of this connection before it began to read (or before the attempt, where it does not read), and from which
    /// number on that is understood: what a lock was given up for, the record before tells. `SLEEP` also where its thread slept since.
    pub earlier: Option<(u64, Kind)>,
    /// The lock it read under. The lifetime SHARED of WAL mode is none.
    pub reading: Option<Reading>,
    /// Its statement had to wait for that lock already.
    pub waited: bool,
    /// The same statement had WRITE last, and put nothing into the WAL: its snapshot may have been stale, and its busy handler, of which nothing is seen where it is
    /// the application's own, was called then (btree.c: `sqlite3BtreeBeginTrans`). Or it may have waited for the lock it reads under.
    pub in_vain: bool,
    /// A statement that changes something asked for EXCLUSIVE in a rollback journal's transaction: to commit by itself, or early, because the page cache is full. That
    /// is tried again for every further page, and no statement fails by it (pcache.c: `sqlite3PcacheFetchStress` lets SQLITE_BUSY pass). One that fails to
    /// commit is rolled back at once, and what it held is given up.
    pub early: bool,
}

/// A run of refused attempts of one connection for one lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wait {
    /// Whose.
    pub who: ConnId,
    /// The database, an index into [`super::Analysis::databases`]; `None` where it is not known.
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
    pub outcome: Outcome,
    /// The records of the first and the last refused attempt.
    pub numbers: (u64, u64),
    /// The record that showed how it went on: the last one this run rests on.
    pub next: Option<u64>,
    /// The record that showed that it was over; `None` where the trace ended first.
    pub over: Option<u64>,
    /// What the connection was when it was refused first.
    pub before: Before,
    /// Refused attempts after which it was seen to have kept the lock it read under; or that a later statement gave it up.
    pub kept: u32,
    /// Refused attempts after which it gave that up.
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
    /// A run that begins with this refused attempt. What the connection was before it is for the caller to add, where that is known.
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
            outcome: Outcome::TraceEnd,
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

    /// It found no wal-index in order, and wanted to make one.
    pub fn is_recovery(&self) -> bool {
        self.before.wal
            && self.before.reading.is_none()
            && self.before.exclusive == 0
            && matches!(self.request, Request::Shm { mask: 0b1 | 0b100, .. })
    }
}
