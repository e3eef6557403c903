//! A case, as a rule looks at it: one wait, and the holds that may have refused its attempts.
#![forbid(unsafe_code)]

use super::evidence::{Evidence, Role};
use crate::analysis::locks::activity::Work;
use crate::analysis::locks::blocking_holds::BlockingHold;
use crate::analysis::locks::state::HoldEnd;
use crate::analysis::order::gaps::Gaps;
use crate::analysis::order::instants::{Instant, Times};
use crate::analysis::waits::wait::{Wait, WaitEnd};
use crate::trace::Trace;

/// A hold that may have refused an attempt of the wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CaseCandidate<'a> {
    pub hold: &'a BlockingHold,
    /// The lock was certainly held throughout one of the attempts.
    pub certain: bool,
    /// The victim's own thread made the last call on the holder's connection.
    pub same_thread: bool,
    /// The holder itself waited for a lock.
    pub waits: bool,
    /// The holder had WRITE and CKPT and waited for a reader's slot.
    pub convoy: bool,
}

/// A wait and its candidates, as a rule looks at them.
pub(crate) struct Case<'a> {
    pub trace: &'a Trace,
    pub times: Times<'a>,
    pub wait: &'a Wait,
    pub wait_end: WaitEnd,
    /// The text of the victim's statement, if it is known.
    pub sql: Option<&'a str>,
    pub candidates: &'a [CaseCandidate<'a>],
    /// The kernel named a process outside the trace, and no traced connection is a candidate.
    pub outside: bool,
    /// The missing record numbers of the victim's log.
    pub gaps: &'a Gaps,
    /// The missing record numbers of each log.
    pub all_gaps: &'a [Gaps],
    /// Another candidate may be missing: records are missing, or candidates were forgotten or not looked for.
    pub losses: bool,
    /// The latest sign of life of each log.
    pub alive: &'a [Instant],
    /// The database never had a WAL in this trace.
    pub rollback: bool,
}

impl Case<'_> {
    /// Whether a record of the victim's log is missing between this one and the last record that the wait rests on. If the first attempt is
    /// earlier than this record, the search begins there.
    pub(crate) fn gap_from(&self, number: u64) -> bool {
        let last = self.wait.next.unwrap_or(self.wait.numbers.1);
        self.gaps.between(number.min(self.wait.numbers.0), last)
    }

    /// Whether a record of the victim's log is missing between this one and the last of its wait. Then it is unknown what the victim did not do.
    pub(crate) fn gap_in_wait(&self, from: u64) -> bool {
        let last = match self.wait.end {
            WaitEnd::Acquired => self.wait.next,
            WaitEnd::GaveUp | WaitEnd::WentOn | WaitEnd::TraceEnd => self.wait.over,
        };
        self.gaps.between(from, last.unwrap_or(u64::MAX))
    }

    /// Whether the holder's process was last seen before the victim was refused. It may have died, which released the lock.
    pub(crate) fn died(&self, hold: &BlockingHold) -> bool {
        let alive = self.alive.get(hold.who.log.0 as usize);
        hold.end == HoldEnd::Open && alive.is_some_and(|&alive| alive < self.wait.from)
    }

    /// The proven holders: the certain candidates, or the only possible one if no other can be missing.
    pub(crate) fn proven(&self) -> impl Iterator<Item = &CaseCandidate<'_>> {
        let single =
            self.candidates.len() == 1 && !self.losses && !self.candidates.iter().any(|candidate| self.died(candidate.hold));
        self.candidates.iter().filter(move |candidate| candidate.certain || single)
    }

    /// The length of a hold in nanoseconds, if it is known.
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

    /// The part of a hold that blocked the victim: up to its release, or to the victim's last attempt.
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

    /// Whether everything that the holder's connection did during the hold is known.
    pub(crate) fn is_whole(&self, hold: &BlockingHold) -> bool {
        let last = match hold.end {
            HoldEnd::Released(_, number) => number,
            HoldEnd::Open => u64::MAX,
            HoldEnd::Unseen(..) => return false,
        };
        let gaps = self.all_gaps.get(hold.who.log.0 as usize);
        hold.followed && gaps.is_some_and(|gaps| !gaps.between(hold.number, last))
    }

    /// A record of the victim, as evidence.
    pub(crate) fn own(&self, number: u64, role: Role) -> Evidence {
        Evidence { log: self.wait.who.log, number, role }
    }
}

/// The part of a hold that blocked the victim, in nanoseconds: its length, and how much of that was which work.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Met {
    pub length: u64,
    pub syncs: u64,
    pub copies: u64,
    pub others: u64,
}
