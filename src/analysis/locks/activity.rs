//! The activity of a connection while it holds a lock: what it synced, copied, deleted and wrote, and which statements ran.
//!
//! The sums only grow. What happened *during* a hold is the difference between two sums. So holds that nobody follows cost nothing.
#![forbid(unsafe_code)]

use crate::analysis::locks::lock::{LockId, only_readers};
use shim::event::{FileKind, Flags, Kind, KnownKind as Known, Level, Slot, slot_mask};
use shim::format::record::Record;

/// Sums over all records of a connection, from its first record on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ActivitySums {
    /// The connection's records.
    pub records: u64,
    /// Checkpoints that began to copy.
    pub copies: u32,
    /// Those of them that were automatic: no statement had asked for them.
    pub automatic: u32,
    /// How often the connection took RECOVER to rebuild the wal-index.
    pub recoveries: u32,
    /// Bytes written to the database, the journal and the WAL.
    pub wrote: [u64; 3],
}

impl ActivitySums {
    /// What was added since the sums were `base`.
    pub fn since(&self, base: &ActivitySums) -> ActivitySums {
        ActivitySums {
            records: self.records.wrapping_sub(base.records),
            copies: self.copies.wrapping_sub(base.copies),
            automatic: self.automatic.wrapping_sub(base.automatic),
            recoveries: self.recoveries.wrapping_sub(base.recoveries),
            wrote: std::array::from_fn(|i| self.wrote[i].wrapping_sub(base.wrote[i])),
        }
    }
}

/// How a connection locked all others out of the database file, and what it did then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExclusiveUse {
    /// The connection asked for EXCLUSIVE straight from SHARED. No writer does that.
    pub from_shared: bool,
    /// EXCLUSIVE was granted at once. Otherwise the connection was left with PENDING.
    pub granted: bool,
    /// The connection's previous call was `xCheckReservedLock`: it looked for a hot journal.
    pub checked: bool,
    /// The connection was in WAL mode.
    pub wal: bool,
    /// The connection held a reader's slot when it took EXCLUSIVE.
    pub reading: bool,
    /// The connection asked for EXCLUSIVE again.
    pub again: bool,
    /// The connection released the reader's slot and kept EXCLUSIVE, or opened the WAL while it held EXCLUSIVE.
    pub outlived: bool,
    /// The connection deleted the wal-index.
    pub unmapped: bool,
    /// The connection deleted a journal.
    pub deleted_journal: bool,
}

/// The kind of a stretch of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Work {
    /// `xSync` of the database file: the end of a commit's writing, or of a checkpoint's.
    SyncDatabase,
    /// `xSync` of another file.
    #[default]
    Sync,
    /// Copying the WAL into the database.
    Copy,
    /// Deleting a journal or a WAL.
    Delete,
}

/// A stretch of work: its kind, its start and its end.
pub type Stretch = (Work, u64, u64);

/// How many of the latest stretches are kept.
const REMEMBERED: usize = 12;

/// The activity of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Activity {
    pub totals: ActivitySums,
    /// The sums when the hold of each `kind` began.
    marks: [ActivitySums; 4],
    /// The number of the connection's last record.
    pub number: u64,
    /// The kind of its last record.
    last: Option<Kind>,
    /// The record from which on its earlier activity is known: its last one or, if that one released a lock, the one before.
    known: u64,
    /// `known` and the kind of the record before the last one.
    previous: Option<(u64, Kind)>,
    /// `known` and the kind of the record before the connection began to read.
    pub before_reading: Option<(u64, Kind)>,
    /// Its last records only took and released readers' slots or SHARED.
    reading: bool,
    /// The statement for which they did.
    reading_sql: u64,
    /// The thread of the last record.
    pub tid: u32,
    /// The statement seen last.
    pub sql: u64,
    /// When that statement was seen.
    pub sql_at: u64,
    pub exclusive_use: ExclusiveUse,
    /// When its last record's call ended.
    pub at: u64,
    /// Its latest stretches of work, as a ring.
    stretches: [Stretch; REMEMBERED],
    /// The index in `stretches` that is overwritten next.
    next: usize,
    /// Its last call on the database file was `xCheckReservedLock`.
    pub checked: bool,
    copying_since: u64,
    /// No statement ran when it took the X CKPT that it holds.
    automatic: bool,
}

