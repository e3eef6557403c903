//! The holds that stood in somebody's way: since when, until when, and what their connection did meanwhile.
//!
//! In come the holds that a refused attempt names, when it names them, and their ends; out go [`Holding`]s, one for each such hold, however many attempts it
//! refused. Called by the pass over the records; read by [`crate::analysis::incidents::incident`].
#![forbid(unsafe_code)]

use crate::analysis::locks::activity::{Activity, Alone, Stretch, Totals};
use crate::analysis::locks::commits::Commit;
use crate::analysis::locks::lock::LockId;
use crate::analysis::locks::state::{ConnId, Taken};
use crate::analysis::order::instants::Instant;
use locktrace::event::{Flags, Kind, Level, Slot};
use locktrace::format::record::Record;
use std::collections::HashMap;

/// How a hold ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// By this record, whose call began then.
    Released(Instant, Option<u64>),
    /// Nobody saw: it was over by then at the latest.
    Unseen(Instant),
    /// It was held to the end of the trace, or of its process.
    Open,
}

/// What is remembered of a hold that has ended, for an attempt that overlaps its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past {
    /// The statement that had made its connection a writer, where it locked readers out; 0 = none, or not known.
    pub writer: u64,
    /// How it came to do that.
    pub alone: Alone,
    /// The connection's level after it.
    pub level_after: Level,
    pub ending: Ending,
    /// The thread that gave it up.
    pub tid: u32,
}

/// A hold that refused somebody.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holding {
    /// Whose.
    pub who: ConnId,
    /// What.
    pub lock: LockId,
    /// When the call that took it began.
    pub since: Instant,
    /// The record of that call; where it was not seen, the record that showed the hold.
    pub number: u64,
    /// Whether it was seen.
    pub seen: bool,
    /// The statement that took it; 0 = none, or not known. Where a writer went on from RESERVED, the statement that took that: a COMMIT says little.
    pub sql: u64,
    /// The statement seen last while it was held.
    pub last_sql: u64,
    /// When that was seen.
    pub last_sql_at: Instant,
    /// The statement that ran when it was released; 0 = none, or not known.
    pub release_sql: u64,
    /// How it ended.
    pub ending: Ending,
    /// The connection's level on the database file after that.
    pub level_after: Level,
    /// What the connection did while it was held.
    pub did: Totals,
    /// Of a hold that locks everybody out of the database file: how it came about.
    pub alone: Alone,
    /// The stretches of work in it, in time order: the latest ones, where there were very many.
    pub work: Vec<Stretch>,
    /// Another statement of its connection took a lock while it was held.
    pub other_statement: bool,
    /// Its thread was seen at work on another connection while it was held.
    pub elsewhere: bool,
    /// It was watched: what its connection did meanwhile is known. Of one that had ended when it was first known to be in the way, it is not.
    pub watched: bool,
    base: Totals,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Holdings {
    pub(crate) all: Vec<Holding>,
    index: HashMap<(ConnId, LockId, Instant), u32>,
    live: HashMap<(ConnId, LockId), u32>,
    /// Places in `all` that are free again.
    free: Vec<u32>,
    /// How many were needed when those that were not were forgotten last.
    needed: usize,
}

/// Holds that are remembered in any case.
const MANY: usize = 16_384;

impl Holdings {
    /// The hold with this beginning.
    pub(crate) fn find(&self, who: ConnId, lock: LockId, since: Instant) -> Option<u32> {
        self.index.get(&(who, lock, since)).copied()
    }

    /// A refused attempt names a hold that is still there. Whether it was new.
    pub(crate) fn watch(&mut self, who: ConnId, lock: LockId, taken: &Taken, activity: &Activity) -> bool {
        let fresh = self.add(who, lock, taken, Ending::Open, activity.mark(lock));
        if let Some(number) = fresh {
            self.live.insert((who, lock), number);
        }
        fresh.is_some()
    }

    /// A refused attempt names a hold that had ended already.
    pub(crate) fn ended_before(&mut self, who: ConnId, lock: LockId, taken: &Taken, past: &Past) {
        let sql = if past.writer == 0 { taken.sql } else { past.writer };
        if let Some(number) = self.add(who, lock, &Taken { sql, ..*taken }, past.ending, Totals::default()) {
            let holding = &mut self.all[number as usize];
            (holding.alone, holding.level_after, holding.watched) = (past.alone, past.level_after, false);
        }
    }

