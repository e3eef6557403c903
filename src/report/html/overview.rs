//! The first pass for the page: as much of a trace of any length as fits.
//!
//! It keeps a row for each connection, with the share of time for which each kind of lock was held, and the longest holds. For each database it keeps how
//! long the writer's lock was held, how many connections read, and how large the -wal was. While there are few pieces, all are kept, and the page
//! needs no second pass. The numbers below and the processes of the trace bound the memory.
#![forbid(unsafe_code)]

use super::bins::{Peaks, Scale, Shares};
use super::time::Timebase;
use crate::analysis::locks::activity::Work;
use crate::analysis::observer::{ObservedHold, Observer, Worked};
use crate::analysis::{ConnId, HoldEnd, Instant, LockId, Request};
use crate::trace::{Event, LogId, Trace};
use shim::event::{Level, Slot};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// How many holds and stretches of work a page shows one by one.
pub(super) const PIECES: usize = 60_000;
/// How many connections have a row of their own. All further connections of a process share one row.
const ROWS: usize = 4_000;
/// How many rows have shares of time.
const DENSE: usize = 2_000;
/// How many of the longest pieces are kept for each row.
const LONGEST: usize = 16;
/// How many databases have curves.
const DATABASES: usize = 64;

/// The number of kinds of lock. Each kind has one colour.
pub(super) const KINDS: usize = 5;

/// What a piece shows: a lock, or, after all locks, a kind of work.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct What(pub(super) u8);

impl What {
    /// A lock.
    pub(super) fn lock(lock: LockId) -> What {
        What(lock.index() as u8)
    }

    fn work(work: Work) -> What {
        let code = match work {
            Work::SyncDatabase => 0,
            Work::Sync => 1,
            Work::Copy => 2,
            Work::Delete => 3,
        };
        What(LockId::COUNT as u8 + code)
    }
}

/// The kind of a lock: 0 reads, 1 writes, 2 locks all others out, 3 checkpoints, 4 recovers or moves a reader's mark.
pub(super) fn kind(lock: LockId) -> usize {
    match (lock.level(), lock.slot()) {
        (Some(Level::SHARED), _) => 0,
        (Some(Level::RESERVED), _) | (_, Some(Slot::WRITE)) => 1,
        (Some(_), _) => 2,
        (_, Some(Slot::CKPT)) => 3,
        (_, Some(Slot::RECOVER)) => 4,
        _ if lock.is_exclusive_slot() => 4,
        _ => 0,
    }
}

/// One hold or one stretch of work.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Piece {
    pub(super) row: u32,
    pub(super) since: u64,
    pub(super) until: u64,
    pub(super) what: What,
    /// Bits: 1 the beginning was not seen, 2 the end was not seen, 4 open at the end of the trace, 8 a connection's SHARED lock for life.
    pub(super) flags: u8,
    pub(super) tid: u32,
    pub(super) sql: u64,
    pub(super) number: u64,
    pub(super) end_number: Option<u64>,
}

impl Piece {
    /// The length of the piece.
    pub(super) fn length(&self) -> u64 {
        self.until.saturating_sub(self.since)
    }
}

/// The owner of a row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum RowOwner {
    /// One connection.
    Connection(ConnId),
    /// All connections of a process that appeared after `ROWS` rows were in use.
    Rest(LogId),
}

/// A row of the timeline.
pub(super) struct Row {
    pub(super) owner: RowOwner,
    pub(super) db: Option<u32>,
    /// The thread seen first.
    pub(super) tid: u32,
    pub(super) holds: u64,
    /// The time in holds. Several locks at once count several times.
    pub(super) held: u64,
    pub(super) shares: [Option<Box<Shares>>; KINDS],
    longest: BinaryHeap<Reverse<(u64, Piece)>>,
}

impl Row {
    fn new(owner: RowOwner, db: Option<u32>, tid: u32) -> Row {
        Row { owner, db, tid, holds: 0, held: 0, shares: Default::default(), longest: BinaryHeap::new() }
    }

