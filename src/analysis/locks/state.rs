//! The lock state of one connection, record by record: which holds begin and end.
//!
//! Every record carries its connection's whole lock state, so a lost record shows as a difference. Then the hold *ended unseen* or *began unseen*, and its
//! instant is not guessed.
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
    /// The log it recorded into.
    pub log: LogId,
    /// Its number in the process that opened it.
    pub conn: u32,
    /// It was opened by another process, and came here by a `fork()`.
    pub forked: bool,
}

impl ConnId {
    /// The connection a record is about; `None` where it does not say.
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
    /// The connection with this index and its locks; `None` where it is closed.
    fn locks(&mut self, index: Index) -> Option<(ConnId, &mut Locks)>;
}

/// The instant from which on a lock was held, where that is not known.
pub(crate) const NEVER: Instant = Instant::MAX;

/// A hold, as its beginning shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Hold {
    /// It was not held before this instant: the call began then.
    pub asked: Instant,
    /// It was certainly held from this instant on: the call had returned. [`NEVER`] where that is not known.
    pub from: Instant,
    /// The thread that took it.
    pub tid: u32,
    /// The statement that ran then; 0 = none, or not known.
    pub sql: u64,
    /// The record of the call that took it; where that was not seen, of the one that showed it.
    pub number: u64,
    /// The call that took it was seen.
    pub seen: bool,
    /// The first refused attempt that names it, plus one; kept for when it comes into doubt.
    pub refused: u32,
    /// Something contradicts it: it ended at an unknown instant.
    pub doubted: bool,
}

/// How a hold ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldEnd {
    /// By this record, whose call began then.
    Released(Instant, u64),
    /// Unseen: it was over by then at the latest, as this record shows.
    Unseen(Instant, u64),
    /// It was held to the end of the trace, or of its process.
    Open,
}

impl HoldEnd {
    /// The record that ended the hold or showed its end; `None` where it is open.
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
    /// By a call that began and ended then; the second is [`NEVER`] where it is not known.
    Seen(Instant, Instant),
    /// Between this instant and that one: the call that ended it was not recorded.
    Unseen(Instant, Instant),
}

impl Release {
    /// The end of the hold that this record released, or showed to be released.
    #[inline]
    pub(crate) fn by(self, number: u64) -> HoldEnd {
        match self {
            Release::Seen(at, _) => HoldEnd::Released(at, number),
            Release::Unseen(_, by) => HoldEnd::Unseen(by, number),
        }
    }
}

/// What a record changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Began(LockId, Hold),
    Ended(LockId, Hold, Release),
}

/// One connection's locks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Locks {
    pub level: Level0,
    /// Levels with a hold: bit *i* is level *i* + 1.
    pub levels: u8,
    pub shared: u8,
    pub exclusive: u8,
    by_level: [Hold; 4],
    by_slot: [Hold; 8],
    /// The end of its last record that carries the lock state. The record of a sleep carries none: by then the connection may hold less.
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
fn tells_state(record: &Record) -> bool {
    match record.kind.known() {
        Some(Known::Lock | Known::Unlock | Known::CheckReserved | Known::ShmLock | Known::ShmMap | Known::ShmUnmap) => true,
        Some(Known::Open | Known::Close) => closes_all(record),
        Some(Known::Sync | Known::Sleep | Known::Delete | Known::CkptStart | Known::CkptDone | Known::Wrote | Known::Handle)
        | None => false,
    }
}

/// Opening or closing the database file itself: nothing is held afterwards. Opening or closing the WAL file changes nothing.
fn closes_all(record: &Record) -> bool {
    matches!(record.kind, Kind::OPEN | Kind::CLOSE)
        && !matches!(record.file_kind, FileKind::WAL | FileKind::JOURNAL | FileKind::SHM)
}

/// The lock state in a record: before its call, and after it.
struct LockState {
    before: Level,
    after: Level,
    /// Slots held SHARED, and those held EXCLUSIVE.
    shared: u8,
    exclusive: u8,
    /// Slots that the call was seen to release, to take, and to take though it did not hold them.
    ended_here: u8,
    began_here: u8,
    takes: u8,
}

