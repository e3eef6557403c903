//! The holds that refused an attempt: their beginning, their end, and what their connection did meanwhile.
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

/// What is kept of a hold that has ended, for an attempt that overlaps its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PastHold {
    /// For a lock that locks readers out: the statement that had made its connection a writer; 0 = none, or unknown.
    pub writer: u64,
    /// How its connection locked readers out.
    pub exclusive_use: ExclusiveUse,
    /// The connection's level after the hold.
    pub level_after: Level,
    pub end: HoldEnd,
    /// The thread that released the lock.
    pub tid: u32,
}

/// A hold that refused an attempt, or may have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockingHold {
    /// The connection that held the lock.
    pub who: ConnId,
    /// The lock.
    pub lock: LockId,
    /// When the call that took the lock began.
    pub since: Instant,
    /// The record of that call. If the call was not seen, the record that showed the hold.
    pub number: u64,
    /// Whether that call was seen.
    pub seen: bool,
    /// The statement that took the lock; 0 = none, or unknown. If a writer went on from RESERVED, this is the statement that took RESERVED,
    /// because a COMMIT says little.
    pub sql: u64,
    /// The statement seen last while the lock was held.
    pub last_sql: u64,
    /// When that statement was seen.
    pub last_sql_at: Instant,
    /// The statement that ran when the lock was released; 0 = none, or unknown.
    pub release_sql: u64,
    /// How the hold ended.
    pub end: HoldEnd,
    /// The connection's level on the database file after the hold.
    pub level_after: Level,
    /// What the connection did while it held the lock.
    pub did: ActivitySums,
    /// For a hold that locks all others out of the database file: how it began, and what the connection did then.
    pub exclusive_use: ExclusiveUse,
    /// The stretches of work during the hold, in time order. If there were very many, the latest ones.
    pub work: Vec<Stretch>,
    /// Another statement of the connection took a lock during the hold.
    pub other_statement: bool,
    /// The connection's thread was seen at work on another connection during the hold.
    pub elsewhere: bool,
    /// The hold was followed, so what its connection did meanwhile is known. A hold that had ended when it was first named was not followed.
    pub followed: bool,
    base: ActivitySums,
}

/// All blocking holds.
#[derive(Default)]
pub(crate) struct BlockingHolds {
    pub(crate) all: Vec<BlockingHold>,
    index: HashMap<(ConnId, LockId, Instant), u32>,
    live: HashMap<(ConnId, LockId), u32>,
    /// The indexes in `all` that are free again.
    free: Vec<u32>,
    /// How many holds were still needed when the others were last forgotten.
    needed: usize,
}

/// How many holds are kept in any case.
const MANY: usize = 16_384;

impl BlockingHolds {
    /// The index of the hold with this beginning.
    pub(crate) fn find(&self, who: ConnId, lock: LockId, since: Instant) -> Option<u32> {
        self.index.get(&(who, lock, since)).copied()
    }

    /// Follows a hold that has not ended and that a refused attempt names. Returns whether the hold is new here.
    pub(crate) fn follow(&mut self, who: ConnId, lock: LockId, hold: &Hold, activity: &Activity) -> bool {
        let fresh = self.add(who, lock, hold, HoldEnd::Open, activity.mark(lock));
        if let Some(number) = fresh {
            self.live.insert((who, lock), number);
        }
        fresh.is_some()
    }

    /// Adds a hold that had already ended when a refused attempt named it.
    pub(crate) fn ended_before(&mut self, who: ConnId, lock: LockId, hold: &Hold, past: &PastHold) {
        let sql = if past.writer == 0 { hold.sql } else { past.writer };
        if let Some(number) = self.add(who, lock, &Hold { sql, ..*hold }, past.end, ActivitySums::default()) {
            let hold = &mut self.all[number as usize];
            (hold.exclusive_use, hold.level_after, hold.followed) = (past.exclusive_use, past.level_after, false);
        }
    }

    /// Adds a WRITE hold that ended with a commit and made a snapshot stale.
    pub(crate) fn committed(&mut self, commit: &Commit) {
        let hold =
            Hold { asked: commit.since, tid: commit.tid, sql: commit.sql, number: commit.took, seen: true, ..Hold::default() };
        let end = HoldEnd::Released(commit.at, commit.number);
        if let Some(number) = self.add(commit.who, LockId::shm(Slot::WRITE.0, true), &hold, end, ActivitySums::default()) {
            self.all[number as usize].followed = false;
        }
    }

    /// Whether it is time to forget the holds that nothing needs.
    pub(crate) fn is_full(&self) -> bool {
        self.index.len() > MANY + 2 * self.needed
    }

    /// Forgets all holds but the needed ones and those that have not ended.
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

    /// Notes that a connection's hold ended. Returns its index if it is a blocking hold.
    pub(crate) fn ended(&mut self, who: ConnId, lock: LockId, end: HoldEnd, record: &Record, activity: &Activity) -> Option<u32> {
        let number = self.live.remove(&(who, lock))?;
        let hold = &mut self.all[number as usize];
        // The record of a close carries no statement. The record of an unlock carries the statement that ran.
        if matches!(end, HoldEnd::Released(..)) && record.kind != Kind::CLOSE {
            (hold.release_sql, hold.level_after) = (record.sql, record.after);
        }
        hold.end = end;
        hold.sum_up(activity);
        Some(number)
    }

    /// Follows the record after the release of WRITE. If it releases a reader's slot, it carries the statement: the recorder looks it up there.
    pub(crate) fn released_with(&mut self, number: u32, record: &Record) {
        if let Some(hold) = self.all.get_mut(number as usize).filter(|hold| hold.release_sql == 0)
            && record.flags.has(Flags::SHM_UNLOCK)
        {
            hold.release_sql = record.sql;
        }
    }

    /// Notes that the trace ended while this lock was held.
    pub(crate) fn open(&mut self, who: ConnId, lock: LockId, activity: &Activity) {
        if let Some(number) = self.live.remove(&(who, lock)) {
            self.all[number as usize].sum_up(activity);
        }
    }

    /// Notes that a connection with blocking holds took another lock for this statement.
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
