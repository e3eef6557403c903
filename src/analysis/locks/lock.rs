//! SQLite's locks and requests for them, and SQLite's rules about which lock refuses which request.
//!
//! [`LockId`] names one lock in one mode. [`Request`] is what a call asked for.
#![forbid(unsafe_code)]

use shim::event::{Flags, Kind, Level, Slot, slot_mask};
use shim::format::record::Record;
use std::fmt;

/// A lock in a mode: `SHARED`, `RESERVED`, `PENDING` or `EXCLUSIVE` on the database file, or a wal-index slot shared or exclusive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LockId(u8);

impl LockId {
    /// The number of locks.
    pub const COUNT: usize = 20;

    /// All locks, in the order of the reports.
    pub fn all() -> impl Iterator<Item = LockId> {
        (0..LockId::COUNT as u8).map(LockId)
    }

    /// The lock of a level of the database file, from `SHARED` to `EXCLUSIVE`.
    pub(crate) fn file(level: Level) -> LockId {
        LockId(level.0.clamp(1, 4) - 1)
    }

    /// The lock of a slot of the wal-index, exclusive or shared.
    pub(crate) fn shm(slot: u8, exclusive: bool) -> LockId {
        LockId(4 + (slot & 7) * 2 + u8::from(!exclusive))
    }

    /// The locks that are held at this level and with these masks of shared and exclusive slots.
    pub(crate) fn held(level: Level, shared: u8, exclusive: u8) -> Vec<LockId> {
        let slots = |mask: u8, exclusive| {
            (0..Slot::COUNT).filter(move |slot| mask & (1 << slot) != 0).map(move |slot| LockId::shm(slot, exclusive))
        };
        let file = (level != Level::NONE).then(|| LockId::file(level));
        file.into_iter().chain(slots(exclusive, true)).chain(slots(shared, false)).collect()
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The level, if this is a lock on the database file.
    pub fn level(self) -> Option<Level> {
        (self.0 < 4).then_some(Level(self.0 + 1))
    }

    /// The slot, if this is a lock of the wal-index.
    pub fn slot(self) -> Option<Slot> {
        (self.0 >= 4).then(|| Slot((self.0 - 4) / 2))
    }

    /// Whether this is an exclusive lock of the wal-index.
    pub fn is_exclusive_slot(self) -> bool {
        self.0 >= 4 && self.0.is_multiple_of(2)
    }

    /// SQLite's name for the level or the slot.
    pub fn name(self) -> &'static str {
        let name = match self.slot() {
            Some(slot) => slot.name(),
            None => Level(self.0 + 1).name(),
        };
        name.unwrap_or("?")
    }

    /// `SHARED` or `EXCLUSIVE` for wal-index locks.
    pub fn mode(self) -> Option<&'static str> {
        (self.0 >= 4).then_some(if self.is_exclusive_slot() { "EXCLUSIVE" } else { "SHARED" })
    }
}

impl fmt::Display for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mode() {
            None => f.write_str(self.name()),
            Some(mode) => write!(f, "{} {}", &mode[..1].replace('E', "X"), self.name()),
        }
    }
}

/// What an `xLock` or `xShmLock` asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Request {
    /// A level of the database file.
    File(Level),
    /// These slots of the wal-index.
    Shm {
        /// Bit *i* is slot *i*.
        mask: u8,
        /// Exclusive, or shared.
        exclusive: bool,
    },
}

impl Request {
    /// Whether this asks for readers' slots exclusively. A writer asks for them to restart the WAL or to move a read mark, a checkpoint to write
    /// past one. If they are refused, SQLite carries on without them (wal.c: `walTryBeginRead`, `walRestartLog`, `walCheckpoint`) and no
    /// statement fails. A checkpoint that a statement asked for may answer that it was busy.
    pub fn is_optional(self) -> bool {
        matches!(self, Request::Shm { mask, exclusive: true } if only_readers(mask))
    }

    /// What this record's call asked for; `None` if it does not take a lock.
    pub fn of(record: &Record) -> Option<Request> {
        match record.kind {
            Kind::LOCK => Some(Request::File(record.requested)),
            Kind::SHM_LOCK if !record.flags.has(Flags::SHM_UNLOCK) => Some(Request::Shm {
                mask: slot_mask(record.shm_offset, record.shm_n),
                exclusive: record.flags.has(Flags::SHM_EXCLUSIVE),
            }),
            _ => None,
        }
    }

    /// The lock that the request is counted under. If it covers several slots, the first one.
    pub fn lock(self) -> LockId {
        match self {
            Request::File(level) => LockId::file(level),
            Request::Shm { mask, exclusive } => LockId::shm(mask.trailing_zeros().min(7) as u8, exclusive),
        }
    }

