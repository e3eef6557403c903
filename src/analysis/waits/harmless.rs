//! Waits that no application notices, and why.
#![forbid(unsafe_code)]

use crate::analysis::locks::lock::{Request, only_readers};
use crate::analysis::waits::wait::{Wait, WaitEnd};
use shim::event::{Level, Slot};

/// Why a wait is no incident.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Harmless {
    /// A closing connection asked for a lock to learn whether it is the last one.
    Closing,
    /// SQLite tried to take a READn slot opportunistically: to move a read mark, restart the log, rebuild the wal-index, or while another
    /// connection does so. It carries on without the slot.
    ReaderSlot,
    /// A passive checkpoint copied what it could, and left the rest to the next one.
    PassiveCheckpoint,
    /// An automatic checkpoint found another checkpoint at work.
    AutomaticCheckpoint,
    /// A reader found the header of the wal-index while a writer was changing it, retried without a sleep, and read. SQLite sleeps from the
    /// sixth try on (wal.c: `walTryBeginRead`). Also: a connection that wants to rebuild the wal-index finds a reader that is checking
    /// whether recovery is running.
    HeaderChanging,
    /// A transaction with a full page cache wanted to write to the database file before its commit, and went on in memory.
    CacheSpill,
}

impl Harmless {
    /// Its name in reports.
    pub fn id(self) -> &'static str {
        match self {
            Harmless::Closing => "closing",
            Harmless::ReaderSlot => "reader-slot",
            Harmless::PassiveCheckpoint => "passive-checkpoint",
            Harmless::AutomaticCheckpoint => "automatic-checkpoint",
            Harmless::HeaderChanging => "header-changing",
            Harmless::CacheSpill => "cache-spill",
        }
    }
}

/// Why no application notices this wait; `None` if one can.
pub fn harmless(wait: &Wait) -> Option<Harmless> {
    let held = |slot: Slot| wait.before.exclusive & (1 << slot.0) != 0;
    match wait.request {
        // A connection that wanted to enter exclusive mode in WAL keeps PENDING.
        Request::File(Level::EXCLUSIVE) if wait.closing && (wait.before.wal || wait.before.level <= Level::SHARED) => {
            Some(Harmless::Closing)
        }
        // A connection that rebuilds the wal-index also holds CKPT. It leaves the read mark of a present reader as it is (wal.c:
        // `walIndexRecover`).
        request if request.is_optional() && held(Slot::RECOVER) => Some(Harmless::ReaderSlot),
        request if request.is_optional() => match (held(Slot::CKPT), held(Slot::WRITE)) {
            (false, _) => Some(Harmless::ReaderSlot),
            (true, false) => Some(Harmless::PassiveCheckpoint),
            (true, true) => None,
        },
        Request::Shm { mask, exclusive: false } if only_readers(mask) => Some(Harmless::ReaderSlot),
        Request::Shm { mask, exclusive: true } if mask == 1 << Slot::CKPT.0 && wait.sql == 0 => Some(Harmless::AutomaticCheckpoint),
        _ if wait.end == WaitEnd::WentOn && wait.sleeps == 0 => Some(Harmless::CacheSpill),
        Request::Shm { mask: 0b110, exclusive: true } if wait.before.exclusive == 1 << Slot::WRITE.0 => {
            Some(Harmless::HeaderChanging)
        }
        // RECOVER was free: no connection was rebuilding the index.
        _ if wait.is_recovery() && wait.end == WaitEnd::Acquired && wait.sleeps == 0 && matches!(wait.recovery, (0, 1..)) => {
            Some(Harmless::HeaderChanging)
        }
        _ => None,
    }
}