    /// The row's log.
    pub(super) fn log(&self) -> LogId {
        match self.owner {
            RowOwner::Connection(who) => who.log,
            RowOwner::Rest(log) => log,
        }
    }
}

/// The curves of one database.
#[derive(Default)]
pub(super) struct Curves {
    /// The time for which WRITE or RESERVED was held.
    pub(super) writing: Shares,
    /// The time in reads. Several at once count several times.
    pub(super) reading: Shares,
    /// The bytes written to the -wal since its log last restarted.
    pub(super) wal: Peaks,
    pub(super) has_wal: bool,
}

/// The observer of the first pass.
pub(super) struct Overview<'t, 'p> {
    pub(super) time: Timebase<'t>,
    pub(super) rows: Vec<Row>,
    index: HashMap<RowOwner, u32>,
    pub(super) scale: Option<Scale>,
    pub(super) until: u64,
    pub(super) curves: Vec<Curves>,
    /// All pieces, while they are few.
    pub(super) all: Option<Vec<Piece>>,
    /// The refused attempts.
    pub(super) refused: Shares,
    pub(super) holds: u64,
    pub(super) work: u64,
    /// How many pieces have no place on the axis: their log's clock does not show when they happened.
    pub(super) placeless: u64,
    pub(super) progress: &'p dyn Fn(),
}

impl<'t, 'p> Overview<'t, 'p> {
    pub(super) fn new(trace: &'t Trace, progress: &'p dyn Fn()) -> Overview<'t, 'p> {
        Overview {
            time: Timebase::new(trace),
            rows: Vec::new(),
            index: HashMap::new(),
            scale: None,
            until: 0,
            curves: Vec::new(),
            all: Some(Vec::new()),
            refused: Shares::default(),
            holds: 0,
            work: 0,
            placeless: 0,
            progress,
        }
    }

    /// The row of a connection, if it has one.
    pub(super) fn row(&self, who: ConnId) -> Option<u32> {
        let own = self.index.get(&RowOwner::Connection(who));
        own.or_else(|| self.index.get(&RowOwner::Rest(who.log))).copied()
    }

    /// The connection's own row, which is added if there is none.
    pub(super) fn own_row(&mut self, who: ConnId, db: Option<u32>, tid: u32) -> u32 {
        self.find(RowOwner::Connection(who), db, tid)
    }

    fn find(&mut self, owner: RowOwner, db: Option<u32>, tid: u32) -> u32 {
        let next = self.rows.len() as u32;
        let index = *self.index.entry(owner).or_insert(next);
        if index == next {
            self.rows.push(Row::new(owner, db, tid));
        }
        let row = &mut self.rows[index as usize];
        row.db = row.db.or(db);
        index
    }

    fn row_for(&mut self, who: ConnId, db: Option<u32>, tid: u32) -> u32 {
        match self.index.get(&RowOwner::Connection(who)) {
            Some(&row) => row,
            None if self.rows.len() < ROWS => self.find(RowOwner::Connection(who), db, tid),
            None => self.find(RowOwner::Rest(who.log), db, tid),
        }
    }

    /// The places of both ends on the axis.
    fn place(&mut self, log: LogId, since: Instant, until: Instant) -> Option<(u64, u64)> {
        let (Some(since), Some(until)) = (self.time.at(log, since), self.time.at(log, until)) else {
            self.placeless += 1;
            return None;
        };
        Some((since, until.max(since)))
    }

    /// Makes the bins reach from `since` to `until`, and returns their scale.
    fn reach(&mut self, since: u64, until: u64) -> Scale {
        self.until = self.until.max(until);
        let scale = self.scale.get_or_insert_with(|| Scale::new(since));
        scale.cover(until);
        *scale
    }

