//! The read lock under which a connection asks for more: SHARED, or a reader's slot of the wal-index.
#![forbid(unsafe_code)]

use super::lock::LockId;
use super::state::{Hold, Locks};
use crate::analysis::order::instants::Instant;
use shim::event::{Level, Slot};
use shim::format::record::Record;

/// The read lock under which a connection asked for more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// SHARED, or a reader's slot.
    pub lock: LockId,
    /// The thread and the statement that took it.
    pub tid: u32,
    /// The statement; 0 = none, or not known.
    pub sql: u64,
    /// The record of that call.
    pub number: u64,
    /// When it was held; the end of time where that is not known.
    pub from: Instant,
    /// Whether that call was seen.
    pub seen: bool,
}

impl Reading {
    pub(crate) fn of(lock: LockId, hold: &Hold) -> Reading {
        Reading { lock, tid: hold.tid, sql: hold.sql, number: hold.number, from: hold.from, seen: hold.seen }
    }

    /// Whether the statement that asks for more took it. Its thread does not matter: in exclusive mode another thread may have taken it, in
    /// an earlier transaction.
    pub(crate) fn is_of(&self, sql: u64) -> bool {
        self.sql != 0 && self.sql == sql
    }

    /// Whether a statement other than the one that asks for more took it. Where one of the two is not known, the threads decide.
    pub(crate) fn is_of_another(&self, tid: u32, sql: u64) -> bool {
        if self.sql != 0 && sql != 0 { self.sql != sql } else { self.tid != tid }
    }

    /// The lock under which a connection with these locks reads. Of several readers' slots, as at a log restart, it is the one taken last.
    /// `lifetime`: its SHARED is that of WAL mode.
    pub(crate) fn under(locks: &mut Locks, lifetime: bool) -> Option<Reading> {
        let held = locks.shared;
        let slots = (Slot::READ0.0..Slot::COUNT).filter(|slot| held & (1 << slot) != 0).map(|slot| LockId::shm(slot, false));
        let latest = slots.max_by_key(|&lock| locks.hold(lock).number);
        let shared = LockId::file(Level::SHARED);
        let lock = latest.or_else(|| (locks.level.0 >= Level::SHARED && !lifetime).then_some(shared))?;
        Some(Reading::of(lock, locks.hold(lock)))
    }

    /// The reader's slot that this record shows to be held, of which nothing else is known. SHARED does not count: it may be the lifetime
    /// lock of WAL mode.
    pub(crate) fn unseen(record: &Record, number: u64) -> Option<Reading> {
        let slot = (0..Slot::COUNT).find(|&slot| Slot(slot).is_read() && record.shm_shared & (1 << slot) != 0)?;
        Some(Reading { lock: LockId::shm(slot, false), tid: 0, sql: 0, number, from: Instant::MAX, seen: false })
    }
}
