//! The lock state of one connection, record by record: which holds begin and end.
//!
//! Every record carries its connection's whole lock state, so a lost record shows as a difference. Then a hold *ended unseen* or *began unseen*, and
//! the instant of that stays unknown.
//!
//! A hold of a level of the database file lasts from the call that made the connection's level exactly that level until the level
//! falls below it. A hold of a wal-index slot lasts from its lock to its unlock. `xClose` ends all holds, `xShmUnmap` those of the wal-index.
#![forbid(unsafe_code)]

use crate::analysis::locks::lock::LockId;
use crate::analysis::order::instants::Instant;
use crate::trace::LogId;
use shim::event::{FileKind, Flags, Kind, KnownKind as Known, Level, slot_mask};
use shim::format::record::Record;

/// A connection of a trace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId {
    /// The log of its process.
    pub log: LogId,
    /// Its number in the process that opened it.
    pub conn: u32,
    /// Another process opened it, and this process has it by a `fork()`.
    pub forked: bool,
}

impl ConnId {
    /// The connection of a record; `None` if the record names none.
    #[inline]
    pub(crate) fn of(log: LogId, record: &Record) -> Option<ConnId> {
        let forked = record.flags.has(Flags::FORKED);
        (record.conn != 0).then_some(ConnId { log, conn: record.conn, forked })
    }
}

/// An index into the open connections.
pub(crate) type Index = u32;

/// The locks of the open connections, by index.
pub(crate) trait OpenLocks {
    /// The connection with this index and its locks; `None` if it is closed.
    fn locks(&mut self, index: Index) -> Option<(ConnId, &mut Locks)>;
}

/// Stands for an unknown instant.
pub(crate) const NEVER: Instant = Instant::MAX;

/// A hold, as its beginning shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Hold {
    /// The call that took the lock began then: the lock was not held before.
    pub asked: Instant,
    /// That call had returned then: the lock was certainly held from then on. [`NEVER`] if unknown.
    pub from: Instant,
    /// The thread that took the lock.
    pub tid: u32,
    /// The statement that ran then; 0 = none, or unknown.
    pub sql: u64,
    /// The record of the call that took the lock. If that call was not seen, the record that showed the hold.
    pub number: u64,
    /// The call that took the lock was seen.
    pub seen: bool,
    /// The number of the first refused attempt that names this hold, plus one; 0 = none. Needed if the hold comes into doubt.
    pub refused: u32,
    /// Another record contradicts this hold: it ended at an unknown instant.
    pub doubted: bool,
}

/// How a hold ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldEnd {
    /// This record released the lock. Its call began at this instant.
    Released(Instant, u64),
    /// The release was not seen. This record shows that the hold was over at this instant at the latest.
    Unseen(Instant, u64),
    /// The lock was held to the end of the trace, or of its process.
    Open,
}

impl HoldEnd {
    /// The record that ended the hold or showed its end; `None` if the hold is open.
    pub fn number(self) -> Option<u64> {
        match self {
            HoldEnd::Released(_, number) | HoldEnd::Unseen(_, number) => Some(number),
            HoldEnd::Open => None,
        }
    }
}

/// When a hold ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Release {
    /// At a call that began and ended at these instants; the second is [`NEVER`] if unknown.
    Seen(Instant, Instant),
    /// Between these two instants: the call that released the lock was not recorded.
    Unseen(Instant, Instant),
}

impl Release {
    /// The end of a hold that the record with this number ended, or showed to have ended.
    #[inline]
    pub(crate) fn by(self, number: u64) -> HoldEnd {
        match self {
            Release::Seen(at, _) => HoldEnd::Released(at, number),
            Release::Unseen(_, by) => HoldEnd::Unseen(by, number),
        }
    }
}

/// A change that a record shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Began(LockId, Hold),
    Ended(LockId, Hold, Release),
}

/// The locks of one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Locks {
    pub level: Level0,
    /// The levels that have a hold: bit *i* is level *i* + 1.
    pub levels: u8,
    pub shared: u8,
    pub exclusive: u8,
    by_level: [Hold; 4],
    by_slot: [Hold; 8],
    /// When the call of its last record with the lock state ended. The record of a sleep carries none, since the connection may hold less by
    /// then.
    pub last: Instant,
}

