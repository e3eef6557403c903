//! The read lock of a connection that asks for a further lock: SHARED, or a reader's slot of the wal-index.
#![forbid(unsafe_code)]

use super::lock::LockId;
use super::state::{Hold, Locks};
use crate::analysis::order::instants::Instant;
use shim::event::{Level, Slot};
use shim::format::record::Record;

/// The read lock of a connection that asked for a further lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// SHARED, or a reader's slot.
    pub lock: LockId,
    /// The thread that took it.
    pub tid: u32,
    /// The statement that took it; 0 = none, or unknown.
    pub sql: u64,
    /// The record of the call that took it.
    pub number: u64,
    /// When that call had returned; `Instant::MAX` if unknown.
    pub from: Instant,
    /// Whether that call was seen.
    pub seen: bool,
}

impl Reading {
    pub(crate) fn of(lock: LockId, hold: &Hold) -> Reading {
        Reading { lock, tid: hold.tid, sql: hold.sql, number: hold.number, from: hold.from, seen: hold.seen }
    }

    /// Whether this statement, which asks for a further lock, also took the read lock. The thread does not matter: in exclusive mode another
    /// thread may have taken the read lock, in an earlier transaction.
    pub(crate) fn is_of(&self, sql: u64) -> bool {
        self.sql != 0 && self.sql == sql
    }

    /// Whether another statement than this one, which asks for a further lock, took the read lock. If one of the two is unknown, the threads
    /// decide.
    pub(crate) fn is_of_another(&self, tid: u32, sql: u64) -> bool {
        if self.sql != 0 && sql != 0 { self.sql != sql } else { self.tid != tid }
    }

    /// The lock under which a connection with these locks reads. It may hold several readers' slots, as at a log restart: then the one taken
    /// last. `lifetime`: its SHARED is the one of WAL mode.
    pub(crate) fn under(locks: &mut Locks, lifetime: bool) -> Option<Reading> {
        let held = locks.shared;
        let slots = (Slot::READ0.0..Slot::COUNT).filter(|slot| held & (1 << slot) != 0).map(|slot| LockId::shm(slot, false));
        let latest = slots.max_by_key(|&lock| locks.hold(lock).number);
        let shared = LockId::file(Level::SHARED);
        let lock = latest.or_else(|| (locks.level.0 >= Level::SHARED && !lifetime).then_some(shared))?;
        Some(Reading::of(lock, locks.hold(lock)))
    }

    /// The reader's slot that this record shows to be held, if the call that took it was not seen. SHARED does not count: it may be the
    /// lifetime lock of WAL mode.
    pub(crate) fn unseen(record: &Record, number: u64) -> Option<Reading> {
        let slot = (0..Slot::COUNT).find(|&slot| Slot(slot).is_read() && record.shm_shared & (1 << slot) != 0)?;
        Some(Reading { lock: LockId::shm(slot, false), tid: 0, sql: 0, number, from: Instant::MAX, seen: false })
    }
}