/// The kind of a hold, 0 to 3. Of each kind a connection has at most one hold that matters here.
fn kind(lock: LockId) -> usize {
    match (lock.level(), lock.slot()) {
        (Some(Level::SHARED), _) => 0,
        (Some(Level::RESERVED), _) | (_, Some(Slot::WRITE)) => 1,
        (Some(_), _) => 2,
        (_, Some(slot)) if slot.is_read() && !lock.is_exclusive_slot() => 0,
        _ => 3,
    }
}

/// Whether the connection's last call on the database file was `xCheckReservedLock`, after a record of this kind.
pub(crate) fn has_checked(before: bool, kind: Kind) -> bool {
    match kind.known() {
        Some(Known::CheckReserved) => true,
        Some(Known::Handle) => before,
        Some(Known::Open | Known::Close | Known::Lock | Known::Unlock | Known::ShmLock | Known::ShmMap | Known::ShmUnmap) => false,
        Some(Known::Sync | Known::Sleep | Known::Delete | Known::CkptStart | Known::CkptDone | Known::Wrote) | None => false,
    }
}

impl Activity {
    /// Follows one record, whose call began and ended at these instants.
    #[inline]
    pub(crate) fn record(&mut self, record: &Record, number: u64, start: u64, end: u64) {
        self.previous = self.last.map(|kind| (self.known, kind));
        let releases = record.kind == Kind::UNLOCK || (record.kind == Kind::SHM_LOCK && record.flags.has(Flags::SHM_UNLOCK));
        self.known = if releases { self.number } else { number };
        self.reads(record, releases);
        (self.number, self.last) = (number, Some(record.kind));
        self.tid = record.tid;
        self.at = end;
        if record.sql != 0 {
            (self.sql, self.sql_at) = (record.sql, start);
        }
        self.totals.records += 1;
        self.work(record, start, end);
        if record.after >= Level::PENDING {
            self.follow_exclusive_use(record);
        }
        self.checked = has_checked(self.checked, record.kind);
    }

    /// Notes whether the connection begins to read. One statement may take several readers' slots, one after the other, until it reads. Its
    /// earlier activity is what came before all of them.
    #[inline]
    fn reads(&mut self, record: &Record, releases: bool) {
        let slots = if record.kind == Kind::SHM_LOCK { slot_mask(record.shm_offset, record.shm_n) } else { 0 };
        let of_readers = only_readers(slots);
        if (of_readers && !releases) || (record.kind == Kind::LOCK && record.requested == Level::SHARED) {
            if !self.reading || record.sql == 0 || record.sql != self.reading_sql {
                (self.before_reading, self.reading_sql) = (self.previous, record.sql);
            }
            self.reading = true;
        } else if !of_readers {
            self.reading = false;
        }
    }

    #[inline]
    fn work(&mut self, record: &Record, start: u64, end: u64) {
        match record.kind.known() {
            Some(Known::Sync) => {
                let database = record.file_kind == FileKind::DATABASE;
                self.worked(if database { Work::SyncDatabase } else { Work::Sync }, start, end);
            }
            Some(Known::Delete) => self.worked(Work::Delete, start, end),
            Some(Known::CkptStart) => {
                self.totals.copies += 1;
                self.totals.automatic += u32::from(self.automatic);
                self.copying_since = end;
            }
            Some(Known::CkptDone) if self.copying_since != 0 => {
                self.worked(Work::Copy, self.copying_since, start);
                self.copying_since = 0;
            }
            Some(Known::Wrote) => {
                let file = match record.file_kind {
                    FileKind::JOURNAL => 1,
                    FileKind::WAL => 2,
                    _ => 0,
                };
                self.totals.wrote[file] = self.totals.wrote[file].wrapping_add(record.arg);
            }
            Some(Known::Open | Known::Close | Known::Lock | Known::Unlock | Known::CheckReserved | Known::ShmLock) => {}
            Some(Known::ShmMap | Known::ShmUnmap | Known::Sleep | Known::CkptDone | Known::Handle) | None => {}
        }
    }

