//! The vocabulary of a trace: what can happen, to which lock, with what outcome.
//!
//! Input: the numbers SQLite uses at its VFS boundary. Output: typed names for them. Pure: no I/O, no clock, no pointers.
//! The recorder writes these, the reader decodes them, and neither knows the other. Decoding is total: a number this version
//! does not know stays a number.
#![forbid(unsafe_code)]

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

/// What a record is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u8);

impl Kind {
    /// A main database or WAL file was opened (or failed to: see the result code). `arg` holds the open flags.
    pub const OPEN: Kind = Kind(1);
    /// A main database or WAL file was closed; every lock it had is gone.
    pub const CLOSE: Kind = Kind(2);
    /// `xLock(level)` on the main database file. Where it was refused, `arg` may be [`REFUSED_HERE`].
    pub const LOCK: Kind = Kind(3);
    /// `xUnlock(level)` on the main database file.
    pub const UNLOCK: Kind = Kind(4);
    /// `xCheckReservedLock`; `arg` is its answer (0 or 1).
    pub const CHECK_RESERVED: Kind = Kind(5);
    /// `xShmLock(offset, n, flags)` on the wal-index. Where it was refused, `arg` may be [`REFUSED_HERE`].
    pub const SHM_LOCK: Kind = Kind(6);
    /// The connection's first `xShmMap`. `arg` is `bExtend`.
    pub const SHM_MAP: Kind = Kind(7);
    /// `xShmUnmap(deleteFlag)`; it releases every slot. `arg` is the flag.
    pub const SHM_UNMAP: Kind = Kind(8);
    /// `xSync` of the file named by the file kind. `arg` holds the sync flags.
    pub const SYNC: Kind = Kind(9);
    /// `xSleep`; `arg` is the time asked for, in microseconds. The connection is the one this thread was refused on
    /// since its sleep before.
    pub const SLEEP: Kind = Kind(10);
    /// `xDelete` of a journal or WAL file: the commit point in DELETE mode, the last close in WAL mode.
    pub const DELETE: Kind = Kind(11);
    /// `SQLITE_FCNTL_CKPT_START`: a checkpoint begins to copy pages.
    pub const CKPT_START: Kind = Kind(12);
    /// `SQLITE_FCNTL_CKPT_DONE`: it has finished copying.
    pub const CKPT_DONE: Kind = Kind(13);
    /// Bytes (`arg`) this connection wrote to the file named by the file kind since its last record of this kind for that file
    /// kind; written just before the release of the lock that covered them.
    pub const WROTE: Kind = Kind(14);
    /// `SQLITE_FCNTL_PDB`: `arg` is the address of the `sqlite3` connection this file belongs to (attached databases share it).
    pub const HANDLE: Kind = Kind(15);

    /// The name used in traces: SQLite's method name where there is one.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            1 => "xOpen",
            2 => "xClose",
            3 => "xLock",
            4 => "xUnlock",
            5 => "xCheckReservedLock",
            6 => "xShmLock",
            7 => "xShmMap",
            8 => "xShmUnmap",
            9 => "xSync",
            10 => "xSleep",
            11 => "xDelete",
            12 => "ckptStart",
            13 => "ckptDone",
            14 => "wrote",
            15 => "handle",
            _ => return None,
        })
    }

    /// The kind with this name, if this version knows one.
    pub fn from_name(name: &str) -> Option<Kind> {
        (1..=15).map(Kind).find(|kind| kind.name() == Some(name))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "kind#{}", self.0),
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The `arg` of an attempt that was refused inside its own process: another connection there has the lock, and the kernel was not asked
/// or did not refuse. 0 in a refused attempt means that this is not known.
pub const REFUSED_HERE: u64 = 1;

/// Which of a connection's files a record is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKind(pub u8);

impl FileKind {
    /// No file: `xSleep`.
    pub const NONE: FileKind = FileKind(0);
    /// The main database file.
    pub const DATABASE: FileKind = FileKind(1);
    /// Its rollback journal.
    pub const JOURNAL: FileKind = FileKind(2);
    /// Its write-ahead log.
    pub const WAL: FileKind = FileKind(3);
    /// Its wal-index.
    pub const SHM: FileKind = FileKind(4);