/// A level, `NONE` by default.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Level0(pub Level);

impl Default for Level0 {
    fn default() -> Level0 {
        Level0(Level::NONE)
    }
}

/// Whether a record of this kind carries the connection's lock state.
fn carries_lock_state(record: &Record) -> bool {
    match record.kind.known() {
        Some(Known::Lock | Known::Unlock | Known::CheckReserved | Known::ShmLock | Known::ShmMap | Known::ShmUnmap) => true,
        Some(Known::Open | Known::Close) => closes_all(record),
        Some(Known::Sync | Known::Sleep | Known::Delete | Known::CkptStart | Known::CkptDone | Known::Wrote | Known::Handle)
        | None => false,
    }
}

/// Whether this record opens or closes the database file itself. Nothing is held afterwards. Opening or closing the WAL file changes nothing.
fn closes_all(record: &Record) -> bool {
    matches!(record.kind, Kind::OPEN | Kind::CLOSE)
        && !matches!(record.file_kind, FileKind::WAL | FileKind::JOURNAL | FileKind::SHM)
}

/// The lock state in a record: before its call, and after it.
struct LockState {
    before: Level,
    after: Level,
    /// The slots held SHARED, and the slots held EXCLUSIVE.
    shared: u8,
    exclusive: u8,
    /// The slots that the call asked to release.
    ended_here: u8,
    /// The slots that the call asked to take.
    began_here: u8,
    /// The slots that the call took. None if the recorder marked the call as redundant.
    takes: u8,
}

impl LockState {
    #[inline]
    fn by(record: &Record) -> LockState {
        let level = |level: Level| Level(level.0.min(Level::EXCLUSIVE.0));
        let (before, after) = (level(record.before), level(record.after));
        let (exclusive, shared) = (record.shm_exclusive, record.shm_shared & !record.shm_exclusive);
        let state = LockState { before, after, shared, exclusive, ended_here: 0, began_here: 0, takes: 0 };
        match record.kind.known() {
            Some(Known::ShmLock) => {
                let asked = slot_mask(record.shm_offset, record.shm_n);
                if record.flags.has(Flags::SHM_UNLOCK) {
                    return LockState { ended_here: asked, ..state };
                }
                let in_earnest = record.rc.is_ok() && !record.flags.has(Flags::REDUNDANT);
                LockState { began_here: asked, takes: if in_earnest { asked } else { 0 }, ..state }
            }
            Some(Known::ShmUnmap) => LockState { ended_here: 0xff, ..state },
            // Nothing is held after these.
            Some(Known::Open) => LockState { before: Level::NONE, after: Level::NONE, shared: 0, exclusive: 0, ..state },
            Some(Known::Close) => LockState { after: Level::NONE, shared: 0, exclusive: 0, ended_here: 0xff, ..state },
            Some(
                Known::Lock | Known::Unlock | Known::CheckReserved | Known::ShmMap | Known::Sync | Known::Sleep | Known::Delete,
            ) => state,
            Some(Known::CkptStart | Known::CkptDone | Known::Wrote | Known::Handle) | None => state,
        }
    }
}

impl Locks {
    /// Follows one record, whose call began and ended at these instants. Adds the changes to `out`.
    #[inline]
    pub(crate) fn apply(&mut self, (start, end): (Instant, Instant), number: u64, record: &Record, out: &mut Vec<Change>) {
        if !carries_lock_state(record) {
            return;
        }
        let state = LockState::by(record);
        // The call takes slots that the connection seems to hold already: the call that released them in between was not recorded.
        let again = state.takes & (self.shared | self.exclusive);
        let slots = (state.shared ^ self.shared) | (state.exclusive ^ self.exclusive) | again;
        if slots != 0 || state.before != self.level.0 || state.after != self.level.0 {
            self.moved(&state, slots, (start, end), number, record, out);
        }
        self.last = self.last.max(end);
    }

