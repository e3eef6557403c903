//! Everything that was found in a trace, as the reports read it, and the options that say how much of it to keep.
#![forbid(unsafe_code)]

use super::causes::hazards::Hazard;
use super::incidents::incident::Incident;
use super::incidents::totals::Totals;
use super::locks::blocking_holds::BlockingHold;
use super::locks::databases::Database;
use super::order::instants::{Instant, Times};
use super::waits::refusal::Refusal;
use super::waits::refusal_stats::RefusalStats;
use super::waits::wait::Wait;
use crate::trace::{LogId, Outside, Summary, Trace};

/// What to keep.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many of the longest holds of each database.
    pub longest: usize,
    /// How many incidents, waits and refused attempts to keep one by one: the first ones, and of the incidents the worst of each kind. The
    /// sums ([`Totals`], [`RefusalStats`]) are of all of them.
    pub listed: usize,
    /// How many waits are at hand before the first of them is decided; and four times as many attempts. What a wait delayed is not known
    /// where that ends later.
    pub at_hand: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { longest: 10, listed: 10_000, at_hand: 8_192 }
    }
}

/// Everything found in a trace.
pub struct Analysis<'t> {
    /// The trace: the names for the numbers in here.
    pub trace: &'t Trace,
    /// What was read and what was not, and what was wrong.
    pub summary: Summary,
    /// Every database with records.
    pub databases: Vec<Database>,
    /// Refused attempts, in time order: the first ones, as many as [`Options::listed`] says.
    pub refusals: Vec<Refusal>,
    /// Waits: the first ones, as many as [`Options::listed`] says.
    pub waits: Vec<Wait>,
    /// The waits that mattered, and the upgrades that failed without a refused call, in time order; all, or as many as [`Options::listed`]
    /// says.
    pub incidents: Vec<Incident>,
    /// The holds that were in the way in these incidents.
    pub blocking_holds: Vec<BlockingHold>,
    /// Sums over all incidents, listed or not.
    pub totals: Totals,
    /// Sums over all refused attempts, listed or not.
    pub refusal_stats: RefusalStats<'t>,
    /// What can go wrong, found without any refusal.
    pub hazards: Vec<Hazard>,
    /// What was to be kept.
    pub options: Options,
    /// Records that were read.
    pub records: u64,
    /// The wall-clock time of the first and the last instant, in nanoseconds since 1970.
    pub span: Option<(u64, u64)>,
    pub(super) times: Times<'t>,
}

impl<'t> Analysis<'t> {
    /// Nanoseconds between two instants of this log; `None` where the length of a tick is unknown.
    pub fn ns(&self, log: LogId, from: Instant, to: Instant) -> Option<u64> {
        self.times.ns(log, from, to)
    }

    /// The wall-clock time of an instant of this log, in nanoseconds since 1970; `None` where the length of a tick is unknown.
    pub fn real_ns(&self, log: LogId, at: Instant) -> Option<u64> {
        self.times.real_ns(log, at)
    }

    /// The instant that places a record in the order of the trace.
    pub fn instant(&self, event: &crate::trace::Event) -> Instant {
        let release = crate::trace::is_release(&event.record);
        if release { self.times.start(event.log, &event.record) } else { self.times.end(event.log, &event.record) }
    }

    /// What the kernel said about a refused attempt, or about an earlier one of the same wait ([`crate::analysis::Asked::here`]). It names
    /// the process that held the lock a moment later, in or outside the trace. It is a reading after the fact: that process may have taken
    /// the lock in between.
    pub fn outside(&self, refusal: &Refusal) -> Option<&Outside> {
        self.trace.log(refusal.who.log).names.outside(refusal.who.conn, refusal.asked?.start)
    }

    /// How many incidents, waits and refused attempts are counted and not listed.
    pub fn not_listed(&self) -> [u64; 3] {
        let totals = &self.totals;
        let all = [totals.incidents.count, totals.waits, totals.refusals];
        let listed = [self.incidents.len(), self.waits.len(), self.refusals.len()];
        std::array::from_fn(|i| all[i].saturating_sub(listed[i] as u64))
    }

    /// Whether records are missing that could have shown a candidate.
    pub fn has_losses(&self) -> bool {
        self.summary.tallies.iter().any(|tally| tally.unread() > 0)
    }

    /// Whether every record was read, and in its place.
    pub fn is_whole(&self) -> bool {
        !self.has_losses() && self.summary.late == 0
    }
}
