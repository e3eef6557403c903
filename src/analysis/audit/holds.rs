//! The locks that one connection took and released, for the audit: strict where [`crate::analysis::locks::state`] is lenient.
//!
//! What does not follow from the record before is forgotten, not guessed.
#![forbid(unsafe_code)]

use crate::analysis::locks::lock::LockId;
use shim::event::{FileKind, Flags, Kind, KnownKind as Known, Level, slot_mask};
use shim::format::record::{MAX_DURATION, Record};

/// What a record did to a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// The call took it.
    Took(LockId),
    /// The call released it.
    Gave(LockId),
    /// Since when it is held, or that it is, is not known.
    Forget(LockId),
}

/// A connection's state after its last record.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Connection {
    level: u8,
    shared: u8,
    exclusive: u8,
}

/// Whether the record takes a lock.
pub(super) fn takes(record: &Record) -> bool {
    let locks = record.kind == Kind::LOCK || record.kind == Kind::SHM_LOCK && !record.flags.has(Flags::SHM_UNLOCK);
    locks && record.rc.is_ok()
}

/// Whether it is known when the call that took a lock had returned.
fn is_timed(record: &Record) -> bool {
    !record.flags.has(Flags::ONE_CLOCK) && record.duration < MAX_DURATION
}

/// Every lock.
fn all() -> Vec<Step> {
    LockId::all().map(Step::Forget).collect()
}

impl Connection {
    /// Follows one record.
    pub(super) fn apply(&mut self, record: &Record) -> Vec<Step> {
        let tells = match record.kind.known() {
            Some(Known::Lock | Known::Unlock | Known::CheckReserved | Known::ShmLock | Known::ShmMap | Known::ShmUnmap) => true,
            Some(Known::Open | Known::Close) => record.file_kind == FileKind::DATABASE,
            Some(
                Known::Sync | Known::Sleep | Known::Delete | Known::CkptStart | Known::CkptDone | Known::Wrote | Known::Handle,
            )
            | None => false,
        };
        if !tells {
            return Vec::new();
        }
        if record.kind == Kind::OPEN {
            *self = Connection::default();
            return all();
        }
        let mut steps = Vec::new();
        let known = record.before.0 == self.level && !record.flags.has(Flags::ASSUMED) && record.after.0 <= 4;
        let (level, shared, exclusive) = match record.kind {
            Kind::CLOSE => (0, 0, 0),
            _ => (record.after.0, record.shm_shared & !record.shm_exclusive, record.shm_exclusive),
        };
        self.file(record, known, level, &mut steps);
        self.slots(record, shared, exclusive, &mut steps);
        *self = Connection { level, shared, exclusive };
        steps
    }

    /// The level of the database file.
    fn file(&self, record: &Record, known: bool, level: u8, steps: &mut Vec<Step>) {
        let lock = |level: u8| LockId::file(Level(level));
        if !known {
            steps.extend((1..=4).map(|level| Step::Forget(lock(level))));
        } else if level > self.level {
            // The call took it to exactly this level: that one's byte or range is its own now. An EXCLUSIVE that took PENDING on its way
            // has it within.
            steps.push(if record.kind == Kind::LOCK && is_timed(record) {
                Step::Took(lock(level))
            } else {
                Step::Forget(lock(level))
            });
        } else if level < self.level {
            let gives = matches!(record.kind, Kind::UNLOCK | Kind::CLOSE);
            steps.extend(
                (level + 1..=self.level).map(|level| if gives { Step::Gave(lock(level)) } else { Step::Forget(lock(level)) }),
            );
        }
    }

    /// The slots of the wal-index.
    fn slots(&self, record: &Record, shared: u8, exclusive: u8, steps: &mut Vec<Step>) {
        let asked = if record.kind == Kind::SHM_LOCK { slot_mask(record.shm_offset, record.shm_n) } else { 0 };
        let unlock = record.flags.has(Flags::SHM_UNLOCK);
        for slot in 0..8u8 {
            let bit = 1 << slot;
            for (was, is, mode) in [(self.shared & bit, shared & bit, false), (self.exclusive & bit, exclusive & bit, true)] {
                let lock = LockId::shm(slot, mode);
                let here = asked & bit != 0;
                match (was != 0, is != 0) {
                    (false, true) if here && !unlock && record.rc.is_ok() && is_timed(record) => steps.push(Step::Took(lock)),
                    (true, false)
                        if here && unlock || was != 0 && is == 0 && matches!(record.kind, Kind::SHM_UNMAP | Kind::CLOSE) =>
                    {
                        steps.push(Step::Gave(lock));
                    }
                    // Taken again: the call that released it in between was lost.
                    (true, true) if here && !unlock && record.rc.is_ok() => steps.push(Step::Forget(lock)),
                    (true, true) | (false, false) => {}
                    _ => steps.push(Step::Forget(lock)),
                }
            }
        }
    }
}