    /// A WRITE hold that ended with a commit, and made somebody's snapshot stale.
    pub(crate) fn committed(&mut self, commit: &Commit) {
        let taken =
            Taken { asked: commit.since, tid: commit.tid, sql: commit.sql, number: commit.taken, seen: true, ..Taken::default() };
        let ending = Ending::Released(commit.at, Some(commit.number));
        if let Some(number) = self.add(commit.who, LockId::shm(Slot::WRITE.0, true), &taken, ending, Totals::default()) {
            self.all[number as usize].watched = false;
        }
    }

    /// Whether it is time to forget those that nobody needs.
    pub(crate) fn is_full(&self) -> bool {
        self.index.len() > MANY + 2 * self.needed
    }

    /// Forgets all holds but these and those that are still there.
    pub(crate) fn forget_all_but(&mut self, needed: &[u32]) {
        let mut stays = vec![false; self.all.len()];
        needed.iter().chain(self.live.values()).chain(&self.free).for_each(|&number| stays[number as usize] = true);
        for (number, holding) in (0..).zip(&mut self.all) {
            if !stays[number as usize] {
                self.index.remove(&(holding.who, holding.lock, holding.since));
                holding.work = Vec::new();
                self.free.push(number);
            }
        }
        self.needed = self.index.len();
    }

    fn add(&mut self, who: ConnId, lock: LockId, taken: &Taken, ending: Ending, base: Totals) -> Option<u32> {
        let next = self.free.last().copied().unwrap_or(self.all.len() as u32);
        let mut fresh = None;
        self.index.entry((who, lock, taken.asked)).or_insert_with(|| *fresh.insert(next));
        if fresh.is_some() {
            let holding = Holding {
                who,
                lock,
                since: taken.asked,
                number: taken.number,
                seen: taken.seen,
                sql: taken.sql,
                last_sql: taken.sql,
                last_sql_at: taken.asked,
                release_sql: 0,
                ending,
                level_after: Level::NONE,
                did: Totals::default(),
                alone: Alone::default(),
                work: Vec::new(),
                other_statement: false,
                elsewhere: false,
                watched: true,
                base,
            };
            match self.free.pop() {
                Some(free) => self.all[free as usize] = holding,
                None => self.all.push(holding),
            }
        }
        fresh
    }

    /// A watched connection's hold ended; `Some` when it is one that refused somebody.
    pub(crate) fn ended(&mut self, who: ConnId, lock: LockId, ending: Ending, record: &Record, activity: &Activity) -> Option<u32> {
        let number = self.live.remove(&(who, lock))?;
        let holding = &mut self.all[number as usize];
        // A closing connection says no more; what an unlock says is what ran when it was made.
        if matches!(ending, Ending::Released(..)) && record.kind != Kind::CLOSE {
            (holding.release_sql, holding.level_after) = (record.sql, record.after);
        }
        holding.ending = ending;
        holding.sum_up(activity);
        Some(number)
    }

    /// The record after the release of WRITE: the release of the reader's slot, at which the statement is asked for.
    pub(crate) fn released_with(&mut self, number: u32, record: &Record) {
        if let Some(holding) = self.all.get_mut(number as usize).filter(|holding| holding.release_sql == 0)
            && record.flags.has(Flags::SHM_UNLOCK)
        {
            holding.release_sql = record.sql;
        }
    }

    /// The trace ended while it was held.
    pub(crate) fn open(&mut self, who: ConnId, lock: LockId, activity: &Activity) {
        if let Some(number) = self.live.remove(&(who, lock)) {
            self.all[number as usize].sum_up(activity);
        }
    }

    /// A watched connection took another lock for this statement.
    pub(crate) fn statement(&mut self, who: ConnId, locks: impl Iterator<Item = LockId>, sql: u64) {
        for lock in locks {
            if let Some(&number) = self.live.get(&(who, lock)) {
                let holding = &mut self.all[number as usize];
                holding.other_statement |= holding.sql != 0 && holding.sql != sql;
            }
        }
    }
}

impl Holding {
    fn sum_up(&mut self, activity: &Activity) {
        self.did = activity.totals.since(&self.base);
        if activity.sql != 0 {
            (self.last_sql, self.last_sql_at) = (activity.sql, activity.sql_at);
        }
        self.alone = activity.alone;
        self.work = activity.worked_since(self.since).collect();
    }
}