impl LockState {
    #[inline]
    fn by(record: &Record) -> LockState {
        let level = |level: Level| Level(level.0.min(Level::EXCLUSIVE.0));
        let (before, after) = (level(record.before), level(record.after));
        let (exclusive, shared) = (record.shm_exclusive, record.shm_shared & !record.shm_exclusive);
        let told = LockState { before, after, shared, exclusive, ended_here: 0, began_here: 0, takes: 0 };
        match record.kind.known() {
            Some(Known::ShmLock) => {
                let asked = slot_mask(record.shm_offset, record.shm_n);
                if record.flags.has(Flags::SHM_UNLOCK) {
                    return LockState { ended_here: asked, ..told };
                }
                let in_earnest = record.rc.is_ok() && !record.flags.has(Flags::REDUNDANT);
                LockState { began_here: asked, takes: if in_earnest { asked } else { 0 }, ..told }
            }
            Some(Known::ShmUnmap) => LockState { ended_here: 0xff, ..told },
            // Nothing is held after these.
            Some(Known::Open) => LockState { before: Level::NONE, after: Level::NONE, shared: 0, exclusive: 0, ..told },
            Some(Known::Close) => LockState { after: Level::NONE, shared: 0, exclusive: 0, ended_here: 0xff, ..told },
            Some(
                Known::Lock | Known::Unlock | Known::CheckReserved | Known::ShmMap | Known::Sync | Known::Sleep | Known::Delete,
            ) => told,
            Some(Known::CkptStart | Known::CkptDone | Known::Wrote | Known::Handle) | None => told,
        }
    }
}

impl Locks {
    /// Follows one record, whose call began and ended then. The changes are added to `out`.
    #[inline]
    pub(crate) fn apply(&mut self, (start, end): (Instant, Instant), number: u64, record: &Record, out: &mut Vec<Change>) {
        if !tells_state(record) {
            return;
        }
        let told = LockState::by(record);
        // It takes what it seems to hold already: the call that released it in between was not recorded.
        let again = told.takes & (self.shared | self.exclusive);
        let slots = (told.shared ^ self.shared) | (told.exclusive ^ self.exclusive) | again;
        if slots != 0 || told.before != self.level.0 || told.after != self.level.0 {
            self.moved(&told, slots, (start, end), number, record, out);
        }
        self.last = self.last.max(end);
    }

    /// The levels differ, or these slots do.
    fn moved(
        &mut self,
        told: &LockState,
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
        if told.before != self.level.0 {
            self.set_level(told.before, &began_unseen, unseen, out);
        }
        if told.after != self.level.0 {
            // A level to which it falls was held before: the call that took it was not seen.
            let how = if told.after < self.level.0 { &began_unseen } else { &hold };
            self.set_level(told.after, how, released, out);
        }

        let mut left = slots;
        while left != 0 {
            let slot = left.trailing_zeros() as u8;
            let bit = 1 << slot;
            left &= !bit;
            if (self.shared | self.exclusive) & bit != 0 {
                let how = if told.ended_here & bit != 0 { released } else { unseen };
                out.push(Change::Ended(LockId::shm(slot, self.exclusive & bit != 0), self.by_slot[usize::from(slot)], how));
            }
            if (told.shared | told.exclusive) & bit != 0 {
                let how = if told.began_here & bit != 0 { hold } else { began_unseen };
                self.by_slot[usize::from(slot)] = how;
                out.push(Change::Began(LockId::shm(slot, told.exclusive & bit != 0), how));
            }
        }
        (self.shared, self.exclusive) = (told.shared, told.exclusive);
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
        // A fall can end at a level that was jumped over on the way up.
        if to != Level::NONE && self.levels & (1 << (to.0 - 1)) == 0 {
            self.levels |= 1 << (to.0 - 1);
            self.by_level[usize::from(to.0 - 1)] = *hold;
            out.push(Change::Began(LockId::file(to), *hold));
        }
        self.level.0 = to;
    }

    /// One of its holds.
    pub(crate) fn hold(&mut self, lock: LockId) -> &mut Hold {
        match lock.slot() {
            Some(slot) => &mut self.by_slot[usize::from(slot.0 & 7)],
            None => &mut self.by_level[lock.index() & 3],
        }
    }

    /// Whether it holds this now.
    pub(crate) fn has(&self, lock: LockId) -> bool {
        match (lock.level(), lock.slot()) {
            (Some(level), _) => self.levels & (1 << (level.0 - 1)) != 0,
            (_, Some(slot)) => (if lock.is_exclusive_slot() { self.exclusive } else { self.shared }) & (1 << slot.0) != 0,
            _ => false,
        }
    }

    /// Every hold it has now.
    pub(crate) fn held(&self) -> impl Iterator<Item = (LockId, Hold)> + '_ {
        let levels = (1..=4u8).filter(|level| self.levels & (1 << (level - 1)) != 0);
        let levels = levels.map(|level| (LockId::file(Level(level)), self.by_level[usize::from(level - 1)]));
        let slots = (0..8u8).filter(|slot| (self.shared | self.exclusive) & (1 << slot) != 0);
        levels.chain(slots.map(|slot| (LockId::shm(slot, self.exclusive & (1 << slot) != 0), self.by_slot[usize::from(slot)])))
    }
}
