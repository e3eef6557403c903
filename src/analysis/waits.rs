//! How long connections waited: runs of refused attempts, and how they ended.
//!
//! In come the records of one connection; out go [`Wait`]s. Attempts belong to one run while the same thread asks for the same lock
//! for the same statement, and does nothing in between but what SQLite does while it waits: sleep, and give back and retake the
//! lock it reads under. SQLite's own busy handler sleeps after *every* refusal; so in a run that has slept, an attempt without a
//! sleep before it is the application's next try, and the run before it had given up. A run that never sleeps (an application's
//! own busy handler, or its own retries without any) cannot be told apart that way, and counts as one, as long as its attempts follow each
//! other within `PATIENCE_NS`.
//!
//! What a cause rests on is noted on the way: what the connection held at first, and whether it kept it.
#![forbid(unsafe_code)]

use super::lock::{LockId, Request, only_readers};
use super::pauses::PATIENCE_NS;
use super::timeline::{ConnId, Locks, Taken};
use super::times::Instant;
use locktrace::event::{FileKind, Flags, Kind, Level, Slot, slot_mask};
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

/// A statement begins to write.
const WRITE: Request = Request::Shm { mask: 1 << Slot::WRITE.0, exclusive: true };
/// A checkpoint begins.
const CHECKPOINT: Request = Request::Shm { mask: 1 << Slot::CKPT.0, exclusive: true };
/// The slots that are taken, under WRITE, to make the wal-index anew.
const RECOVERY: u8 = 1 << Slot::CKPT.0 | 1 << Slot::RECOVER.0;

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
    /// Refused attempts after which it was seen to have kept the lock it read under.
    pub kept: u32,
    /// Refused attempts after which it gave that up.
    pub released: u32,
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

/// A connection's run of attempts that has not ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub wait: Wait,
    /// Its place among all waits.
    pub index: u32,
    /// Whether it kept what it read under is not known yet for its last attempt.
    pub undecided: bool,
    /// It slept since its last attempt.
    pub slept: bool,
    /// It got SHARED since its last attempt: when, by which record.
    pub shared: Option<(Instant, u64)>,
    /// It asked for WRITE to write, and has found the wal-index's header half written since, with nobody at work on it: before it looks again it may pause
    /// (wal.c: `walTryBeginRead`).
    pub header: bool,
    /// Its sleeps that were such pauses.
    pub pauses: u32,
}

/// What a record means for a run of attempts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Meaning {
    /// SQLite does this while it waits.
    Waits,
    /// Another attempt was refused.
    Refused,
    /// The lock was granted.
    Granted,
    /// It has no need of the lock any more, and goes on.
    Reads,
    /// Something else: the run is over.
    Over,
}

impl Waiting {
    /// A run that has just begun.
    pub(crate) fn new(wait: Wait, index: u32) -> Waiting {
        Waiting { wait, index, undecided: true, slept: false, shared: None, header: false, pauses: 0 }
    }

    /// Sleeps of its busy handler.
    pub(crate) fn handled(&self) -> u32 {
        self.wait.sleeps - self.pauses
    }

    /// Another attempt was refused.
    pub(crate) fn again(&mut self, end: Instant, number: u64) {
        self.wait.attempts += 1;
        (self.wait.until, self.wait.numbers.1) = (end, number);
        (self.undecided, self.slept, self.shared, self.header) = (true, false, None, false);
    }

    /// Notes what the record after a refused attempt tells of the lock it reads under.
    #[inline]
    fn observe(&mut self, record: &Record, number: u64) {
        if !self.undecided || matches!(record.kind, Kind::SLEEP | Kind::HANDLE | Kind::WROTE | Kind::SYNC | Kind::DELETE) {
            return;
        }
        self.undecided = false;
        let wait = &mut self.wait;
        wait.next = Some(number);
        wait.closing = matches!(record.kind, Kind::SHM_UNMAP | Kind::CLOSE);
        // (Where the beginning of the connection is missing, this shows it.)
        wait.before.wal |= record.kind == Kind::SHM_UNMAP;
        let Some(reading) = wait.before.reading else { return };
        let (still, here) = match reading.lock.slot() {
            Some(slot) => {
                let bit = 1u8.checked_shl(slot.0.into()).unwrap_or(0);
                let asked = record.kind == Kind::SHM_LOCK && slot_mask(record.shm_offset, record.shm_n) & bit != 0;
                (record.shm_shared & bit != 0, asked && record.flags.has(Flags::SHM_UNLOCK))
            }
            None => (record.after >= Level::SHARED && record.before >= Level::SHARED, record.kind == Kind::UNLOCK),
        };
        wait.kept += u32::from(still);
        wait.released += u32::from(!still && here);
    }

