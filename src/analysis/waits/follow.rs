//! The rules that say which records belong to a wait and which end it.
//!
//! Attempts belong to one wait while the same thread asks for the same lock for the same statement. In between the thread does only what SQLite does
//! while it waits: it sleeps, and it releases and retakes the lock it reads under. SQLite's own busy handler sleeps after *every* refusal. So in a wait
//! with sleeps, an attempt without a sleep before it is the application's next try: the earlier wait was given up. A wait without any
//! sleep comes from an application's own busy handler, or from its own retries. The records do not distinguish the two. Such attempts count as one wait
//! as long as they follow each other within `PATIENCE_NS`. In a process that can have no other busy handler than SQLite's
//! ([`Before::default_handler`](crate::analysis::waits::wait::Before)), every attempt without a sleep before it is the next try.
#![forbid(unsafe_code)]

use crate::analysis::locks::lock::{Request, only_readers};
use crate::analysis::order::instants::Instant;
use crate::analysis::waits::busy_handler::PATIENCE_NS;
use crate::analysis::waits::wait::Wait;
use shim::event::{FileKind, Flags, Kind, KnownKind as Known, Level, Slot, slot_mask};
use shim::format::record::Record;

/// The request of a statement that begins to write.
const WRITE: Request = Request::Shm { mask: 1 << Slot::WRITE.0, exclusive: true };
/// The request of a checkpoint that begins.
const CHECKPOINT: Request = Request::Shm { mask: 1 << Slot::CKPT.0, exclusive: true };
/// The slots that a connection takes, under WRITE, to rebuild the wal-index.
const RECOVERY: u8 = 1 << Slot::CKPT.0 | 1 << Slot::RECOVER.0;

/// A wait that has not ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenWait {
    pub wait: Wait,
    /// The number of the wait.
    pub index: u32,
    /// No record after the last attempt has shown yet whether the connection kept the lock it reads under.
    pub undecided: bool,
    /// The connection slept since its last attempt.
    pub slept: bool,
    /// The connection got SHARED since its last attempt: when, and by which record.
    pub shared: Option<(Instant, u64)>,
    /// The connection asked for WRITE to write, and has since found the wal-index's header half written and no connection repairing it. It may
    /// pause before it reads the header again (wal.c: `walTryBeginRead`).
    pub header: bool,
    /// How many of its sleeps were such pauses.
    pub pauses: u32,
    /// RECOVER was refused since its last attempt: another connection rebuilds the wal-index, and SQLite calls the busy handler.
    pub recovery_refused: bool,
}

/// Whether a record of this kind, after a refusal, shows whether the connection kept the lock it reads under. The other calls can come before that
/// lock's release.
fn shows_reading(kind: Kind) -> bool {
    match kind.known() {
        Some(Known::Open | Known::Close | Known::Lock | Known::Unlock | Known::CheckReserved) => true,
        Some(Known::ShmLock | Known::ShmMap | Known::ShmUnmap | Known::CkptStart | Known::CkptDone) => true,
        Some(Known::Sleep | Known::Handle | Known::Wrote | Known::Sync | Known::Delete) | None => false,
    }
}

/// What a record means for a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Meaning {
    /// The wait goes on: SQLite does this while it waits.
    Waits,
    /// Another attempt was refused.
    Refused,
    /// The lock was granted.
    Granted,
    /// The connection no longer needs the lock, and reads on.
    Reads,
    /// The wait is over without the lock.
    Over,
}

impl OpenWait {
    /// A wait that has just begun.
    pub(crate) fn new(wait: Wait, index: u32) -> OpenWait {
        OpenWait { wait, index, undecided: true, slept: false, shared: None, header: false, pauses: 0, recovery_refused: false }
    }

    /// How many of its sleeps the busy handler made.
    pub(crate) fn handled(&self) -> u32 {
        self.wait.sleeps - self.pauses
    }

    /// Whether the last attempt was the last one of its statement: SQLite's busy handler did not sleep after it.
    fn has_failed(&self) -> bool {
        let wait = &self.wait;
        let handled = self.handled();
        let not_slept = (handled > 0 && handled < wait.attempts) || (self.wait.before.default_handler && !self.slept);
        // In recovery SQLite retries without the busy handler, but where another connection is at work on it.
        let calls_handler = !wait.is_recovery() || (self.wait.before.default_handler && self.recovery_refused);
        not_slept && calls_handler && !wait.before.early
    }

