//! A refused attempt and its candidates, as the reports show them.
#![forbid(unsafe_code)]

use crate::analysis::locks::lock::{LockId, Request};
use crate::analysis::locks::state::ConnId;
use crate::analysis::order::instants::Instant;
use shim::event::ResultCode;

/// A refused attempt to take a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The connection that was refused.
    pub who: ConnId,
    /// The database, an index into [`crate::analysis::Analysis::databases`]; `None` if unknown.
    pub db: Option<u32>,
    /// What the attempt asked for.
    pub request: Request,
    /// The record's number in its log.
    pub number: u64,
    /// The thread that was refused.
    pub tid: u32,
    /// The hash of the statement that was running; 0 = none, or unknown.
    pub sql: u64,
    /// The result code.
    pub rc: ResultCode,
    /// When the call began.
    pub start: Instant,
    /// When it had returned.
    pub end: Instant,
    /// The connection closed next: it only wanted to know whether it is the last one, and SQLite expects to be refused.
    pub closing: bool,
    /// The wait it belongs to, an index into [`crate::analysis::Analysis::waits`].
    pub wait: u32,
    /// The candidates: either all certain or all possible.
    pub candidates: Vec<Candidate>,
    /// How many further candidates there are.
    pub more_candidates: u32,
    /// SQLite refused it inside the process, because another connection of the process has the lock. SQLite did not ask the kernel.
    pub in_process: bool,
    /// The attempt after which the recorder asked the kernel who has the lock; see [`crate::analysis::Analysis::outside`].
    pub kernel_query: Option<KernelQuery>,
    /// A possible candidate may be missing. Either holds that ended before the attempt were forgotten, or no candidate is certain any more.
    /// While one was certain, the analysis looked for no others.
    pub forgotten: bool,
    /// The attempt is in the sums: nothing about it changes any more.
    pub(crate) counted: bool,
}

impl Refusal {
    /// Whether a traced connection certainly refused the attempt. Then no process outside the trace needs to be named.
    pub fn has_certain(&self) -> bool {
        self.candidates.iter().any(|candidate| candidate.certain)
    }

    /// Makes these candidates merely possible.
    pub(crate) fn doubt(&mut self, whom: impl Fn(&Candidate) -> bool) {
        let certain = self.has_certain();
        for candidate in self.candidates.iter_mut().filter(|candidate| whom(candidate)) {
            candidate.certain = false;
        }
        self.forgotten |= certain && !self.has_certain();
    }
}

/// The attempt of a wait after which the recorder asked the kernel who has the lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelQuery {
    /// The ticks at which that attempt began, as in its record.
    pub start: u64,
    /// Whether it is this attempt. Otherwise it is an earlier one of the same wait.
    pub here: bool,
}

/// A connection that refused an attempt, or may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The connection.
    pub who: ConnId,
    /// The lock it held. Of a lock on the database file, the weakest level that refuses the attempt.
    pub lock: LockId,
    /// The thread that took the lock; 0 if that call was not seen.
    pub tid: u32,
    /// The hash of the statement that took the lock; 0 = none, or unknown.
    pub sql: u64,
    /// When the call that took the lock began. If that call was not seen, the last instant at which the lock was certainly not held yet.
    pub since: Instant,
    /// Whether the call that took the lock was seen.
    pub seen: bool,
    /// Whether the connection certainly held the lock throughout the attempt.
    pub certain: bool,
    /// The refused thread made the last call on this connection.
    pub same_thread: bool,
}
