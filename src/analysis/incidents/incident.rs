//! Incidents: the waits that an application can notice, each with its blockers, its cause and the evidence.
//!
//! A wait that no application notices is no incident ([`crate::analysis::waits::harmless`]). An upgrade from a stale snapshot is one, though no call failed.
#![forbid(unsafe_code)]

use crate::analysis::causes::cause::Cause;
use crate::analysis::causes::contributing::Contributing;
use crate::analysis::causes::evidence::Evidence;
use crate::analysis::locks::lock::Request;
use crate::analysis::locks::state::ConnId;
use crate::analysis::order::instants::Instant;
use crate::trace::{Outside, OutsideHolder, Trace};

/// Blockers kept for one incident; more are counted.
pub(crate) const KEPT: usize = 8;

/// What the holder was doing while the victim was refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum State {
    /// It was at work, as far as its calls show.
    Running,
    /// It had a transaction open and mostly made no call.
    IdleInTransaction,
    /// Most of the hold went into `xSync`.
    Syncing,
    /// It was copying the WAL into the database.
    Checkpointing,
    /// It waited for another lock.
    Waiting,
    /// Its process was gone, or the hold had ended unseen.
    Gone,
    /// It is not in the trace.
    Untraced,
}

impl State {
    /// Its name in reports.
    pub fn id(self) -> &'static str {
        match self {
            State::Running => "running",
            State::IdleInTransaction => "idle-in-transaction",
            State::Syncing => "syncing",
            State::Checkpointing => "checkpointing",
            State::Waiting => "waiting",
            State::Gone => "gone",
            State::Untraced => "untraced",
        }
    }
}

/// How an incident ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum IncidentEnd {
    /// The lock was granted in the end; or the statement went on without it ([`Incident::went_on`]).
    SucceededAfterWait,
    /// The application saw an error.
    GaveUp,
    /// The trace ended first.
    Open,
}

impl IncidentEnd {
    /// Its name in reports.
    pub fn id(self) -> &'static str {
        match self {
            IncidentEnd::SucceededAfterWait => "succeeded-after-wait",
            IncidentEnd::GaveUp => "gave-up",
            IncidentEnd::Open => "open",
        }
    }
}

/// A connection in the way of a victim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocker {
    /// Its hold, an index into [`crate::analysis::Analysis::blocking_holds`].
    pub hold: u32,
    /// The thread that took it; 0 where that was not seen.
    pub tid: u32,
    /// It certainly held it throughout one of the attempts.
    pub certain: bool,
    /// Its connection's last call was made by the victim's thread.
    pub same_thread: bool,
    /// Attempts it refused, or may have refused.
    pub attempts: u32,
    /// What it was doing.
    pub state: State,
    /// The incident in which it waits itself, an index into [`crate::analysis::Analysis::incidents`]; `None` where that is not listed, too.
    pub waits_in: Option<u32>,
    /// From its beginning to the first attempt, in nanoseconds; `None` where that is not known.
    pub held_before_ns: Option<u64>,
    /// From the last attempt (or the success) to its end, in nanoseconds; `None` where that is not known.
    pub held_after_ns: Option<u64>,
}

/// One incident.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Incident {
    /// The database, an index into [`crate::analysis::Analysis::databases`]; `None` where it is not known.
    pub db: Option<u32>,
    /// What was asked for.
    pub request: Request,
    /// The victim.
    pub who: ConnId,
    /// Its thread.
    pub tid: u32,
    /// Its statement; 0 = none, or not known.
    pub sql: u64,
    /// The blockers; the one that refused most attempts comes first.
    pub blockers: Vec<Blocker>,
    /// Further ones, not kept.
    pub more_blockers: u32,
    /// The ticks at which the attempt began about which the kernel was asked ([`crate::trace::Names::outside`]). Set where no traced
    /// connection was in the way, and the kernel named a process outside the trace.
    pub outside: Option<u64>,
    /// When the first attempt began.
    pub first: Instant,
    /// When the lock was granted; otherwise when the last attempt was refused.
    pub until: Instant,
    /// Refused attempts.
    pub attempts: u32,
    /// Sleeps between them through SQLite's `xSleep`.
    pub sleeps: u32,
    /// The time those sleeps asked for, in microseconds.
    pub slept_us: u64,
    /// How it ended.
    pub end: IncidentEnd,
    /// It gave up, and no statement failed by that: `PRAGMA wal_checkpoint` gives a row whose first column says that it was busy.
    pub checkpoint_busy: bool,
    /// Its statement went on without the lock ([`crate::analysis::waits::wait::WaitEnd::WentOn`]).
    pub went_on: bool,
    /// Why.
    pub cause: Cause,
    /// What made it worse.
    pub contributing: Vec<Contributing>,
    /// The records all this rests on.
    pub evidence: Vec<Evidence>,
    /// Its wait, counted from 0 through the trace: an index into [`crate::analysis::Analysis::waits`], as far as that goes. `None` where no
    /// call failed, or where it is about several waits.
    pub wait: Option<u32>,
}

/// The processes in the kernel's answer that are not in the trace.
pub fn untraced<'a>(trace: &'a Trace, answer: &'a Outside) -> impl Iterator<Item = &'a OutsideHolder> {
    answer.others().filter(|holder| trace.logs().iter().all(|log| i64::from(log.pid) != holder.pid))
}

/// The chain of waits from this incident on: each incident in it is the reason for the one before. At most `KEPT` of them.
pub fn chain(incidents: &[Incident], from: u32) -> Vec<u32> {
    let mut passed = vec![from];
    while passed.len() < KEPT {
        let last = passed.last().and_then(|&index| incidents.get(index as usize));
        let next = last.and_then(|incident| incident.blockers.iter().find_map(|blocker| blocker.waits_in));
        match next {
            Some(next) if !passed.contains(&next) => passed.push(next),
            _ => break,
        }
    }
    passed
}
