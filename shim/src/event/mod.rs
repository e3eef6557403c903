//! The vocabulary of a trace: what can happen, to which lock, with what outcome.
//!
//! Typed names for the numbers that SQLite uses at its VFS boundary. Pure: no I/O, no clock, no pointers. The recorder writes these and the reader
//! decodes them; neither uses the other. Decoding is total: a number that this version does not know stays a number.
#![forbid(unsafe_code)]

mod kind;
mod lock;

pub use kind::{FileKind, Kind, KnownKind};
pub use lock::{Level, Request, Slot, only_readers, slot_mask};

use std::fmt;

/// The `arg` of an attempt that was refused inside its own process: another connection there has the lock, and the kernel was not asked
/// or did not refuse. 0 in a refused attempt means that this is not known.
pub const REFUSED_HERE: u64 = 1;

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
    /// The look-up of the running statement is bounded. It reached its bound before the last statement, and none of those it saw was busy.
    pub const SQL_UNKNOWN: Flags = Flags(16);
    /// The connection was opened by another process: it crossed a `fork()`.
    pub const FORKED: Flags = Flags(32);
    /// More than one connection uses this file handle (`cache=shared`).
    pub const SHARED_CACHE: Flags = Flags(64);
    /// Inferred: the resulting lock, where the base VFS does not report it, or the connection of a call that names none
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
    fn extended_busy_is_busy() {
        assert!(ResultCode(261).is_busy());
        assert_eq!(ResultCode(261).to_string(), "BUSY(261)");
        assert_eq!(ResultCode(5).to_string(), "BUSY");
        assert_eq!(ResultCode(250).to_string(), "rc#250");
    }
}
