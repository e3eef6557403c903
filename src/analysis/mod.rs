//! What happened: per database, who held which lock for how long, who was refused and by whom, who waited.
//!
//! In comes a [`Trace`]; out goes an [`Analysis`], which the reports render. Pure and streaming: one pass over the records, and memory
//! that grows with the number of connections that are open at a time but not with the length of the trace, nor with how much was refused.
//!
//! [`timeline`] follows each connection's locks, `blockers` finds the holders behind each refusal, [`waits`] joins refusals to
//! runs, [`database`] counts. [`holding`] watches over the holds that refused somebody, `decide` puts runs and holds together to an [`incident`], [`cause`] says
//! why, `settle` says when: [`totals`] counts them all, `listed` keeps those worth listing. [`hazard`] what else can go wrong. [`watch`] tells others of every hold as it goes by; [`now`] is for programs that are running. Nothing is guessed: what is not proven is called possible, unseen, unknown or unexplained.
#![forbid(unsafe_code)]

pub mod activity;
mod asleep;
pub mod attempts;
pub mod audit;
mod blockers;
pub mod cause;
mod connections;
pub mod database;
mod decide;
mod gaps;
pub mod harmless;
pub mod hazard;
pub mod holding;
pub mod incident;
mod listed;
pub mod lock;
mod mode;
pub mod now;
mod passing;
mod pauses;
pub mod refusal;
mod refused;
mod run;
mod runs;
mod seen;
mod settle;
pub mod snapshot;
pub mod sql;
mod starved;
pub mod timeline;
pub(crate) mod times;
pub mod totals;
pub(crate) mod waiting;
pub mod waits;
pub mod watch;
mod window;

pub use attempts::Attempts;
pub use cause::{Cause, Contributing, Evidence, Role};
pub use database::{Database, Distribution, Hold, LockStats};
pub use harmless::Harmless;
pub use hazard::{Hazard, HazardKind};
pub use holding::{Ending, Holding};
pub use incident::{Blocker, Ended, Incident, State};
pub use lock::{LockId, Request};
pub use refusal::{Asked, Holder, Refusal};
pub use timeline::ConnId;
pub use times::Instant;
pub use totals::Totals;
pub use waits::{Outcome, Wait};
pub use watch::Watch;

use crate::trace::{Error, LogId, Outside, Summary, Trace};
use run::Run;
use settle::Facts;
use times::Times;

/// What to keep.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many of the longest holds of each database.
    pub longest: usize,
    /// How many incidents, runs of refused attempts and refused attempts to keep one by one: the first ones, and of the incidents the worst of each kind. The
    /// sums ([`Totals`], [`Attempts`]) are of all of them.
    pub listed: usize,
    /// How many runs of refused attempts are at hand before the first of them is decided; four times as many attempts. Whatever ends later is not
    /// known to what it delayed.
    pub at_hand: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { longest: 10, listed: 10_000, at_hand: 8_192 }
    }
}

/// What one pass gives: whether holds seemed to exclude each other; who audits; what should have been assumed.
type Passed<'t> = (Analysis<'t>, bool, Option<audit::Run<'t>>, Option<Facts>);

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
    /// Runs of refused attempts: the first ones, as many as [`Options::listed`] says.
    pub waits: Vec<Wait>,
    /// What mattered of them, and the upgrades that failed without a refused call, in time order; all, or as many as [`Options::listed`] says.
    pub incidents: Vec<Incident>,
    /// The holds that were in the way in these incidents.
    pub holdings: Vec<Holding>,
    /// Sums over all incidents, listed or not.
    pub totals: Totals,
    /// Sums over all refused attempts, listed or not.
    pub attempts: Attempts<'t>,
    /// What can go wrong, found without any refusal.
    pub hazards: Vec<Hazard>,
    /// What was to be kept.
    pub options: Options,
    /// Records that were read.
    pub records: u64,
    /// The wall-clock time of the first and the last instant, in nanoseconds since 1970.
    pub span: Option<(u64, u64)>,
    times: Times<'t>,
}

impl<'t> Analysis<'t> {
    /// Reads a whole trace.
    ///
    /// # Errors
    /// As [`Trace::events`].
    pub fn of(trace: &'t Trace, options: Options) -> Result<Analysis<'t>, Error> {
        Analysis::over(trace, options, None)
    }

    /// Reads a whole trace, and tells `watch` of every hold on the way.
    ///
    /// # Errors
    /// As [`Trace::events`].
    pub fn watched(trace: &'t Trace, options: Options, watch: &mut dyn Watch) -> Result<Analysis<'t>, Error> {
        Analysis::over(trace, options, Some(watch))
    }

    fn over(trace: &'t Trace, options: Options, watch: Option<&mut dyn Watch>) -> Result<Analysis<'t>, Error> {
        let (mut analysis, contradiction, auditor) = match Analysis::pass(trace, options, Facts::assumed(trace), watch)? {
            (.., Some(facts)) if !trace.is_read_once() => {
                // Something is missing that nobody could know of before, and much was decided by then.
                let (analysis, contradiction, auditor, _) = Analysis::pass(trace, options, facts, None)?;
                (analysis, contradiction, auditor)
            }
            (analysis, contradiction, auditor, _) => (analysis, contradiction, auditor),
        };
        if contradiction {
            let audit = match auditor {
                Some(auditor) => auditor.finish(),
                None => audit::Audit::of(trace)?,
            };
            analysis.hazards.extend(hazard::lost_locks(trace, &analysis.databases, &audit));
            analysis.hazards.sort_by_key(|hazard| (hazard.db, hazard.kind));
        }
        Ok(analysis)
    }

    fn pass(trace: &'t Trace, options: Options, facts: Facts, watch: Option<&mut dyn Watch>) -> Result<Passed<'t>, Error> {
        let mut events = trace.events()?;
        let mut run = Run::new(trace, options, facts, watch);
        // JSON lines can be read only once, so they are audited as they pass; a directory is read again, and only where that may show
        // something.
        let mut auditor = trace.is_read_once().then(|| audit::Run::new(trace));
        let mut stopped = false;
        while let Some(event) = events.advance() {
            if let Some(auditor) = &mut auditor {
                auditor.event(event);
            }
            run.event(event);
            if run.enough() {
                stopped = true;
                break;
            }
        }
        let contradiction = run.contradiction();
        let (analysis, better) = run.finish(if stopped { events.stop() } else { events.finish() });
        Ok((analysis, contradiction, auditor, better.filter(|_| !stopped)))
    }

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

    /// What the kernel said about a refused attempt, or about an earlier one of the same run ([`Asked::here`]): who held the lock a moment
    /// later, in or outside the trace. A reading after the fact: whoever it names may have taken the lock in between.
    pub fn outside(&self, refusal: &Refusal) -> Option<&Outside> {
        self.trace.log(refusal.who.log).names.outside(refusal.who.conn, refusal.asked?.start)
    }

    /// How many incidents, runs and refused attempts are counted and not listed.
    pub fn not_listed(&self) -> [u64; 3] {
        let totals = &self.totals;
        let all = [totals.incidents.count, totals.waits, totals.refusals];
        let listed = [self.incidents.len(), self.waits.len(), self.refusals.len()];
        std::array::from_fn(|i| all[i].saturating_sub(listed[i] as u64))
    }

    /// Whether records are missing that could have named a holder.
    pub fn has_losses(&self) -> bool {
        self.summary.tallies.iter().any(|tally| tally.unread() > 0)
    }

    /// Whether every record was read, and in its place.
    pub fn is_whole(&self) -> bool {
        !self.has_losses() && self.summary.late == 0
    }
}
