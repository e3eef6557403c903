//! SQLite's locks: the levels of the database file, the slots of the wal-index, and requests for them.

use std::fmt;

/// A lock on the main database file, by SQLite's own names and numbers (`SQLITE_LOCK_*` in sqlite3.h).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(pub u8);

impl Level {
    /// No lock.
    pub const NONE: Level = Level(0);
    /// Readers; any number of them at once.
    pub const SHARED: Level = Level(1);
    /// The one writer that prepares a transaction beside readers.
    pub const RESERVED: Level = Level(2);
    /// The writer waits for readers to leave; no new ones get in.
    pub const PENDING: Level = Level(3);
    /// The writer, alone.
    pub const EXCLUSIVE: Level = Level(4);

    /// SQLite's name, or `None` for a number SQLite does not define.
    pub const fn name(self) -> Option<&'static str> {
        match self.0 {
            0 => Some("NONE"),
            1 => Some("SHARED"),
            2 => Some("RESERVED"),
            3 => Some("PENDING"),
            4 => Some("EXCLUSIVE"),
            _ => None,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "lock#{}", self.0),
        }
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One of the eight lock slots of the wal-index (`-shm`), by the names of SQLite's wal.c.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u8);

impl Slot {
    /// The one writer (`WAL_WRITE_LOCK`).
    pub const WRITE: Slot = Slot(0);
    /// The one checkpointer (`WAL_CKPT_LOCK`).
    pub const CKPT: Slot = Slot(1);
    /// Recovery of the wal-index (`WAL_RECOVER_LOCK`).
    pub const RECOVER: Slot = Slot(2);
    /// Readers that need nothing from the WAL (`WAL_READ_LOCK(0)`).
    pub const READ0: Slot = Slot(3);
    /// How many slots there are (`SQLITE_SHM_NLOCK`).
    pub const COUNT: u8 = 8;

    /// SQLite's name for the slot, or `None` past the last one.
    pub const fn name(self) -> Option<&'static str> {
        match self.0 {
            0 => Some("WRITE"),
            1 => Some("CKPT"),
            2 => Some("RECOVER"),
            3 => Some("READ0"),
            4 => Some("READ1"),
            5 => Some("READ2"),
            6 => Some("READ3"),
            7 => Some("READ4"),
            _ => None,
        }
    }

    /// Whether this is one of `READ0..=READ4`.
    pub const fn is_read(self) -> bool {
        self.0 >= 3 && self.0 < Self::COUNT
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "slot#{}", self.0),
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The bit mask that one `xShmLock(offset, n)` touches: bit *i* is slot *i*. Slots past the eighth are dropped.
pub const fn slot_mask(offset: u8, n: u8) -> u8 {
    if offset >= Slot::COUNT {
        return 0;
    }
    let n = if n > Slot::COUNT { Slot::COUNT } else { n };
    ((((1u32 << n) - 1) << offset) & 0xff) as u8
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
    /// Whether it is for readers' slots, exclusively. A writer asks for these to restart the WAL or to move a read mark, a checkpoint to
    /// write past one. SQLite carries on without them where they are refused (wal.c: `walTryBeginRead`, `walRestartLog`, `walCheckpoint`),
    /// and no statement fails by it. A checkpoint that was asked for may answer that it was busy.
    pub const fn is_optional(self) -> bool {
        matches!(self, Request::Shm { mask, exclusive: true } if only_readers(mask))
    }

    /// The weakest level another connection must have on the database file to refuse this; `None` where none does.
    pub const fn refused_from(self) -> Option<Level> {
        match self {
            Request::File(Level::SHARED) => Some(Level::PENDING),
            Request::File(Level::RESERVED) => Some(Level::RESERVED),
            Request::File(Level::PENDING | Level::EXCLUSIVE) => Some(Level::SHARED),
            Request::File(_) | Request::Shm { .. } => None,
        }
    }

    /// The names of the slots it covers, or of its level.
    pub fn names(self) -> Vec<&'static str> {
        match self {
            Request::File(level) => vec![level.name().unwrap_or("?")],
            Request::Shm { mask, .. } => {
                (0..Slot::COUNT).filter(|slot| mask & (1 << slot) != 0).filter_map(|slot| Slot(slot).name()).collect()
            }
        }
    }
}

/// Whether these slots are readers' and nothing else. An empty mask is not.
pub const fn only_readers(mask: u8) -> bool {
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
    fn slot_masks_cover_what_they_say() {
        assert_eq!(slot_mask(0, 1), 0b0000_0001);
        assert_eq!(slot_mask(1, 2), 0b0000_0110);
        assert_eq!(slot_mask(3, 5), 0b1111_1000);
        assert_eq!(slot_mask(7, 9), 0b1000_0000);
        assert_eq!(slot_mask(8, 1), 0);
        assert_eq!(slot_mask(200, 200), 0);
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
    fn requests_have_names() {
        assert_eq!(Request::Shm { mask: 0b110, exclusive: true }.to_string(), "X CKPT..RECOVER");
        assert_eq!(Request::Shm { mask: 0b1000_0000, exclusive: false }.to_string(), "S READ4");
        assert_eq!(Request::Shm { mask: 0, exclusive: false }.to_string(), "S slot#8");
    }
}
