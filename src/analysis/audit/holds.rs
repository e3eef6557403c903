//! The audit's view of one connection: the locks it took and released, with no allowance for lost records.
//!
//! [`crate::analysis::locks::state`] fills the gap if a record contradicts the one before. This file forgets the hold instead.
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
    Released(LockId),
    /// Whether, or since when, it is held is unknown.
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

/// Whether the record shows when its call returned.
fn is_timed(record: &Record) -> bool {
    !record.flags.has(Flags::ONE_CLOCK) && record.duration < MAX_DURATION
}

/// Forgets every lock.
fn all() -> Vec<Step> {
    LockId::all().map(Step::Forget).collect()
}

impl Connection {
    /// Follows one record.
    pub(super) fn apply(&mut self, record: &Record) -> Vec<Step> {
        let carries_lock_state = match record.kind.known() {
            Some(Known::Lock | Known::Unlock | Known::CheckReserved | Known::ShmLock | Known::ShmMap | Known::ShmUnmap) => true,
            Some(Known::Open | Known::Close) => record.file_kind == FileKind::DATABASE,
            Some(
                Known::Sync | Known::Sleep | Known::Delete | Known::CkptStart | Known::CkptDone | Known::Wrote | Known::Handle,
            )
            | None => false,
        };
        if !carries_lock_state {
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

    /// Adds the steps for the database file, whose new level is `level`.
    fn file(&self, record: &Record, known: bool, level: u8, steps: &mut Vec<Step>) {
        let lock = |level: u8| LockId::file(Level(level));
        if !known {
            steps.extend((1..=4).map(|level| Step::Forget(lock(level))));
        } else if level > self.level {
            // The call took the connection to exactly this level, so the byte or range of that level is its own now. EXCLUSIVE includes a
            // PENDING that the call took on its way.
            steps.push(if record.kind == Kind::LOCK && is_timed(record) {
                Step::Took(lock(level))
            } else {
                Step::Forget(lock(level))
            });
        } else if level < self.level {
            let gives = matches!(record.kind, Kind::UNLOCK | Kind::CLOSE);
            steps.extend(
                (level + 1..=self.level).map(|level| if gives { Step::Released(lock(level)) } else { Step::Forget(lock(level)) }),
            );
        }
    }

    /// Adds the steps for the slots of the wal-index.
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
                        steps.push(Step::Released(lock));
                    }
                    // The slot is taken again: the record of its release in between was lost.
                    (true, true) if here && !unlock && record.rc.is_ok() => steps.push(Step::Forget(lock)),
                    (true, true) | (false, false) => {}
                    _ => steps.push(Step::Forget(lock)),
                }
            }
        }
    }
}