    /// Follows a record that shows another level, or another state of these slots.
    fn moved(
        &mut self,
        state: &LockState,
        slots: u8,
        (start, end): (Instant, Instant),
        number: u64,
        record: &Record,
        out: &mut Vec<Change>,
    ) {
        let gone = if record.flags.has(Flags::ONE_CLOCK) { NEVER } else { end };
        let hold =
            Hold { asked: start, from: gone, tid: record.tid, sql: record.sql, number, seen: true, refused: 0, doubted: false };
        let released = Release::Seen(start, gone);
        let unseen = Release::Unseen(self.last.min(start), start);
        let began_unseen =
            Hold { asked: self.last.min(start), from: start, tid: 0, sql: 0, number, seen: false, refused: 0, doubted: false };
        if state.before != self.level.0 {
            self.set_level(state.before, &began_unseen, unseen, out);
        }
        if state.after != self.level.0 {
            // The level falls to one that has no hold: the call that took it was not seen.
            let how = if state.after < self.level.0 { &began_unseen } else { &hold };
            self.set_level(state.after, how, released, out);
        }

        let mut left = slots;
        while left != 0 {
            let slot = left.trailing_zeros() as u8;
            let bit = 1 << slot;
            left &= !bit;
            if (self.shared | self.exclusive) & bit != 0 {
                let how = if state.ended_here & bit != 0 { released } else { unseen };
                out.push(Change::Ended(LockId::shm(slot, self.exclusive & bit != 0), self.by_slot[usize::from(slot)], how));
            }
            if (state.shared | state.exclusive) & bit != 0 {
                let how = if state.began_here & bit != 0 { hold } else { began_unseen };
                self.by_slot[usize::from(slot)] = how;
                out.push(Change::Began(LockId::shm(slot, state.exclusive & bit != 0), how));
            }
        }
        (self.shared, self.exclusive) = (state.shared, state.exclusive);
    }

    #[inline]
    fn set_level(&mut self, to: Level, hold: &Hold, end: Release, out: &mut Vec<Change>) {
        if to < self.level.0 {
            for level in (to.0 + 1..=self.level.0.0).rev() {
                if self.levels & (1 << (level - 1)) != 0 {
                    self.levels &= !(1 << (level - 1));
                    out.push(Change::Ended(LockId::file(Level(level)), self.by_level[usize::from(level - 1)], end));
                }
            }
        }
        // The level can fall to one that it had skipped on the way up.
        if to != Level::NONE && self.levels & (1 << (to.0 - 1)) == 0 {
            self.levels |= 1 << (to.0 - 1);
            self.by_level[usize::from(to.0 - 1)] = *hold;
            out.push(Change::Began(LockId::file(to), *hold));
        }
        self.level.0 = to;
    }

    /// The connection's hold of this lock, or what is left of the last one.
    pub(crate) fn hold(&mut self, lock: LockId) -> &mut Hold {
        match lock.slot() {
            Some(slot) => &mut self.by_slot[usize::from(slot.0 & 7)],
            None => &mut self.by_level[lock.index() & 3],
        }
    }

    /// Whether the connection holds this lock now.
    pub(crate) fn has(&self, lock: LockId) -> bool {
        match (lock.level(), lock.slot()) {
            (Some(level), _) => self.levels & (1 << (level.0 - 1)) != 0,
            (_, Some(slot)) => (if lock.is_exclusive_slot() { self.exclusive } else { self.shared }) & (1 << slot.0) != 0,
            _ => false,
        }
    }

    /// Every hold that the connection has now.
    pub(crate) fn held(&self) -> impl Iterator<Item = (LockId, Hold)> + '_ {
        let levels = (1..=4u8).filter(|level| self.levels & (1 << (level - 1)) != 0);
        let levels = levels.map(|level| (LockId::file(Level(level)), self.by_level[usize::from(level - 1)]));
        let slots = (0..8u8).filter(|slot| (self.shared | self.exclusive) & (1 << slot) != 0);
        levels.chain(slots.map(|slot| (LockId::shm(slot, self.exclusive & (1 << slot) != 0), self.by_slot[usize::from(slot)])))
    }
}