    /// Another attempt was refused.
    pub(crate) fn again(&mut self, end: Instant, number: u64) {
        self.wait.attempts += 1;
        (self.wait.until, self.wait.numbers.1) = (end, number);
        (self.undecided, self.slept, self.shared, self.header) = (true, false, None, false);
        self.recovery_refused = false;
    }

    /// Notes what the record after a refused attempt shows about the lock the connection reads under.
    #[inline]
    fn observe(&mut self, record: &Record, number: u64) {
        if !self.undecided || !shows_reading(record.kind) {
            return;
        }
        self.undecided = false;
        let later = self.is_later(record);
        let wait = &mut self.wait;
        wait.next = Some(number);
        wait.closing = matches!(record.kind, Kind::SHM_UNMAP | Kind::CLOSE);
        // If the connection's first records are missing, this record shows that it is in WAL mode.
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
        wait.kept += u32::from(still || (here && later));
        wait.released += u32::from(!still && here && !later);
        wait.released_by_it += u32::from(!still && here && record.sql != 0 && record.sql == wait.sql);
    }

    /// Whether another statement than the refused one makes this call. The record of a release carries a statement only after a refusal.
    fn is_later(&self, record: &Record) -> bool {
        record.sql != 0 && self.wait.sql != 0 && record.sql != self.wait.sql
    }

    /// Follows the next record of the same connection and returns what it means. `pause` gives the nanoseconds since an instant, if known.
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

    /// Whether the statement goes on without the lock after this record, which ended the wait. Then no application saw an error.
    pub(crate) fn goes_on(&self, record: &Record) -> bool {
        let ended = match record.kind.known() {
            Some(Known::Unlock) => record.sql == 0 || record.sql == self.wait.sql,
            Some(Known::Sync | Known::Close) => true,
            Some(Known::Open | Known::Lock | Known::CheckReserved | Known::ShmLock | Known::ShmMap | Known::ShmUnmap) => false,
            Some(Known::Sleep | Known::Delete | Known::CkptStart | Known::CkptDone | Known::Wrote | Known::Handle) | None => false,
        };
        self.wait.before.early && !ended
    }

