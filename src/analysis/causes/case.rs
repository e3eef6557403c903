//! A case, as a rule looks at it: one wait, and the holds that may have been in its way.
#![forbid(unsafe_code)]

use super::evidence::{Evidence, Role};
use crate::analysis::locks::activity::Work;
use crate::analysis::locks::blocking_holds::BlockingHold;
use crate::analysis::locks::state::HoldEnd;
use crate::analysis::order::gaps::Gaps;
use crate::analysis::order::instants::{Instant, Times};
use crate::analysis::waits::wait::{Wait, WaitEnd};
use crate::trace::Trace;

/// A hold that may have been in the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CaseCandidate<'a> {
    pub hold: &'a BlockingHold,
    /// It was certainly held throughout one of the attempts.
    pub certain: bool,
    /// The victim's own thread made its connection's last call.
    pub same_thread: bool,
    /// It waited for a lock itself.
    pub waits: bool,
    /// It did so with WRITE and CKPT in its hands for a reader's slot.
    pub convoy: bool,
}

/// A wait and its candidates, as a rule looks at them.
pub(crate) struct Case<'a> {
    pub trace: &'a Trace,
    pub times: Times<'a>,
    pub wait: &'a Wait,
    pub wait_end: WaitEnd,
    /// The text of the victim's statement, where it is known.
    pub sql: Option<&'a str>,
    pub candidates: &'a [CaseCandidate<'a>],
    /// The kernel named a process outside the trace, and no connection in it was in the way.
    pub outside: bool,
    /// Of the victim's log.
    pub gaps: &'a Gaps,
    /// Of each log.
    pub all_gaps: &'a [Gaps],
    /// Records are missing, or candidates were not looked for or were forgotten: another candidate can be missing.
    pub losses: bool,
    /// The latest sign of life of each log.
    pub alive: &'a [Instant],
    /// The database never had a WAL in this trace.
    pub rollback: bool,
}

impl Case<'_> {
    /// Whether a record of the victim's log is missing from the first one on to the last the wait rests on.
    pub(crate) fn gap_from(&self, number: u64) -> bool {
        let last = self.wait.next.unwrap_or(self.wait.numbers.1);
        self.gaps.between(number.min(self.wait.numbers.0), last)
    }

    /// Whether a record of the victim's log is missing from this one on to the last of its wait. Then what it did not do is not known.
    pub(crate) fn gap_in_wait(&self, from: u64) -> bool {
        let last = match self.wait.end {
            WaitEnd::Acquired => self.wait.next,
            WaitEnd::GaveUp | WaitEnd::WentOn | WaitEnd::TraceEnd => self.wait.over,
        };
        self.gaps.between(from, last.unwrap_or(u64::MAX))
    }

    /// Whether its process was not seen any more when the victim was refused: it may have died, and the lock with it.
    pub(crate) fn died(&self, hold: &BlockingHold) -> bool {
        let alive = self.alive.get(hold.who.log.0 as usize);
        hold.end == HoldEnd::Open && alive.is_some_and(|&alive| alive < self.wait.from)
    }

    /// The holds that are proven to be in the way: certain ones, or the only possible one, where no other can be missing.
    pub(crate) fn proven(&self) -> impl Iterator<Item = &CaseCandidate<'_>> {
        let single =
            self.candidates.len() == 1 && !self.losses && !self.candidates.iter().any(|candidate| self.died(candidate.hold));
        self.candidates.iter().filter(move |candidate| candidate.certain || single)
    }

    /// How long a hold lasted, as far as it is known, in nanoseconds.
    pub(crate) fn length(&self, hold: &BlockingHold) -> Option<u64> {
        self.times.ns(hold.who.log, hold.since, self.end(hold)?)
    }

    /// When a hold was released, or its process was last seen alive.
    pub(crate) fn end(&self, hold: &BlockingHold) -> Option<Instant> {
        match hold.end {
            HoldEnd::Released(at, _) => Some(at),
            HoldEnd::Unseen(..) => None,
            HoldEnd::Open => self.alive.get(hold.who.log.0 as usize).copied(),
        }
    }

    /// The part of a hold that the victim met: up to its release, or to the last attempt. What came later is not what was in the way.
    pub(crate) fn met(&self, hold: &BlockingHold) -> Met {
        let log = hold.who.log;
        let until = self.end(hold).map_or(self.wait.until, |end| end.min(self.wait.until));
        let ns = |from, to| self.times.ns(log, from, to).unwrap_or(0);
        let mut met = Met { length: ns(hold.since, until), ..Met::default() };
        for &(work, from, to) in &hold.work {
            let part = ns(from, to.min(until));
            let sum = match work {
                Work::Sync | Work::SyncDatabase => &mut met.syncs,
                Work::Copy => &mut met.copies,
                Work::Delete => &mut met.others,
            };
            *sum = sum.saturating_add(part);
        }
        met
    }

    /// Whether everything that its connection did while it was held is known.
    pub(crate) fn is_whole(&self, hold: &BlockingHold) -> bool {
        let last = match hold.end {
            HoldEnd::Released(_, number) => number,
            HoldEnd::Open => u64::MAX,
            HoldEnd::Unseen(..) => return false,
        };
        let gaps = self.all_gaps.get(hold.who.log.0 as usize);
        hold.followed && gaps.is_some_and(|gaps| !gaps.between(hold.number, last))
    }

    /// A record of the victim.
    pub(crate) fn own(&self, number: u64, role: Role) -> Evidence {
        Evidence { log: self.wait.who.log, number, role }
    }
}

/// What the victim met of a hold, in nanoseconds: how long it had lasted, and how much of that was which work.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Met {
    pub length: u64,
    pub syncs: u64,
    pub copies: u64,
    pub others: u64,
}