    /// The stretch of work that the connection's last record ended. The call of that record began at `start`.
    pub(crate) fn just_worked(&self, start: u64) -> Option<Stretch> {
        let latest = self.stretches[(self.next + REMEMBERED - 1) % REMEMBERED];
        let ended = match self.last?.known()? {
            Known::Sync => matches!(latest.0, Work::Sync | Work::SyncDatabase),
            Known::Delete => latest.0 == Work::Delete,
            Known::CkptDone => latest.0 == Work::Copy && latest.2 == start,
            Known::Open | Known::Close | Known::Lock | Known::Unlock | Known::CheckReserved | Known::ShmLock | Known::ShmMap => {
                false
            }
            Known::ShmUnmap | Known::Sleep | Known::CkptStart | Known::Wrote | Known::Handle => false,
        };
        ended.then_some(latest)
    }

    fn worked(&mut self, work: Work, from: u64, to: u64) {
        self.stretches[self.next % REMEMBERED] = (work, from, to);
        self.next = (self.next + 1) % REMEMBERED;
    }

    /// The kept stretches of work that began at this instant or later, in time order.
    pub(crate) fn worked_since(&self, since: u64) -> impl Iterator<Item = Stretch> + '_ {
        let (late, early) = self.stretches.split_at(self.next % REMEMBERED);
        early.iter().chain(late).copied().filter(move |stretch| stretch.1 >= since && stretch.2 != 0)
    }

    /// Follows a record while the connection locks all others out of the database file.
    #[cold]
    fn follow_exclusive_use(&mut self, record: &Record) {
        let exclusive = &mut self.exclusive_use;
        let file = record.file_kind;
        match record.kind.known() {
            Some(Known::Lock) => exclusive.again |= record.rc.is_ok() && record.before >= Level::EXCLUSIVE,
            Some(Known::ShmLock) => {
                exclusive.outlived |= exclusive.reading && record.shm_shared == 0 && record.after == Level::EXCLUSIVE
            }
            Some(Known::Open) => exclusive.outlived |= file == FileKind::WAL && exclusive.from_shared,
            Some(Known::ShmUnmap) => exclusive.unmapped |= record.arg != 0,
            Some(Known::Delete) => exclusive.deleted_journal |= file == FileKind::JOURNAL,
            Some(Known::Close | Known::Unlock | Known::CheckReserved | Known::ShmMap | Known::Sync | Known::Sleep) => {}
            Some(Known::CkptStart | Known::CkptDone | Known::Wrote | Known::Handle) | None => {}
        }
    }

    /// Notes that a hold of this lock began with this record.
    #[inline]
    pub(crate) fn began(&mut self, lock: LockId, record: &Record, checked: bool, wal: bool) {
        let kind = kind(lock);
        self.marks[kind] = self.totals;
        if lock.level().is_some_and(|level| level >= Level::PENDING) && record.before < Level::PENDING {
            self.exclusive_use = ExclusiveUse {
                from_shared: record.before <= Level::SHARED,
                granted: record.rc.is_ok(),
                checked,
                wal,
                reading: record.shm_shared != 0,
                ..ExclusiveUse::default()
            };
        } else if lock.slot() == Some(Slot::CKPT) {
            self.automatic = record.sql == 0;
        } else if lock.slot() == Some(Slot::RECOVER) && lock.is_exclusive_slot() {
            self.totals.recoveries += 1;
        }
    }

    /// The kind of the record before the last one, and the record number from which on it is known.
    pub(crate) fn previous(&self) -> Option<(u64, Kind)> {
        self.previous
    }

    /// The sums when the connection's present hold of this lock began.
    pub(crate) fn mark(&self, lock: LockId) -> ActivitySums {
        self.marks[kind(lock)]
    }
}
