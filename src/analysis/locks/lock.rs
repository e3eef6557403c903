//! SQLite's locks and requests for them, and SQLite's rules about which lock refuses which request.
//!
//! [`LockId`] names one lock in one mode. [`Request`] is what a call asked for.
#![forbid(unsafe_code)]

pub use shim::event::Request;
pub(crate) use shim::event::only_readers;

use shim::event::{Level, Slot};
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

    /// The lock that a request is counted under: its first slot, where it covers several.
    pub fn of(request: Request) -> LockId {
        match request {
            Request::File(level) => LockId::file(level),
            Request::Shm { mask, exclusive } => LockId::shm(mask.trailing_zeros().min(7) as u8, exclusive),
        }
    }

    /// Whether this lock, held by another connection, refuses the request.
    pub(crate) fn refuses(self, request: Request) -> bool {
        match (request, self.level(), self.slot()) {
            (Request::File(_), Some(level), _) => request.refused_from().is_some_and(|from| level >= from),
            (Request::Shm { mask, exclusive }, _, Some(slot)) => {
                mask & (1 << slot.0) != 0 && (exclusive || self.is_exclusive_slot())
            }
            (Request::File(_), None, _) | (Request::Shm { .. }, _, None) => false,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conflict_table_of_the_database_file() {
        let refused = |asked: Level, held: Level| LockId::file(held).refuses(Request::File(asked));
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
        assert!(!LockId::shm(1, false).refuses(shared));
        assert!(LockId::shm(1, true).refuses(shared));
        assert!(LockId::shm(0, false).refuses(exclusive));
        assert!(LockId::shm(0, true).refuses(exclusive));
        assert!(!LockId::shm(2, true).refuses(exclusive));
        assert!(!LockId::file(Level::EXCLUSIVE).refuses(exclusive));
    }

    #[test]
    fn locks_have_names() {
        let names: Vec<String> = LockId::all().map(|lock| lock.to_string()).collect();
        assert_eq!(names[..6], ["SHARED", "RESERVED", "PENDING", "EXCLUSIVE", "X WRITE", "S WRITE"]);
        assert_eq!(names[19], "S READ4");
    }
}
