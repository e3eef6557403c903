//! A refused attempt and its candidates, as the reports show them.
#![forbid(unsafe_code)]

use crate::analysis::locks::lock::{LockId, Request};
use crate::analysis::locks::state::ConnId;
use crate::analysis::order::instants::Instant;
use shim::event::ResultCode;

/// A refused attempt to take a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whose attempt.
    pub who: ConnId,
    /// The database, an index into [`crate::analysis::Analysis::databases`]; `None` where it is not known.
    pub db: Option<u32>,
    /// What it asked for.
    pub request: Request,
    /// The record's number in its log.
    pub number: u64,
    /// The thread.
    pub tid: u32,
    /// The hash of the statement that was running; 0 = none, or not known.
    pub sql: u64,
    /// The result code.
    pub rc: ResultCode,
    /// When the call began.
    pub start: Instant,
    /// When it had returned.
    pub end: Instant,
    /// The connection closed next: it asked only whether it is the last one, and SQLite expects to be refused.
    pub closing: bool,
    /// The wait it belongs to, an index into [`crate::analysis::Analysis::waits`].
    pub wait: u32,
    /// The candidates: either all certain or all possible.
    pub candidates: Vec<Candidate>,
    /// Further candidates, not named.
    pub more_candidates: u32,
    /// It was refused inside its own process: another connection there has the lock, and the kernel was not asked.
    pub in_process: bool,
    /// When the kernel was asked who has the lock; see [`crate::analysis::Analysis::outside`].
    pub asked: Option<Asked>,
    /// A possible candidate may be missing. Either holds that ended before it were forgotten, or the only certain candidate, for which no
    /// others were looked for, is not certain any more.
    pub forgotten: bool,
    /// It is in the sums: nothing about it changes any more.
    pub(crate) counted: bool,
}

impl Refusal {
    /// Whether a traced connection was certainly in the way. Then no process outside the trace needs to be named.
    pub fn has_certain(&self) -> bool {
        self.candidates.iter().any(|candidate| candidate.certain)
    }

    /// These candidates are no more than possible.
    pub(crate) fn doubt(&mut self, whom: impl Fn(&Candidate) -> bool) {
        let certain = self.has_certain();
        for candidate in self.candidates.iter_mut().filter(|candidate| whom(candidate)) {
            candidate.certain = false;
        }
        self.forgotten |= certain && !self.has_certain();
    }
}

/// The attempt of a wait about which the kernel was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The ticks at which that attempt began, as in its record.
    pub start: u64,
    /// It is this attempt; otherwise an earlier one of the same wait.
    pub here: bool,
}

/// A connection that refused an attempt, or may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The connection.
    pub who: ConnId,
    /// What it held: of a lock on the database file, the weakest level that refuses the attempt.
    pub lock: LockId,
    /// The thread that took it; 0 where that was not seen.
    pub tid: u32,
    /// The hash of the statement that took it; 0 = none, or not known.
    pub sql: u64,
    /// When the call that took it began. Where that call was not seen: the last instant at which it was certainly not held yet.
    pub since: Instant,
    /// Whether the call that took it was seen.
    pub seen: bool,
    /// Whether it certainly held it all through the attempt.
    pub certain: bool,
    /// Its connection's last call was made by the thread that was refused.
    pub same_thread: bool,
}
