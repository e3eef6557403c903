//! The first pass: what of a trace of any length fits into a page.
//!
//! Input: every hold and stretch of work as the analysis finds it. Output: rows, one for each connection, with the share of time each kind of lock was held and
//! the longest holds; for each database how long its writer's lock was held, how many read, how large its -wal was. As long as there are few
//! pieces, all are kept, and the page needs no second pass. Memory: bounded by the numbers below, and by the processes of the trace.
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

/// Holds and stretches of work that a page shows one by one.
pub(super) const PIECES: usize = 60_000;
/// Connections with a row of their own; what others of a process do goes into one more row of that process.
const ROWS: usize = 4_000;
/// Rows whose share of time is kept.
const DENSE: usize = 2_000;
/// Longest pieces kept for each row.
const LONGEST: usize = 16;
/// Databases with curves.
const DATABASES: usize = 64;

/// Kinds of lock that are drawn in one colour.
pub(super) const KINDS: usize = 5;

/// What a piece is: a lock, or after all of them a kind of work.
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

/// The colour of a lock: 0 reads, 1 writes, 2 keeps everybody out, 3 checkpoints, 4 recovers or moves a reader's mark.
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
    /// Bits: 1 its beginning was not seen, 2 nor its end, 4 it was open at the end, 8 a connection's SHARED lock for life.
    pub(super) flags: u8,
    pub(super) tid: u32,
    pub(super) sql: u64,
    pub(super) number: u64,
    pub(super) end_number: Option<u64>,
}

impl Piece {
    /// How long it is.
    pub(super) fn length(&self) -> u64 {
        self.until.saturating_sub(self.since)
    }
}

/// Whose a row is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Whose {
    /// A connection's.
    Connection(ConnId),
    /// All connections' of a process that came when there were rows enough.
    Rest(LogId),
}

/// A row of the timeline.
pub(super) struct Row {
    pub(super) whose: Whose,
    pub(super) db: Option<u32>,
    /// The thread seen first.
    pub(super) tid: u32,
    pub(super) holds: u64,
    /// Time in them; several locks at once count several times.
    pub(super) held: u64,
    pub(super) shares: [Option<Box<Shares>>; KINDS],
    longest: BinaryHeap<Reverse<(u64, Piece)>>,
}

impl Row {
    fn new(whose: Whose, db: Option<u32>, tid: u32) -> Row {
        Row { whose, db, tid, holds: 0, held: 0, shares: Default::default(), longest: BinaryHeap::new() }
    }

    /// Its log.
    pub(super) fn log(&self) -> LogId {
        match self.whose {
            Whose::Connection(who) => who.log,
            Whose::Rest(log) => log,
        }
    }
}

/// The curves of one database.
#[derive(Default)]
pub(super) struct Curves {
    /// Time in which WRITE or RESERVED was held.
    pub(super) writing: Shares,
    /// Time in reads; several at once count several times.
    pub(super) reading: Shares,
    /// Bytes written to the -wal since it began anew.
    pub(super) wal: Peaks,
    pub(super) has_wal: bool,
}

/// See the module.
pub(super) struct Overview<'t, 'p> {
    pub(super) time: Timebase<'t>,
    pub(super) rows: Vec<Row>,
    index: HashMap<Whose, u32>,
    pub(super) scale: Option<Scale>,
    pub(super) until: u64,
    pub(super) curves: Vec<Curves>,
    /// All pieces, while they are few.
    pub(super) all: Option<Vec<Piece>>,
    /// Attempts that were refused.
    pub(super) refused: Shares,
    pub(super) holds: u64,
    pub(super) work: u64,
    /// Pieces of logs whose clock does not tell where they lie.
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
        let own = self.index.get(&Whose::Connection(who));
        own.or_else(|| self.index.get(&Whose::Rest(who.log))).copied()
    }

    /// The row of a connection: a new one, where it has none of its own.
    pub(super) fn own_row(&mut self, who: ConnId, db: Option<u32>, tid: u32) -> u32 {
        self.find(Whose::Connection(who), db, tid)
    }

    fn find(&mut self, whose: Whose, db: Option<u32>, tid: u32) -> u32 {
        let next = self.rows.len() as u32;
        let index = *self.index.entry(whose).or_insert(next);
        if index == next {
            self.rows.push(Row::new(whose, db, tid));
        }
        let row = &mut self.rows[index as usize];
        row.db = row.db.or(db);
        index
    }

    fn row_for(&mut self, who: ConnId, db: Option<u32>, tid: u32) -> u32 {
        match self.index.get(&Whose::Connection(who)) {
            Some(&row) => row,
            None if self.rows.len() < ROWS => self.find(Whose::Connection(who), db, tid),
            None => self.find(Whose::Rest(who.log), db, tid),
        }
    }

    /// Both ends on the axis.
    fn place(&mut self, log: LogId, since: Instant, until: Instant) -> Option<(u64, u64)> {
        let (Some(since), Some(until)) = (self.time.at(log, since), self.time.at(log, until)) else {
            self.placeless += 1;
            return None;
        };
        Some((since, until.max(since)))
    }

    /// The bins, which now reach from here to there.
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
        // Bins begin with the first record: holds are told when they end.
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
        // A connection's SHARED lock for life says that its process was there, not that anything happened.
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
