//! The holds that refused an attempt: since when, until when, and what their connection did meanwhile.
//!
//! There is one [`BlockingHold`] for each such hold, however many attempts it refused.
#![forbid(unsafe_code)]

use crate::analysis::locks::activity::{Activity, ActivitySums, ExclusiveUse, Stretch};
use crate::analysis::locks::commits::Commit;
use crate::analysis::locks::lock::LockId;
use crate::analysis::locks::state::{ConnId, Hold, HoldEnd};
use crate::analysis::order::instants::Instant;
use shim::event::{Flags, Kind, Level, Slot};
use shim::format::record::Record;
use std::collections::HashMap;

/// What is remembered of a hold that has ended, for an attempt that overlaps its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PastHold {
    /// The statement that had made its connection a writer, where it locked readers out; 0 = none, or not known.
    pub writer: u64,
    /// How it came to lock them out.
    pub exclusive_use: ExclusiveUse,
    /// The connection's level after it.
    pub level_after: Level,
    pub end: HoldEnd,
    /// The thread that released it.
    pub tid: u32,
}

/// A hold that refused an attempt, or may have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockingHold {
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
    /// The statement that took it; 0 = none, or not known. Where a writer went on from RESERVED, it is the statement that took RESERVED: a
    /// COMMIT says little.
    pub sql: u64,
    /// The statement seen last while it was held.
    pub last_sql: u64,
    /// When that was seen.
    pub last_sql_at: Instant,
    /// The statement that ran when it was released; 0 = none, or not known.
    pub release_sql: u64,
    /// How it ended.
    pub end: HoldEnd,
    /// The connection's level on the database file after that.
    pub level_after: Level,
    /// What the connection did while it was held.
    pub did: ActivitySums,
    /// How a hold came about that locks all others out of the database file.
    pub exclusive_use: ExclusiveUse,
    /// The stretches of work in it, in time order: the latest ones, where there were very many.
    pub work: Vec<Stretch>,
    /// Another statement of its connection took a lock while it was held.
    pub other_statement: bool,
    /// Its thread was seen at work on another connection while it was held.
    pub elsewhere: bool,
    /// It was followed, so what its connection did meanwhile is known. A hold that had ended when it was first named was not followed.
    pub followed: bool,
    base: ActivitySums,
}

/// All blocking holds.
#[derive(Default)]
pub(crate) struct BlockingHolds {
    pub(crate) all: Vec<BlockingHold>,
    index: HashMap<(ConnId, LockId, Instant), u32>,
    live: HashMap<(ConnId, LockId), u32>,
    /// Places in `all` that are free again.
    free: Vec<u32>,
    /// How many were needed when those that were not were forgotten last.
    needed: usize,
}

/// Holds that are remembered in any case.
const MANY: usize = 16_384;

impl BlockingHolds {
    /// The hold with this beginning.
    pub(crate) fn find(&self, who: ConnId, lock: LockId, since: Instant) -> Option<u32> {
        self.index.get(&(who, lock, since)).copied()
    }

    /// A refused attempt names a hold that is still there. Returns whether it was new.
    pub(crate) fn follow(&mut self, who: ConnId, lock: LockId, hold: &Hold, activity: &Activity) -> bool {
        let fresh = self.add(who, lock, hold, HoldEnd::Open, activity.mark(lock));
        if let Some(number) = fresh {
            self.live.insert((who, lock), number);
        }
        fresh.is_some()
    }

    /// A refused attempt names a hold that had ended already.
    pub(crate) fn ended_before(&mut self, who: ConnId, lock: LockId, hold: &Hold, past: &PastHold) {
        let sql = if past.writer == 0 { hold.sql } else { past.writer };
        if let Some(number) = self.add(who, lock, &Hold { sql, ..*hold }, past.end, ActivitySums::default()) {
            let hold = &mut self.all[number as usize];
            (hold.exclusive_use, hold.level_after, hold.followed) = (past.exclusive_use, past.level_after, false);
        }
    }