    /// Follows the next record of the same connection: what it means, `pause` nanoseconds (if that is known) after the last attempt.
    pub(crate) fn follow(&mut self, record: &Record, number: u64, pause: impl FnOnce(Instant) -> Option<u64>) -> Meaning {
        self.observe(record, number);
        let meaning = self.meaning(record);
        let again =
            matches!(meaning, Meaning::Refused | Meaning::Granted | Meaning::Reads) && !self.slept && !self.wait.is_recovery();
        if again && pause(self.wait.until).is_some_and(|pause| pause > PATIENCE_NS) {
            return Meaning::Over;
        }
        meaning
    }

    /// The run is over with this record: whether its statement goes on without the lock, and no application saw that.
    pub(crate) fn goes_on(&self, record: &Record) -> bool {
        let rolled_back = match record.kind {
            Kind::UNLOCK => record.sql == 0 || record.sql == self.wait.sql,
            kind => kind == Kind::SYNC,
        };
        self.wait.before.early && !rolled_back && record.kind != Kind::CLOSE
    }

    /// What this record of the same connection means.
    pub(crate) fn meaning(&self, record: &Record) -> Meaning {
        let wait = &self.wait;
        let plays_back = wait.request == Request::File(Level::EXCLUSIVE) && !wait.before.wal && wait.before.checked;
        let shares = record.kind == Kind::LOCK && matches!(record.requested, Level::SHARED | Level::EXCLUSIVE);
        let looks = matches!(record.kind, Kind::SLEEP | Kind::HANDLE | Kind::CHECK_RESERVED);
        let opens_wal = (record.kind, record.file_kind) == (Kind::OPEN, FileKind::WAL);
        if opens_wal && self.shared.is_some() && wait.request == Request::File(Level::RESERVED) {
            // Somebody has brought the database into WAL mode: its statement goes on there, and RESERVED is no more.
            return Meaning::Reads;
        }
        if plays_back && self.shared.is_some() && !shares && !looks {
            // Somebody else has played the journal back. Without a sleep before it, it is the application's next statement that reads.
            return if self.slept { Meaning::Reads } else { Meaning::Over };
        }
        match record.kind {
            Kind::SLEEP | Kind::HANDLE | Kind::CHECK_RESERVED => Meaning::Waits,
            // Between two attempts at EXCLUSIVE nothing is given up, but by who plays a journal back, and begins anew each time.
            Kind::UNLOCK
                if wait.request == Request::File(Level::EXCLUSIVE)
                    && (wait.before.wal || !wait.before.checked || wait.before.early) =>
            {
                Meaning::Over
            }
            Kind::UNLOCK => Meaning::Waits,
            // Before a commit the journal is synced under EXCLUSIVE only (pager.c: `syncJournal`): it was rolled back, in exclusive mode, where the locks stay.
            Kind::SYNC if wait.before.early && record.file_kind == FileKind::JOURNAL => Meaning::Over,
            // What is rolled back gives the lock up next; that tells.
            Kind::WROTE | Kind::SYNC | Kind::DELETE if wait.before.early => Meaning::Waits,
            Kind::LOCK | Kind::SHM_LOCK => {
                let request = Request::of(record);
                let recovery = wait.is_recovery();
                let slots = slot_mask(record.shm_offset, record.shm_n);
                if recovery && record.kind == Kind::SHM_LOCK && slots == 1 << Slot::RECOVER.0 {
                    return Meaning::Waits;
                }
                // Who asks for EXCLUSIVE from SHARED tells no statement, but told it for the lock it reads under.
                let sql = if wait.sql == 0 { wait.before.reading.map_or(0, |reading| reading.sql) } else { wait.sql };
                // That no statement asks for a checkpoint says that it is an automatic one; elsewhere, that it is not known which does.
                let unknown = (record.sql == 0 || sql == 0) && wait.request != CHECKPOINT;
                let same = record.tid == wait.tid && (record.sql == sql || unknown);
                if recovery && record.rc.is_ok() && request.is_some() && only_readers(slots) && same {
                    // It reads: somebody else has put the wal-index in order.
                    return Meaning::Granted;
                }
                // Who wants to write reads first. Without that it wants to put a header in order that a writer, stopped in the midst of it, has left
                // half written, and tries again at once (wal.c: `walIndexReadHdr`).
                let writes = wait.request == WRITE && wait.before.reading.is_some_and(|reading| reading.lock.slot().is_some());
                // (Where that writer has died, it makes the wal-index anew.)
                let recover = record.kind == Kind::SHM_LOCK && (slots == 1 << Slot::RECOVER.0 || slots == RECOVERY);
                let header = recover || (request == Some(WRITE) && record.shm_shared == 0);
                // (Where it got WRITE for that, it gives it up again.)
                let header = header || (record.kind == Kind::SHM_LOCK && request.is_none() && slots == 1 << Slot::WRITE.0);
                if writes && header && same {
                    return Meaning::Waits;
                }
                if request == Some(wait.request) {
                    let handled = self.handled();
                    let gave_up = handled > 0 && handled < wait.attempts && !recovery && !wait.before.early;
                    return match (record.rc.is_ok(), record.rc.is_busy(), same && !gave_up) {
                        (true, _, true) => Meaning::Granted,
                        (_, true, true) => Meaning::Refused,
                        _ => Meaning::Over,
                    };
                }
                let reads = match (request, wait.request) {
                    (Some(Request::File(Level::SHARED)), _) => true,
                    (Some(Request::File(_)), _) => false,
                    // READ0..READ4 and nothing else, while it does not wait for one of these itself, and is no checkpoint, which does not read.
                    (_, Request::Shm { mask, .. }) if mask & !0b111 != 0 || wait.before.exclusive != 0 => false,
                    _ => only_readers(slots),
                };
                // A read for another statement: the application has moved on.
                if reads && same { Meaning::Waits } else { Meaning::Over }
            }
            _ => Meaning::Over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::LogId;
    use locktrace::event::ResultCode;

    fn waiting(request: Request) -> Waiting {
        let record = Record { tid: 7, sql: 1, ..Record::new(Kind::LOCK) };
        let mut wait = Wait::new(ConnId { log: LogId(0), conn: 1, forked: false }, None, request, 0, &record, (0, 0));
        wait.before.wal = false;
        Waiting::new(wait, 0)
    }

    fn lock(level: Level, rc: i32) -> Record {
        Record { requested: level, rc: ResultCode(rc), tid: 7, sql: 1, ..Record::new(Kind::LOCK) }
    }

    fn shm(flags: Flags, offset: u8, rc: i32) -> Record {
        Record { flags, shm_offset: offset, shm_n: 1, rc: ResultCode(rc), tid: 7, sql: 1, ..Record::new(Kind::SHM_LOCK) }
    }

    #[test]
    fn a_writer_in_a_rollback_journal() {
        let waiting = waiting(Request::File(Level::RESERVED));
        assert_eq!(waiting.meaning(&Record::new(Kind::UNLOCK)), Meaning::Waits);
        assert_eq!(waiting.meaning(&Record::new(Kind::SLEEP)), Meaning::Waits);
        assert_eq!(waiting.meaning(&lock(Level::SHARED, 0)), Meaning::Waits);
        assert_eq!(waiting.meaning(&lock(Level::RESERVED, 5)), Meaning::Refused);
        assert_eq!(waiting.meaning(&lock(Level::RESERVED, 0)), Meaning::Granted);
        assert_eq!(waiting.meaning(&lock(Level::RESERVED, 10)), Meaning::Over);
        assert_eq!(waiting.meaning(&lock(Level::EXCLUSIVE, 5)), Meaning::Over);
        assert_eq!(waiting.meaning(&Record::new(Kind::SYNC)), Meaning::Over);
        assert_eq!(waiting.meaning(&Record { sql: 2, ..lock(Level::RESERVED, 5) }), Meaning::Over, "another statement");
        assert_eq!(waiting.meaning(&Record { sql: 2, ..lock(Level::RESERVED, 0) }), Meaning::Over, "another statement got it");
        assert_eq!(waiting.meaning(&Record { sql: 2, ..lock(Level::SHARED, 0) }), Meaning::Over, "another statement reads");
        assert_eq!(waiting.meaning(&Record { tid: 8, ..lock(Level::RESERVED, 5) }), Meaning::Over, "another thread");
    }

    #[test]
    fn after_the_last_sleep_it_is_the_application_that_tries_again() {
        let mut waiting = waiting(Request::File(Level::RESERVED));
        (waiting.wait.attempts, waiting.wait.sleeps) = (3, 3);
        assert_eq!(waiting.meaning(&lock(Level::RESERVED, 5)), Meaning::Refused);
        assert_eq!(waiting.meaning(&lock(Level::RESERVED, 0)), Meaning::Granted);
        waiting.wait.attempts = 4; // refused once more, and no sleep
        assert_eq!(waiting.meaning(&lock(Level::RESERVED, 5)), Meaning::Over);
        assert_eq!(waiting.meaning(&lock(Level::RESERVED, 0)), Meaning::Over);
    }

    #[test]
    fn a_writer_in_wal_mode() {
        let waiting = waiting(Request::Shm { mask: 1, exclusive: true });
        assert_eq!(waiting.meaning(&shm(Flags::SHM_UNLOCK, 4, 0)), Meaning::Waits);
        assert_eq!(waiting.meaning(&shm(Flags(0), 5, 0)), Meaning::Waits);
        assert_eq!(waiting.meaning(&shm(Flags::SHM_EXCLUSIVE, 0, 5)), Meaning::Refused);
        assert_eq!(waiting.meaning(&shm(Flags::SHM_EXCLUSIVE, 0, 0)), Meaning::Granted);
        assert_eq!(waiting.meaning(&shm(Flags::SHM_EXCLUSIVE, 1, 0)), Meaning::Over);
    }
}