    /// The weakest level on the database file with which another connection refuses this request; `None` if no level does.
    pub(crate) fn refused_from(self) -> Option<Level> {
        match self {
            Request::File(Level::SHARED) => Some(Level::PENDING),
            Request::File(Level::RESERVED) => Some(Level::RESERVED),
            Request::File(Level::PENDING | Level::EXCLUSIVE) => Some(Level::SHARED),
            _ => None,
        }
    }

    /// Whether another connection that holds this lock refuses this request.
    pub(crate) fn is_refused_by(self, lock: LockId) -> bool {
        match (self, lock.level(), lock.slot()) {
            (Request::File(_), Some(level), _) => self.refused_from().is_some_and(|from| level >= from),
            (Request::Shm { mask, exclusive }, _, Some(slot)) => {
                mask & (1 << slot.0) != 0 && (exclusive || lock.is_exclusive_slot())
            }
            _ => false,
        }
    }

    /// The names of the slots that the request covers, or of its level.
    pub fn names(self) -> Vec<&'static str> {
        match self {
            Request::File(level) => vec![level.name().unwrap_or("?")],
            Request::Shm { mask, .. } => {
                (0..8).filter(|slot| mask & (1 << slot) != 0).filter_map(|slot| Slot(slot).name()).collect()
            }
        }
    }
}

/// Whether all of these slots are readers' slots. False for an empty mask.
pub(crate) fn only_readers(mask: u8) -> bool {
    mask != 0 && mask & 0b111 == 0
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Request::File(level) => write!(f, "{level}"),
            Request::Shm { mask, exclusive } => {
                let first = mask.trailing_zeros().min(8) as u8;
                let last = 7u8.saturating_sub(mask.leading_zeros().min(7) as u8);
                write!(f, "{} {}", if exclusive { "X" } else { "S" }, Slot(first))?;
                if last > first { write!(f, "..{}", Slot(last)) } else { Ok(()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conflict_table_of_the_database_file() {
        let refused = |asked: Level, held: Level| Request::File(asked).is_refused_by(LockId::file(held));
        let levels = [Level::SHARED, Level::RESERVED, Level::PENDING, Level::EXCLUSIVE];
        let table: Vec<[bool; 4]> = levels.iter().map(|&asked| levels.map(|held| refused(asked, held))).collect();
        assert_eq!(table[0], [false, false, true, true]);
        assert_eq!(table[1], [false, true, true, true]);
        assert_eq!(table[2], [true; 4]);
        assert_eq!(table[3], [true; 4]);
    }

    #[test]
    fn the_conflict_table_of_the_wal_index() {
        let shared = Request::Shm { mask: 0b11, exclusive: false };
        let exclusive = Request::Shm { mask: 0b11, exclusive: true };
        assert!(!shared.is_refused_by(LockId::shm(1, false)));
        assert!(shared.is_refused_by(LockId::shm(1, true)));
        assert!(exclusive.is_refused_by(LockId::shm(0, false)));
        assert!(exclusive.is_refused_by(LockId::shm(0, true)));
        assert!(!exclusive.is_refused_by(LockId::shm(2, true)));
        assert!(!exclusive.is_refused_by(LockId::file(Level::EXCLUSIVE)));
    }

    #[test]
    fn only_readers_slots_taken_exclusively_are_optional() {
        assert!(Request::Shm { mask: 0b1000, exclusive: true }.is_optional());
        assert!(Request::Shm { mask: 0b1111_0000, exclusive: true }.is_optional());
        for needed in [
            Request::Shm { mask: 0b1000, exclusive: false }, // a read begins
            Request::Shm { mask: 0b1, exclusive: true },     // WRITE
            Request::Shm { mask: 0b10, exclusive: true },    // CKPT
            Request::Shm { mask: 0b1111_1110, exclusive: true },
            Request::Shm { mask: 0, exclusive: true },
            Request::File(Level::EXCLUSIVE),
        ] {
            assert!(!needed.is_optional(), "{needed}");
        }
    }

    #[test]
    fn locks_have_names() {
        let names: Vec<String> = LockId::all().map(|lock| lock.to_string()).collect();
        assert_eq!(names[..6], ["SHARED", "RESERVED", "PENDING", "EXCLUSIVE", "X WRITE", "S WRITE"]);
        assert_eq!(names[19], "S READ4");
        assert_eq!(Request::Shm { mask: 0b110, exclusive: true }.to_string(), "X CKPT..RECOVER");
        assert_eq!(Request::Shm { mask: 0b1000_0000, exclusive: false }.to_string(), "S READ4");
        assert_eq!(Request::Shm { mask: 0, exclusive: false }.to_string(), "S slot#8");
    }
}
