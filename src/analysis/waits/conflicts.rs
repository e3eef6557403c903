//! The candidates of each refused attempt: the connections that may have held a conflicting lock at that instant.
//!
//! SQLite refused the attempt at some instant between its start and its end. A candidate is *certain* if it held its lock throughout. Then
//! the call that took the lock had returned before the attempt began. The call that released it began after the attempt had ended. Records
//! of releases are sorted by their start and all others by their end. So this is decided as soon as the attempt is read.
//!
//! A candidate is *possible* if its hold and the attempt merely overlap. The record of an overlapping acquisition may follow that of the
//! attempt. So an attempt without a certain candidate waits for a second of the trace's time. Certain candidates make possible ones
//! irrelevant.
//!
//! A certain candidate becomes merely possible from its last record on if anything contradicts it. Its hold may turn out to have ended
//! unseen, another connection's success may show that the hold is over, or its process may have died.
#![forbid(unsafe_code)]

use crate::analysis::locks::blocking_holds::PastHold;
use crate::analysis::locks::lock::LockId;
use crate::analysis::locks::state::{ConnId, Hold, Index, NEVER, OpenLocks, Release};
use crate::analysis::order::instants::{Instant, Times};
use crate::analysis::order::window::Window;
use crate::analysis::waits::refusal::{Candidate, Refusal};
use shim::event::Level;
use std::collections::VecDeque;

/// How many ended holds are kept for each database.
const KEPT: usize = 4096;

/// How many candidates one refused attempt names. Further ones are counted.
const NAMED: usize = 8;

/// The assumed longest time of a release of which only the start is known.
const LONGEST_RELEASE_NS: u64 = 100_000_000;

/// How long an attempt without a certain candidate waits for an acquisition that overlaps it.
const SETTLE_NS: u64 = 1_000_000_000;

#[derive(Clone, Copy)]
struct EndedHold {
    who: ConnId,
    lock: LockId,
    hold: Hold,
    past: PastHold,
    /// When the end was seen. Ended holds are in this order.
    at: Instant,
    /// When the lock was certainly released; [`NEVER`] if that is not known yet.
    gone: Instant,
}

/// The connections and holds of one database.
struct DatabaseHolds {
    conns: Vec<Index>,
    /// The number of holds by lock, without those in doubt.
    counts: [u32; LockId::COUNT],
    ended: VecDeque<EndedHold>,
    /// How many holds were ever added to `ended`.
    sequence: u64,
    /// The latest `at` of the holds that were dropped from `ended`.
    dropped: Option<Instant>,
    longest_release: u64,
    pending: VecDeque<u32>,
}

impl Default for DatabaseHolds {
    fn default() -> DatabaseHolds {
        DatabaseHolds {
            conns: Vec::new(),
            counts: [0; LockId::COUNT],
            ended: VecDeque::new(),
            sequence: 0,
            dropped: None,
            longest_release: 0,
            pending: VecDeque::new(),
        }
    }
}

/// The holds of each database, and the refused attempts they explain.
pub(crate) struct Conflicts<'t> {
    times: Times<'t>,
    /// The refused attempts whose candidates can still change.
    pub(crate) refusals: Window<Refusal>,
    /// Two holds that exclude each other seemed to exist at once: one of them ended unseen, or a lock was lost.
    pub(crate) contradiction: bool,
    /// The ended holds that may have refused the latest attempt.
    pub(crate) looked_back: Vec<(ConnId, LockId, Hold, PastHold)>,
    databases: Vec<DatabaseHolds>,
}

