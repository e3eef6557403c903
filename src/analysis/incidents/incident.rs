//! Incidents: the waits that an application can notice, each with its blockers, its cause and the evidence.
//!
//! A wait that no application notices is no incident ([`crate::analysis::waits::harmless`]). An upgrade from a stale snapshot is one, although no recorded
//! call fails.
#![forbid(unsafe_code)]

use crate::analysis::causes::cause::Cause;
use crate::analysis::causes::contributing::Contributing;
use crate::analysis::causes::evidence::Evidence;
use crate::analysis::locks::lock::Request;
use crate::analysis::locks::state::ConnId;
use crate::analysis::order::instants::Instant;
use crate::trace::{Outside, OutsideHolder, Trace};

/// How many blockers are kept for one incident. Further ones are counted.
pub(crate) const KEPT: usize = 8;

/// What the holder was doing while the victim was refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum State {
    /// As far as its calls show, it was at work.
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
    /// It is outside the trace.
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
    /// The lock was granted in the end, or the statement went on without it ([`Incident::went_on`]).
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

/// A connection that refused a victim, or may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocker {
    /// Its hold, an index into [`crate::analysis::Analysis::blocking_holds`].
    pub hold: u32,
    /// The thread that took the lock; 0 if that call was not seen.
    pub tid: u32,
    /// Whether it certainly held the lock throughout one of the attempts.
    pub certain: bool,
    /// Whether the victim's thread made the last call on its connection.
    pub same_thread: bool,
    /// How many attempts it refused, or may have refused.
    pub attempts: u32,
    /// What it was doing.
    pub state: State,
    /// The incident in which it waits itself, an index into [`crate::analysis::Analysis::incidents`]. `None` if there is none, or it is not
    /// listed.
    pub waits_in: Option<u32>,
    /// The time from the beginning of its hold to the first attempt, in nanoseconds; `None` if unknown.
    pub held_before_ns: Option<u64>,
    /// The time from the last attempt (or the success) to the end of its hold, in nanoseconds; `None` if unknown.
    pub held_after_ns: Option<u64>,
}

/// One incident.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Incident {
    /// The database, an index into [`crate::analysis::Analysis::databases`]; `None` if unknown.
    pub db: Option<u32>,
    /// What the victim asked for.
    pub request: Request,
    /// The victim.
    pub who: ConnId,
    /// The victim's thread.
    pub tid: u32,
    /// The hash of the victim's statement; 0 = none, or unknown.
    pub sql: u64,
    /// The hash of the statement that began the read transaction of a refused upgrade; 0 = none, or unknown.
    pub reading_sql: u64,
    /// The victim's own unfinished statement keeps that read transaction open: the victim asked for its write lock with a BEGIN, which SQLite takes
    /// only outside a transaction.
    pub own_cursor: bool,
    /// The blockers. The one that refused most attempts comes first.
    pub blockers: Vec<Blocker>,
    /// How many further blockers there are.
    pub more_blockers: u32,
    /// Set if there is no traced candidate and the kernel named a process outside the trace. The value is the ticks at which the attempt began
    /// after which the recorder asked the kernel ([`crate::trace::Names::outside`]).
    pub outside: Option<u64>,
    /// When the first attempt began.
    pub first: Instant,
    /// When the lock was granted. If it was not, when the last attempt was refused.
    pub until: Instant,
    /// Refused attempts.
    pub attempts: u32,
    /// Sleeps between the attempts, through SQLite's `xSleep`.
    pub sleeps: u32,
    /// The sum of the times that those sleeps asked for, in microseconds.
    pub slept_us: u64,
    /// How the incident ended.
    pub end: IncidentEnd,
    /// The victim gave up, but no statement failed: `PRAGMA wal_checkpoint` gives a row whose first column says that it was busy.
    pub checkpoint_busy: bool,
    /// The statement went on without the lock ([`crate::analysis::waits::wait::WaitEnd::WentOn`]).
    pub went_on: bool,
    /// Why the victim was refused.
    pub cause: Cause,
    /// What made it worse.
    pub contributing: Vec<Contributing>,
    /// The records that all this rests on.
    pub evidence: Vec<Evidence>,
    /// The number of its wait, counted from 0 through the trace: an index into [`crate::analysis::Analysis::waits`] if that lists the wait.
    /// `None` if no call failed, or if the incident covers several waits.
    pub wait: Option<u32>,
}

/// The processes in the kernel's answer that are not in the trace.
pub fn untraced_holders<'a>(trace: &'a Trace, answer: &'a Outside) -> impl Iterator<Item = &'a OutsideHolder> {
    answer.others().filter(|holder| !trace.has_process(holder.pid))
}

/// The chain of waits from this incident on: the victim of each incident blocks the one before. At most `KEPT` incidents.
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
