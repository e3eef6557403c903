//! How long connections waited: runs of refused attempts, and how they ended.
//!
//! In come the records of one connection; out go [`Wait`]s. Attempts belong to one run while the same thread asks for the same lock
//! for the same statement, and does nothing in between but what SQLite does while it waits: sleep, and give back and retake the
//! lock it reads under. SQLite's own busy handler sleeps after *every* refusal; so in a run that has slept, an attempt without a
//! sleep before it is the application's next try, and the run before it had given up. A run that never sleeps (an application's
//! own busy handler, or its own retries without any) cannot be told apart that way, and counts as one.
#![forbid(unsafe_code)]

use super::lock::Request;
use super::timeline::ConnId;
use super::times::Instant;
use locktrace::event::{Kind, Level, Slot, slot_mask};
use locktrace::format::record::Record;

/// How a run of refused attempts ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The lock was granted.
    Acquired,
    /// The connection went on to something else.
    GaveUp,
    /// The trace ended before anything else happened.
    TraceEnd,
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
}

/// A connection's run of attempts that has not ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub wait: Wait,
    /// Its place among all waits.
    pub index: u32,
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
    /// Something else: the run is over.
    Over,
}

impl Waiting {
    /// What this record of the same connection means.
    pub(crate) fn meaning(&self, record: &Record) -> Meaning {
        let wait = &self.wait;
        match record.kind {
            Kind::SLEEP | Kind::HANDLE | Kind::CHECK_RESERVED => Meaning::Waits,
            Kind::UNLOCK => Meaning::Waits,
            Kind::LOCK | Kind::SHM_LOCK => {
                let request = Request::of(record);
                let same = record.tid == wait.tid && (record.sql == wait.sql || record.sql == 0 || wait.sql == 0);
                if request == Some(wait.request) {
                    let gave_up = wait.sleeps > 0 && wait.sleeps < wait.attempts;
                    return match (record.rc.is_ok(), record.rc.is_busy(), same && !gave_up) {
                        (true, _, true) => Meaning::Granted,
                        (_, true, true) => Meaning::Refused,
                        _ => Meaning::Over,
                    };
                }
                let reads = match (request, wait.request) {
                    (Some(Request::File(Level::SHARED)), _) => true,
                    (Some(Request::File(_)), _) => false,
                    // READ0..READ4 and nothing else, while it does not wait for one of these itself.
                    (_, Request::Shm { mask, .. }) if mask & !0b111 != 0 => false,
                    _ => {
                        let mask = slot_mask(record.shm_offset, record.shm_n);
                        mask != 0 && (0..8).all(|slot| mask & (1 << slot) == 0 || Slot(slot).is_read())
                    }
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
    use locktrace::event::{Flags, ResultCode};

    fn waiting(request: Request) -> Waiting {
        let wait = Wait {
            who: ConnId { log: LogId(0), conn: 1, forked: false },
            db: None,
            request,
            tid: 7,
            sql: 1,
            from: 0,
            until: 0,
            attempts: 1,
            sleeps: 0,
            slept_us: 0,
            outcome: Outcome::TraceEnd,
        };
        Waiting { wait, index: 0 }
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