impl<'t> Conflicts<'t> {
    pub(crate) fn new(times: Times<'t>, keep: usize) -> Conflicts<'t> {
        Conflicts { times, refusals: Window::new(keep), contradiction: false, looked_back: Vec::new(), databases: Vec::new() }
    }

    fn database(&mut self, db: u32) -> &mut DatabaseHolds {
        let index = db as usize;
        if self.databases.len() <= index {
            self.databases.resize_with(index + 1, DatabaseHolds::default);
        }
        &mut self.databases[index]
    }

    /// Adds a connection to this database, with its present holds.
    pub(crate) fn join(&mut self, db: u32, index: Index, held: impl Iterator<Item = (LockId, Hold)>) {
        let holds = self.database(db);
        holds.conns.push(index);
        for (lock, _) in held.filter(|(_, hold)| !hold.doubted) {
            holds.counts[lock.index()] += 1;
        }
    }

    /// Removes a connection from this database.
    pub(crate) fn leave(&mut self, db: u32, index: Index) {
        let conns = &mut self.database(db).conns;
        if let Some(at) = conns.iter().position(|&other| other == index) {
            conns.swap_remove(at);
        }
    }

    /// Adds a refused attempt and finds its candidates. `me` is the attempt's connection.
    pub(crate) fn refused(&mut self, conns: &mut impl OpenLocks, me: Index, mut refusal: Refusal) {
        let number = self.refusals.next();
        let at_hand = self.refusals.base();
        let mut looked_back = std::mem::take(&mut self.looked_back);
        looked_back.clear();
        if let Some(db) = refusal.db {
            let times = self.times;
            let holds = self.database(db);
            let mut possible = Vec::new();
            for &index in &holds.conns {
                if index == me {
                    continue;
                }
                let Some((who, locks)) = conns.locks(index) else { continue };
                let mut found = None;
                for (lock, hold) in locks.held() {
                    if found.is_none() && lock.refuses(refusal.request) {
                        found = Some((lock, hold));
                    }
                }
                let Some((lock, hold)) = found else { continue };
                let certain = hold.from != NEVER
                    && hold.from.saturating_add(times.slack()) <= refusal.start
                    && times.comparable(who.log, refusal.who.log);
                if certain {
                    locks.hold(lock).refused = if hold.refused == 0 { number + 1 } else { hold.refused };
                    add_candidate(&mut refusal, candidate(who, lock, &hold, true), true);
                } else if hold.asked < refusal.end {
                    possible.push(candidate(who, lock, &hold, false));
                }
            }
            if refusal.candidates.is_empty() {
                for other in possible {
                    add_candidate(&mut refusal, other, true);
                }
                holds.look_back(&times, &mut refusal, &mut looked_back);
                while holds.pending.front().is_some_and(|&first| first < at_hand) {
                    holds.pending.pop_front();
                }
                holds.pending.push_back(number);
            }
        }
        self.looked_back = looked_back;
        self.refusals.push(refusal);
    }

    /// Notes that a hold began. Returns whether it is a candidate of an attempt that was read before it.
    #[inline]
    pub(crate) fn began(&mut self, conns: &mut impl OpenLocks, db: u32, me: Index, who: ConnId, lock: LockId, hold: &Hold) -> bool {
        let holds = self.database(db);
        holds.counts[lock.index()] += 1;
        let contradiction = hold.seen && hold.from != NEVER && holds.conflicts(lock);
        let settle = holds.pending.is_empty();
        if contradiction && !self.is_shared_in_process(conns, db, me, who, lock) {
            self.contradiction = true;
            self.contradicted(conns, db, me, who, lock, hold);
        }
        !settle && {
            let held = |other: &Candidate| {
                conns.locks(me).is_some_and(|(_, locks)| locks.has(other.lock) && locks.hold(other.lock).asked == other.since)
            };
            self.arrived_late(db, who, lock, hold, held)
        }
    }

    /// Whether SQLite granted SHARED without asking the kernel, because another connection of the process has it already: then PENDING of
    /// another process does not refuse it (os_unix.c: `unixLock`).
    #[cold]
    fn is_shared_in_process(&mut self, conns: &mut impl OpenLocks, db: u32, me: Index, who: ConnId, lock: LockId) -> bool {
        let holds = self.database(db);
        if lock != LockId::file(Level::SHARED) || holds.counts[LockId::file(Level::EXCLUSIVE).index()] > 0 {
            return false;
        }
        holds.conns.iter().any(|&index| {
            index != me
                && conns
                    .locks(index)
                    .is_some_and(|(id, locks)| id.log == who.log && matches!(locks.level.0, Level::SHARED | Level::RESERVED))
        })
    }

    /// An acquisition that overlaps attempts which have no certain holder.
    #[cold]
    fn arrived_late(&mut self, db: u32, who: ConnId, lock: LockId, hold: &Hold, mut held: impl FnMut(&Candidate) -> bool) -> bool {
        let now = if hold.from == NEVER { hold.asked } else { hold.from };
        let settled = self.times.distance(who.log, SETTLE_NS);
        let refusals = &mut self.refusals;
        let Some(holds) = self.databases.get_mut(db as usize) else { return false };
        let mut named = false;
        while let Some(&first) = holds.pending.front() {
            if refusals.get(first).is_some_and(|refusal| refusal.end.saturating_add(settled) >= now) {
                break;
            }
            holds.pending.pop_front();
        }
        for &number in holds.pending.iter().rev() {
            let Some(refusal) = refusals.get_mut(number).filter(|refusal| refusal.end > hold.asked) else { break };
            if !refusal.counted && refusal.who != who && lock.refuses(refusal.request) {
                let stays = refusal.candidates.iter().find(|other| other.who == who).is_none_or(&mut held);
                add_candidate(refusal, candidate(who, lock, hold, false), stays);
                named = true;
            }
        }
        named
    }

    /// Puts the holds in doubt that exclude this new one and are older: they ended unseen.
    #[cold]
    fn contradicted(&mut self, conns: &mut impl OpenLocks, db: u32, me: Index, who: ConnId, lock: LockId, hold: &Hold) {
        let others = self.database(db).conns.clone();
        for index in others {
            let Some((id, locks)) = conns.locks(index).filter(|_| index != me) else { continue };
            let last = locks.last;
            let held: Vec<(LockId, Hold)> = locks.held().collect();
            for (other, theirs) in held {
                let older = theirs.from != NEVER && theirs.from <= hold.asked && self.times.comparable(id.log, who.log);
                if older && excludes(lock, other) {
                    let theirs = locks.hold(other);
                    let refused = theirs.refused;
                    (theirs.from, theirs.refused, theirs.doubted) = (NEVER, 0, true);
                    self.database(db).counts[other.index()] -= 1;
                    self.doubt(id, other, refused, last);
                }
            }
        }
    }

    /// Notes that a hold ended. Returns the number for [`Conflicts::ended_by`], which gets the end of the release later.
    #[inline]
    pub(crate) fn ended(&mut self, db: u32, who: ConnId, lock: LockId, hold: &Hold, past: PastHold, end: Release) -> u64 {
        if let Release::Unseen(last, _) = end {
            self.doubt(who, lock, hold.refused, last);
        }
        let holds = self.database(db);
        if !hold.doubted {
            // A hold in doubt was taken out of the count already.
            holds.counts[lock.index()] -= 1;
        }
        let (at, gone) = match end {
            Release::Seen(at, gone) => (at, gone),
            Release::Unseen(_, at) => (at, at),
        };
        if gone != NEVER {
            holds.longest_release = holds.longest_release.max(gone.saturating_sub(at));
        }
        if holds.ended.len() == KEPT {
            let old = holds.ended.pop_front();
            holds.dropped = holds.dropped.max(old.map(|old| old.at));
        }
        holds.ended.push_back(EndedHold { who, lock, hold: *hold, past, at, gone });
        holds.sequence += 1;
        holds.sequence - 1
    }

    /// Notes that the releases with these numbers had ended by this instant, at which their connection made its next call.
    #[inline]
    pub(crate) fn ended_by(&mut self, db: u32, numbers: (u64, u64), by: Instant) {
        let holds = self.database(db);
        let base = holds.sequence - holds.ended.len() as u64;
        for number in numbers.0.max(base)..=numbers.1 {
            if let Some(ended) = holds.ended.get_mut((number - base) as usize).filter(|ended| ended.gone == NEVER) {
                ended.gone = by;
            }
        }
    }

    /// Makes this hold a merely possible candidate from this instant on.
    #[cold]
    pub(crate) fn doubt(&mut self, who: ConnId, lock: LockId, refused: u32, last: Instant) {
        if refused == 0 {
            return;
        }
        for refusal in self.refusals.since_mut(refused - 1) {
            if refusal.end <= last || refusal.counted {
                continue;
            }
            refusal.doubt(|other| other.who == who && other.lock == lock);
        }
    }
}

impl DatabaseHolds {
    /// Whether the new hold and another present hold exclude each other.
    #[inline]
    fn conflicts(&self, new: LockId) -> bool {
        let count = |lock: LockId| self.counts[lock.index()];
        match (new.level(), new.slot()) {
            (Some(Level::SHARED), _) => count(LockId::file(Level::PENDING)) + count(LockId::file(Level::EXCLUSIVE)) > 0,
            (Some(Level::RESERVED), _) => {
                count(LockId::file(Level::RESERVED)) > 1
                    || count(LockId::file(Level::PENDING)) + count(LockId::file(Level::EXCLUSIVE)) > 0
            }
            (Some(_), _) => {
                // The connection's own weaker levels count once each.
                [Level::SHARED, Level::RESERVED, Level::PENDING, Level::EXCLUSIVE]
                    .iter()
                    .any(|&level| count(LockId::file(level)) > 1)
            }
            (_, Some(slot)) => {
                let exclusive = count(LockId::shm(slot.0, true));
                let shared = count(LockId::shm(slot.0, false));
                if new.is_exclusive_slot() { exclusive + shared > 1 } else { exclusive > 0 }
            }
            _ => false,
        }
    }