    fn keep(&mut self, piece: Piece) {
        if let Some(all) = &mut self.all {
            if all.len() < PIECES {
                all.push(piece);
            } else {
                self.all = None;
            }
        }
        let longest = &mut self.rows[piece.row as usize].longest;
        if longest.len() < LONGEST || longest.peek().is_some_and(|Reverse((least, _))| *least < piece.length()) {
            longest.push(Reverse((piece.length(), piece)));
            if longest.len() > LONGEST {
                longest.pop();
            }
        }
    }

    /// The longest pieces of a row.
    pub(super) fn longest(&self, row: u32) -> impl Iterator<Item = Piece> + '_ {
        self.rows[row as usize].longest.iter().map(|Reverse((_, piece))| *piece)
    }

    fn curves(&mut self, db: u32) -> Option<&mut Curves> {
        let index = db as usize;
        if index >= DATABASES {
            return None;
        }
        if self.curves.len() <= index {
            self.curves.resize_with(index + 1, Curves::default);
        }
        self.curves.get_mut(index)
    }
}

/// A hold as a piece of this row.
pub(super) fn held(row: u32, span: &ObservedHold, since: u64, until: u64) -> Piece {
    let end = match span.end {
        HoldEnd::Released(..) => 0,
        HoldEnd::Unseen(..) => 2,
        HoldEnd::Open => 4,
    };
    Piece {
        row,
        since,
        until,
        what: What::lock(span.lock),
        flags: u8::from(!span.seen) | end | u8::from(span.lifetime) << 3,
        tid: span.tid,
        sql: span.sql,
        number: span.number,
        end_number: span.end.number(),
    }
}

/// A stretch of work as a piece of this row.
pub(super) fn worked(row: u32, work: &Worked, since: u64, until: u64) -> Piece {
    let what = What::work(work.work);
    Piece { row, since, until, what, flags: 0, tid: work.tid, sql: 0, number: work.number, end_number: None }
}

impl Observer for Overview<'_, '_> {
    fn event(&mut self, event: &Event, _: Option<u32>) {
        (self.progress)();
        let record = &event.record;
        let refused = record.rc.is_busy() && Request::of(record).is_some_and(|request| !request.is_optional());
        // The bins begin at the first record, because an observer gets a hold only at its end.
        if (refused || self.scale.is_none())
            && let Some(at) = self.time.start(event.log, record)
        {
            let scale = self.reach(at, at);
            if refused {
                self.refused.happened(&scale, at);
            }
        }
    }

    fn hold(&mut self, span: &ObservedHold) {
        self.holds += u64::from(!span.lifetime);
        let Some((since, until)) = self.place(span.who.log, span.since, span.until) else { return };
        // A connection's SHARED lock for life only shows that its process was alive.
        let scale = self.reach(since, if span.lifetime { since } else { until });
        let index = self.row_for(span.who, Some(span.db), span.tid);
        if !span.lifetime {
            let kind = kind(span.lock);
            let row = &mut self.rows[index as usize];
            row.holds += 1;
            row.held = row.held.saturating_add(until - since);
            if (index as usize) < DENSE {
                row.shares[kind].get_or_insert_default().add(&scale, since, until);
            }
            if let Some(curves) = self.curves(span.db) {
                match kind {
                    0 => curves.reading.add(&scale, since, until),
                    1 => curves.writing.add(&scale, since, until),
                    _ => {}
                }
            }
        }
        self.keep(held(index, span, since, until));
    }

    fn work(&mut self, work: &Worked) {
        self.work += 1;
        if let Some((since, until)) = self.place(work.who.log, work.since, work.until) {
            self.reach(since, until);
            let row = self.row_for(work.who, work.db, work.tid);
            self.keep(worked(row, work, since, until));
        }
    }

    fn wal(&mut self, who: ConnId, db: u32, at: Instant, bytes: u64) {
        if let Some((_, at)) = self.place(who.log, at, at)
            && let scale = self.reach(at, at)
            && let Some(curves) = self.curves(db)
        {
            curves.wal.set(&scale, at, bytes);
            curves.has_wal = true;
        }
    }
}