    /// What this record of the same connection means.
    pub(crate) fn meaning(&self, record: &Record) -> Meaning {
        let wait = &self.wait;
        // A kind that only a newer recorder knows shows nothing about the wait.
        let Some(kind) = record.kind.known() else { return Meaning::Waits };
        let plays_back = wait.request == Request::File(Level::EXCLUSIVE) && !wait.before.wal && wait.before.checked;
        let shares = record.kind == Kind::LOCK && matches!(record.requested, Level::SHARED | Level::EXCLUSIVE);
        let looks = match kind {
            Known::Sleep | Known::Handle | Known::CheckReserved => true,
            Known::Open | Known::Close | Known::Lock | Known::Unlock | Known::ShmLock | Known::ShmMap | Known::ShmUnmap => false,
            Known::Sync | Known::Delete | Known::CkptStart | Known::CkptDone | Known::Wrote => false,
        };
        let opens_wal = (record.kind, record.file_kind) == (Kind::OPEN, FileKind::WAL);
        if opens_wal && self.shared.is_some() && wait.request == Request::File(Level::RESERVED) {
            // Another connection has switched the database to WAL mode. The statement goes on in WAL mode, without RESERVED.
            return Meaning::Reads;
        }
        if plays_back && self.shared.is_some() && !shares && !looks {
            // Another connection has played the journal back. If there was no sleep before this record, the application's next statement reads.
            return if self.slept { Meaning::Reads } else { Meaning::Over };
        }
        match kind {
            Known::Sleep | Known::Handle | Known::CheckReserved => Meaning::Waits,
            // Between two attempts at EXCLUSIVE, SQLite releases nothing. Only a connection that plays a journal back releases its lock and
            // starts again each time.
            Known::Unlock
                if wait.request == Request::File(Level::EXCLUSIVE)
                    && (wait.before.wal || !wait.before.checked || wait.before.early) =>
            {
                Meaning::Over
            }
            // The statement that was refused has failed.
            Known::Unlock if self.is_later(record) => Meaning::Over,
            Known::Unlock => Meaning::Waits,
            // Before a commit, SQLite syncs the journal only under EXCLUSIVE (pager.c: `syncJournal`). So this is a rollback in exclusive
            // mode, where the locks stay.
            Known::Sync if wait.before.early && record.file_kind == FileKind::JOURNAL => Meaning::Over,
            // A rollback releases the lock in its next call, so wait for that record before deciding.
            Known::Wrote | Known::Sync | Known::Delete if wait.before.early => Meaning::Waits,
            Known::Lock | Known::ShmLock => {
                let request = Request::of(record);
                let recovery = wait.is_recovery();
                let slots = slot_mask(record.shm_offset, record.shm_n);
                if recovery && record.kind == Kind::SHM_LOCK && slots == 1 << Slot::RECOVER.0 {
                    return Meaning::Waits;
                }
                // The record of EXCLUSIVE from SHARED carries no statement. The record of the lock that the connection reads under does.
                let sql = if wait.sql == 0 { wait.before.reading.map_or(0, |reading| reading.sql) } else { wait.sql };
                // A checkpoint without a statement is an automatic one. For all other requests, a missing statement is an unknown one.
                let unknown = (record.sql == 0 || sql == 0) && wait.request != CHECKPOINT;
                // If no statement is known at all and nothing slept, the statement has failed and the application tries again. In recovery
                // no connection sleeps.
                let blind = record.sql == 0 && sql == 0 && wait.request != CHECKPOINT && !recovery;
                let tries_again = blind && self.handled() == 0;
                let same = record.tid == wait.tid && (record.sql == sql || unknown);
                if recovery && record.rc.is_ok() && request.is_some() && only_readers(slots) && same {
                    // The connection begins to read: another one has repaired the wal-index.
                    return if self.has_failed() { Meaning::Over } else { Meaning::Granted };
                }
                // A connection that wants to write reads first. One that asks for WRITE and does not read wants to repair a header that a
                // stopped writer left half written. It tries again at once (wal.c: `walIndexReadHdr`).
                let writes = wait.request == WRITE && wait.before.reading.is_some_and(|reading| reading.lock.slot().is_some());
                // If that writer has died, the connection rebuilds the wal-index.
                let recover = record.kind == Kind::SHM_LOCK && (slots == 1 << Slot::RECOVER.0 || slots == RECOVERY);
                let header = recover || (request == Some(WRITE) && record.shm_shared == 0);
                // A connection that got WRITE for the repair releases it again.
                let header = header || (record.kind == Kind::SHM_LOCK && request.is_none() && slots == 1 << Slot::WRITE.0);
                if writes && header && same {
                    return Meaning::Waits;
                }
                if request == Some(wait.request) {
                    return match (record.rc.is_ok(), record.rc.is_busy(), same && !self.has_failed() && !tries_again) {
                        (true, _, true) => Meaning::Granted,
                        (_, true, true) => Meaning::Refused,
                        _ => Meaning::Over,
                    };
                }
                let reads = match (request, wait.request) {
                    (Some(Request::File(Level::SHARED)), _) => true,
                    (Some(Request::File(_)), _) => false,
                    // Only READ0..READ4. A wait for one of these, and a checkpoint, which does not read, do not count.
                    (_, Request::Shm { mask, .. }) if mask & !0b111 != 0 || wait.before.exclusive != 0 => false,
                    _ => only_readers(slots),
                };
                // SQLite asks for SHARED again only after a sleep.
                let next_try = record.rc.is_busy() && matches!(request, Some(Request::File(_))) && self.has_failed();
                // A read for another statement: the application has moved on.
                if reads && same && !next_try { Meaning::Waits } else { Meaning::Over }
            }
            // The connection goes on with something else, or closes.
            Known::Wrote | Known::Sync | Known::Delete | Known::CkptStart | Known::CkptDone => Meaning::Over,
            Known::Open | Known::Close | Known::ShmMap | Known::ShmUnmap => Meaning::Over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::locks::state::ConnId;
    use crate::trace::LogId;
    use shim::event::ResultCode;

    fn waiting(request: Request) -> OpenWait {
        let record = Record { tid: 7, sql: 1, ..Record::new(Kind::LOCK) };
        let mut wait = Wait::new(ConnId { log: LogId(0), conn: 1, forked: false }, None, request, 0, &record, (0, 0));
        wait.before.wal = false;
        OpenWait::new(wait, 0)
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
        assert_eq!(waiting.meaning(&Record::new(Kind(200))), Meaning::Waits, "a kind of a newer recorder");
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