    /// Finds the holds that ended while the attempt was made.
    fn look_back(&self, times: &Times<'_>, refusal: &mut Refusal, found: &mut Vec<(ConnId, LockId, Hold, PastHold)>) {
        let unknown_end = times.distance(refusal.who.log, LONGEST_RELEASE_NS);
        let reach = self.longest_release.max(unknown_end);
        if self.dropped.is_some_and(|dropped| dropped.saturating_add(self.longest_release) >= refusal.start) {
            refusal.forgotten = true;
        }
        for ended in self.ended.iter().rev() {
            if ended.at.saturating_add(reach) < refusal.start {
                break;
            }
            let gone = if ended.gone == NEVER { ended.at.saturating_add(unknown_end) } else { ended.gone };
            // The thread that released the lock makes this attempt, so the release has returned.
            let returned = ended.past.tid == refusal.tid && ended.who.log == refusal.who.log && ended.at <= refusal.start;
            let overlaps = gone > refusal.start && ended.hold.asked < refusal.end && !(returned && refusal.tid != 0);
            if overlaps && ended.who != refusal.who && ended.lock.refuses(refusal.request) {
                let later = refusal.candidates.iter().find(|other| other.who == ended.who);
                let stays = later.is_none_or(|later| later.since < ended.at);
                add_candidate(refusal, candidate(ended.who, ended.lock, &ended.hold, false), stays);
                found.push((ended.who, ended.lock, ended.hold, ended.past));
            }
        }
    }
}

/// Whether one connection cannot take `new` while another holds `old`.
fn excludes(new: LockId, old: LockId) -> bool {
    match (new.level(), old.level(), new.slot(), old.slot()) {
        (Some(Level::SHARED), Some(old), ..) => old >= Level::PENDING,
        (Some(Level::RESERVED | Level::PENDING), Some(old), ..) => old >= Level::RESERVED,
        (Some(_), Some(_), ..) => true,
        (.., Some(a), Some(b)) => a == b && (new.is_exclusive_slot() || old.is_exclusive_slot()),
        _ => false,
    }
}

fn candidate(who: ConnId, lock: LockId, hold: &Hold, certain: bool) -> Candidate {
    Candidate { who, lock, tid: hold.tid, sql: hold.sql, since: hold.asked, seen: hold.seen, certain, same_thread: false }
}

/// Adds a candidate. Each connection is named once, with the lock it took last. `stays`: it still held the earlier lock then. Otherwise it
/// released in between a lock that may have refused the attempt, and the named one proves nothing.
fn add_candidate(refusal: &mut Refusal, candidate: Candidate, stays: bool) {
    refusal.forgotten |= !stays;
    if let Some(other) = refusal.candidates.iter_mut().find(|other| other.who == candidate.who) {
        if candidate.since > other.since {
            *other = candidate;
        }
    } else if refusal.candidates.len() < NAMED {
        refusal.candidates.push(candidate);
    } else {
        refusal.more_candidates += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: [Level; 4] = [Level::SHARED, Level::RESERVED, Level::PENDING, Level::EXCLUSIVE];

    #[test]
    fn what_two_connections_cannot_have() {
        let table = LEVELS.map(|new| LEVELS.map(|old| excludes(LockId::file(new), LockId::file(old))));
        assert_eq!(table[0], [false, false, true, true], "no connection begins to read beside PENDING");
        assert_eq!(table[1], [false, true, true, true]);
        assert_eq!(table[2], [false, true, true, true], "PENDING is held while others read");
        assert_eq!(table[3], [true; 4]);
        let slots = |a: bool, b: bool| excludes(LockId::shm(3, a), LockId::shm(3, b));
        assert!(!slots(false, false) && slots(true, false) && slots(false, true) && slots(true, true));
        assert!(!excludes(LockId::shm(3, true), LockId::shm(4, true)));
        assert!(!excludes(LockId::shm(3, true), LockId::file(Level::EXCLUSIVE)));
    }

    /// This lock and the weaker levels that the same connection holds with it.
    fn with(lock: LockId) -> Vec<LockId> {
        lock.level().map_or_else(|| vec![lock], |top| LEVELS.into_iter().filter(|&level| level <= top).map(LockId::file).collect())
    }

    #[test]
    fn no_conflict_is_overlooked() {
        for (new, old) in LockId::all().flat_map(|new| LockId::all().map(move |old| (new, old))) {
            let mut holds = DatabaseHolds::default();
            with(new).into_iter().chain(with(old)).for_each(|lock| holds.counts[lock.index()] += 1);
            assert!(holds.conflicts(new) || !excludes(new, old), "{new} beside {old}");
            // Readers, and a writer beside them, do not conflict.
            let usual = old == LockId::file(Level::SHARED) && new.level().is_some_and(|level| level <= Level::RESERVED);
            assert!(!holds.conflicts(new) || !(usual || (new.slot().is_some() && !excludes(new, old))), "{new} beside {old}");
        }
    }
}
