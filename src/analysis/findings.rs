//! The findings of an analysis, as the reports read them, and the options that say how much of them to keep.
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

/// How much an analysis keeps.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many of the longest holds of each database to keep.
    pub longest: usize,
    /// How many incidents, waits and refused attempts to keep one by one: the first ones, and the worst incidents of each kind. The sums
    /// ([`Totals`], [`RefusalStats`]) cover all of them.
    pub listed: usize,
    /// How many waits, and four times as many attempts, may be pending before the analysis decides the oldest wait. If something that this wait
    /// delayed ends only after that, the delay stays unknown.
    pub at_hand: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { longest: 10, listed: 10_000, at_hand: 8_192 }
    }
}

/// Everything found in a trace.
pub struct Analysis<'t> {
    /// The trace. It has the names for the numbers in these findings.
    pub trace: &'t Trace,
    /// Which records were read, which were not, and what was damaged.
    pub summary: Summary,
    /// Every database that has records.
    pub databases: Vec<Database>,
    /// The first refused attempts, in time order, as many as [`Options::listed`] allows.
    pub refusals: Vec<Refusal>,
    /// The first waits, as many as [`Options::listed`] allows.
    pub waits: Vec<Wait>,
    /// The waits that an application can notice, and the upgrades that failed without a refused call. In time order, as many as
    /// [`Options::listed`] allows.
    pub incidents: Vec<Incident>,
    /// The holds that refused an attempt in these incidents, or may have.
    pub blocking_holds: Vec<BlockingHold>,
    /// Sums over all incidents, listed or not.
    pub totals: Totals,
    /// Sums over all refused attempts, listed or not.
    pub refusal_stats: RefusalStats<'t>,
    /// What can go wrong, found even if nothing was refused.
    pub hazards: Vec<Hazard>,
    /// The options of this analysis.
    pub options: Options,
    /// The number of records read.
    pub records: u64,
    /// The wall-clock time of the first and the last instant, in nanoseconds since 1970.
    pub span: Option<(u64, u64)>,
    /// If records were overwritten: from when on all logs are complete, in nanoseconds since 1970; `None` if that is unknown.
    pub whole_since: Option<u64>,
    pub(super) times: Times<'t>,
}

impl<'t> Analysis<'t> {
    /// Nanoseconds between two instants of this log; `None` if the length of a tick is unknown.
    pub fn ns(&self, log: LogId, from: Instant, to: Instant) -> Option<u64> {
        self.times.ns(log, from, to)
    }

    /// The wall-clock time of an instant of this log, in nanoseconds since 1970; `None` if the length of a tick is unknown.
    pub fn real_ns(&self, log: LogId, at: Instant) -> Option<u64> {
        self.times.real_ns(log, at)
    }

    /// The instant that places a record in the order of the trace.
    pub fn instant(&self, event: &crate::trace::Event) -> Instant {
        let release = crate::trace::is_release(&event.record);
        if release { self.times.start(event.log, &event.record) } else { self.times.end(event.log, &event.record) }
    }

    /// The kernel's answer about a refused attempt, or about an earlier one of the same wait ([`crate::analysis::KernelQuery::here`]). It names
    /// the process, traced or not, that held the lock a moment after the refusal. That process may have taken the lock in that moment.
    pub fn outside(&self, refusal: &Refusal) -> Option<&Outside> {
        self.trace.log(refusal.who.log).names.outside(refusal.who.conn, refusal.kernel_query?.start)
    }

    /// How many incidents, waits and refused attempts are counted but not listed.
    pub fn not_listed(&self) -> [u64; 3] {
        let totals = &self.totals;
        let all = [totals.incidents.count, totals.waits, totals.refusals];
        let listed = [self.incidents.len(), self.waits.len(), self.refusals.len()];
        std::array::from_fn(|i| all[i].saturating_sub(listed[i] as u64))
    }

    /// Whether any record that could have shown a candidate is missing.
    pub fn has_losses(&self) -> bool {
        self.summary.tallies.iter().any(|tally| tally.unread() > 0)
    }

    /// Whether every record was read, and in its right place.
    pub fn is_whole(&self) -> bool {
        !self.has_losses() && self.summary.late == 0
    }
}