    /// A short name, or `None` for a number this version does not know.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "none",
            1 => "database",
            2 => "journal",
            3 => "wal",
            4 => "shm",
            _ => return None,
        })
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "file#{}", self.0),
        }
    }
}

impl fmt::Debug for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Bits that qualify a record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// The call changed nothing (an unlock of what was not locked): not a transition.
    pub const REDUNDANT: Flags = Flags(1);
    /// `xShmLock` with `SQLITE_SHM_UNLOCK`.
    pub const SHM_UNLOCK: Flags = Flags(2);
    /// `xShmLock` with `SQLITE_SHM_EXCLUSIVE`.
    pub const SHM_EXCLUSIVE: Flags = Flags(4);
    /// The clock was read once, before the call: the duration is not known and stored as 0.
    pub const ONE_CLOCK: Flags = Flags(8);
    /// Statements exist that were not looked at (the look-up on a read lock is bounded), and none of those looked at was busy.
    pub const SQL_UNKNOWN: Flags = Flags(16);
    /// The connection was opened by another process: it crossed a `fork()`.
    pub const FORKED: Flags = Flags(32);
    /// More than one connection uses this file handle (`cache=shared`).
    pub const SHARED_CACHE: Flags = Flags(64);
    /// Inferred, not told: the resulting lock, where the base VFS does not say, or the connection of a call that names none
    /// (`xSleep`, `xDelete`: the one this thread was refused on, or worked on, last).
    pub const ASSUMED: Flags = Flags(128);

    /// Whether every bit of `other` is set.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of bits.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl Flags {
    /// The names of those that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMES: [&str; 8] =
            ["redundant", "shm_unlock", "shm_exclusive", "one_clock", "sql_unknown", "forked", "shared_cache", "assumed"];
        NAMES.iter().enumerate().filter(move |(bit, _)| self.0 & (1 << bit) != 0).map(|(_, name)| *name)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// A SQLite result code, primary or extended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ResultCode(pub i32);

impl ResultCode {
    /// `SQLITE_OK`.
    pub const OK: ResultCode = ResultCode(0);
    /// `SQLITE_BUSY`.
    pub const BUSY: ResultCode = ResultCode(5);

    /// The primary code: the low byte (<https://sqlite.org/rescode.html#primary_result_codes_versus_extended_result_codes>).
    pub const fn primary(self) -> i32 {
        self.0 & 0xff
    }

    /// `SQLITE_OK`?
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// `SQLITE_BUSY` in any of its extended forms: the lock was refused.
    pub const fn is_busy(self) -> bool {
        self.primary() == 5
    }

    /// The name of the primary code without `SQLITE_`, for the codes a VFS returns.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.primary() {
            0 => "OK",
            1 => "ERROR",
            2 => "INTERNAL",
            3 => "PERM",
            5 => "BUSY",
            6 => "LOCKED",
            7 => "NOMEM",
            8 => "READONLY",
            10 => "IOERR",
            11 => "CORRUPT",
            12 => "NOTFOUND",
            13 => "FULL",
            14 => "CANTOPEN",
            15 => "PROTOCOL",
            21 => "MISUSE",
            22 => "NOLFS",
            23 => "AUTH",
            _ => return None,
        })
    }
}

impl fmt::Display for ResultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) if self.0 == self.primary() => f.pad(name),
            Some(name) => write!(f, "{name}({})", self.0),
            None => write!(f, "rc#{}", self.0),
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
    fn kind_names_read_back() {
        for number in 0..=255 {
            let kind = Kind(number);
            if let Some(name) = kind.name() {
                assert_eq!(Kind::from_name(name), Some(kind));
            }
        }
    }

    #[test]
    fn extended_busy_is_busy() {
        assert!(ResultCode(261).is_busy());
        assert_eq!(ResultCode(261).to_string(), "BUSY(261)");
        assert_eq!(ResultCode(5).to_string(), "BUSY");
        assert_eq!(ResultCode(250).to_string(), "rc#250");
    }
}