    /// A WRITE hold that ended with a commit, and made a snapshot stale.
    pub(crate) fn committed(&mut self, commit: &Commit) {
        let hold =
            Hold { asked: commit.since, tid: commit.tid, sql: commit.sql, number: commit.took, seen: true, ..Hold::default() };
        let end = HoldEnd::Released(commit.at, commit.number);
        if let Some(number) = self.add(commit.who, LockId::shm(Slot::WRITE.0, true), &hold, end, ActivitySums::default()) {
            self.all[number as usize].followed = false;
        }
    }

    /// Whether it is time to forget those that nothing needs.
    pub(crate) fn is_full(&self) -> bool {
        self.index.len() > MANY + 2 * self.needed
    }

    /// Forgets all holds but these and those that are still there.
    pub(crate) fn forget_all_but(&mut self, needed: &[u32]) {
        let mut stays = vec![false; self.all.len()];
        needed.iter().chain(self.live.values()).chain(&self.free).for_each(|&number| stays[number as usize] = true);
        for (number, hold) in (0..).zip(&mut self.all) {
            if !stays[number as usize] {
                self.index.remove(&(hold.who, hold.lock, hold.since));
                hold.work = Vec::new();
                self.free.push(number);
            }
        }
        self.needed = self.index.len();
    }

    fn add(&mut self, who: ConnId, lock: LockId, hold: &Hold, end: HoldEnd, base: ActivitySums) -> Option<u32> {
        let next = self.free.last().copied().unwrap_or(self.all.len() as u32);
        let mut fresh = None;
        self.index.entry((who, lock, hold.asked)).or_insert_with(|| *fresh.insert(next));
        if fresh.is_some() {
            let hold = BlockingHold {
                who,
                lock,
                since: hold.asked,
                number: hold.number,
                seen: hold.seen,
                sql: hold.sql,
                last_sql: hold.sql,
                last_sql_at: hold.asked,
                release_sql: 0,
                end,
                level_after: Level::NONE,
                did: ActivitySums::default(),
                exclusive_use: ExclusiveUse::default(),
                work: Vec::new(),
                other_statement: false,
                elsewhere: false,
                followed: true,
                base,
            };
            match self.free.pop() {
                Some(free) => self.all[free as usize] = hold,
                None => self.all.push(hold),
            }
        }
        fresh
    }

    /// A hold of a connection with blocking holds ended; `Some` when it is one of these.
    pub(crate) fn ended(&mut self, who: ConnId, lock: LockId, end: HoldEnd, record: &Record, activity: &Activity) -> Option<u32> {
        let number = self.live.remove(&(who, lock))?;
        let hold = &mut self.all[number as usize];
        // A record of a close carries no statement; that of an unlock carries the one that ran.
        if matches!(end, HoldEnd::Released(..)) && record.kind != Kind::CLOSE {
            (hold.release_sql, hold.level_after) = (record.sql, record.after);
        }
        hold.end = end;
        hold.sum_up(activity);
        Some(number)
    }

    /// The record after the release of WRITE. At the release of a reader's slot, the recorder looks the statement up.
    pub(crate) fn released_with(&mut self, number: u32, record: &Record) {
        if let Some(hold) = self.all.get_mut(number as usize).filter(|hold| hold.release_sql == 0)
            && record.flags.has(Flags::SHM_UNLOCK)
        {
            hold.release_sql = record.sql;
        }
    }

    /// The trace ended while it was held.
    pub(crate) fn open(&mut self, who: ConnId, lock: LockId, activity: &Activity) {
        if let Some(number) = self.live.remove(&(who, lock)) {
            self.all[number as usize].sum_up(activity);
        }
    }

    /// A connection with blocking holds took another lock for this statement.
    pub(crate) fn statement(&mut self, who: ConnId, locks: impl Iterator<Item = LockId>, sql: u64) {
        for lock in locks {
            if let Some(&number) = self.live.get(&(who, lock)) {
                let hold = &mut self.all[number as usize];
                hold.other_statement |= hold.sql != 0 && hold.sql != sql;
            }
        }
    }
}

impl BlockingHold {
    fn sum_up(&mut self, activity: &Activity) {
        self.did = activity.totals.since(&self.base);
        if activity.sql != 0 {
            (self.last_sql, self.last_sql_at) = (activity.sql, activity.sql_at);
        }
        self.exclusive_use = activity.exclusive_use;
        self.work = activity.worked_since(self.since).collect();
    }
}
