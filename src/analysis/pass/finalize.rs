//! The finalizer of a pass: it decides each wait once nothing changes it any more, counts it, and keeps the incidents for the reports.
//!
//! The finalizer decides a wait when [`Options::at_hand`] later ones have begun, or the trace has ended. Nearly always the wait and the holds of its
//! candidates are over by then. If they are not, it decides as if the trace had ended there. It then knows less, but concludes nothing false.
//!
//! Which records are missing is known only at the end. Until then the finalizer assumes it. If the assumption was wrong, the trace is read again
//! ([`Missing`]).
#![forbid(unsafe_code)]

use super::holds::Holds;
use super::refusals::Refusals;
use super::tables::Tables;
use crate::analysis::findings::Options;
use crate::analysis::incidents::build::{self, Known};
use crate::analysis::incidents::incident::{Incident, IncidentEnd, untraced_holders};
use crate::analysis::incidents::keep::KeptIncidents;
use crate::analysis::incidents::starved_checkpoints::StarvedCheckpoints;
use crate::analysis::incidents::totals::Totals;
use crate::analysis::locks::blocking_holds::{BlockingHold, BlockingHolds};
use crate::analysis::locks::commits::Stale;
use crate::analysis::order::instants::{Instant, Times};
use crate::analysis::waits::harmless::{Harmless, harmless};
use crate::analysis::waits::pending::CandidateHold;
use crate::analysis::waits::refusal_stats::RefusalStats;
use crate::trace::{LogId, Trace};
use std::collections::HashMap;

/// How many refused attempts may be pending for each pending wait.
const ATTEMPTS: usize = 4;

/// Which records are missing from a trace: assumed during the pass, known at its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Missing {
    /// Records that could have shown a candidate are missing.
    pub losses: bool,
    /// By log, whether more than one record is missing between others. A release and the next acquisition can be among them.
    pub lossy: Vec<bool>,
}

impl Missing {
    /// The assumption at the start: only the losses that the logs' headers show.
    pub(super) fn assumed(trace: &Trace) -> Missing {
        let losses = trace.logs().iter().any(|log| log.head > log.capacity || log.lost_space > 0);
        Missing { losses, lossy: vec![false; trace.logs().len()] }
    }
}

/// The decisions about waits, and the sums.
pub(super) struct Finalizer<'t> {
    pub totals: Totals,
    pub stats: RefusalStats<'t>,
    pub kept: KeptIncidents,
    starved: StarvedCheckpoints,
    pub missing: Missing,
    /// The latest sign of life of each log.
    alive: Vec<Instant>,
    pub options: Options,
    /// Some wait was decided before the trace had ended.
    pub early: bool,
}

impl<'t> Finalizer<'t> {
    pub(super) fn new(options: Options, missing: Missing) -> Finalizer<'t> {
        Finalizer {
            totals: Totals::default(),
            stats: RefusalStats::default(),
            kept: KeptIncidents::new(options.listed),
            starved: StarvedCheckpoints::default(),
            missing,
            alive: Vec::new(),
            options,
            early: false,
        }
    }

    fn add(&mut self, times: &Times<'_>, blocking_holds: &BlockingHolds, incident: Incident) {
        let waited = times.ns(incident.who.log, incident.first, incident.until).unwrap_or(0);
        let blocker = incident.blockers.first().map(|blocker| &blocking_holds.all[blocker.hold as usize]);
        self.totals.add(&incident, waited, blocker.map(|hold| (hold.who, hold.sql)));
        let sql = blocker.map_or(0, |hold| hold.sql);
        self.kept.add(incident.end == IncidentEnd::GaveUp && !incident.checkpoint_busy, waited, sql, incident);
    }

    fn known<'a>(&'a self, tables: &'a Tables<'t>, refusals: &'a Refusals<'t>, holds: &'a Holds) -> Known<'a> {
        Known {
            trace: tables.trace,
            times: tables.times,
            databases: &tables.databases.all,
            waits: &refusals.pending,
            blocking_holds: &holds.blocking,
            gaps: &tables.logs.gaps,
            losses: self.missing.losses,
            alive: &self.alive,
        }
    }

    /// Decides the oldest waits early if too many waits, attempts or holds are pending.
    #[inline]
    pub(super) fn make_room(&mut self, tables: &mut Tables<'t>, refusals: &mut Refusals<'t>, holds: &mut Holds) {
        let (waits, attempts) = (refusals.pending.undecided(), refusals.conflicts.refusals.len());
        // In batches, because some of the work costs the same for one as for many.
        let keep = self.options.at_hand;
        let many = keep.saturating_add(keep / 8);
        if waits > many || attempts > many.saturating_mul(ATTEMPTS) || holds.blocking.is_full() {
            self.decide_early(tables, refusals, holds);
        }
    }

    #[cold]
    fn decide_early(&mut self, tables: &mut Tables<'t>, refusals: &mut Refusals<'t>, holds: &mut Holds) {
        let keep = self.options.at_hand;
        self.update_known(tables);
        self.early = true;
        while refusals.pending.undecided() > keep {
            if let Some(number) = refusals.pending.turn() {
                self.decide(tables, refusals, holds, number);
            }
        }
        while refusals.conflicts.refusals.len() > keep.saturating_mul(ATTEMPTS) {
            self.count(tables, refusals, holds, refusals.conflicts.refusals.base());
            refusals.conflicts.refusals.remove_oldest();
        }
        refusals.pending.forget(keep);
        let mut starved = std::mem::take(&mut self.starved);
        let gone = starved.remove_ended(&self.known(tables, refusals, holds));
        self.starved = starved;
        gone.into_iter().for_each(|incident| self.add(&tables.times, &holds.blocking, incident));
        self.forget_holds(tables, refusals, holds);
    }

    /// Updates what is final only at the end of the trace: signs of life and missing records.
    fn update_known(&mut self, tables: &mut Tables<'t>) {
        self.alive = tables.logs.alive_at_end(tables.trace, &tables.times);
        if tables.trace.is_read_once() {
            // This trace cannot be read again, so what is missing so far counts.
            let missing = &mut self.missing;
            for (gaps, lossy) in tables.logs.gaps.iter().zip(&mut missing.lossy) {
                missing.losses |= gaps.missing() > 0;
                *lossy |= gaps.missing() > 1;
            }
        }
    }

    /// Decides a wait that ended after its turn.
    #[cold]
    pub(super) fn decide_late(&mut self, tables: &mut Tables<'t>, refusals: &mut Refusals<'t>, holds: &mut Holds, number: u32) {
        self.update_known(tables);
        self.decide(tables, refusals, holds, number);
    }

    /// Adds an attempt to the sums, and its candidates to its wait. Nothing more will be known about it.
    fn count(&mut self, tables: &Tables<'t>, refusals: &mut Refusals<'t>, holds: &Holds, number: u32) {
        let Some(refusal) = refusals.conflicts.refusals.get_mut(number).filter(|refusal| !refusal.counted) else { return };
        let (missing, alive) = (&self.missing, &self.alive);
        refusal.counted = true;
        let end = refusal.end;
        // If more than one record is lost between others, a release and the next acquisition can be among them.
        let gone = |log: LogId| alive.get(log.0 as usize).is_some_and(|&alive| alive < end);
        refusal.doubt(|candidate| missing.lossy[candidate.who.log.0 as usize] || gone(candidate.who.log));
        // Candidates that are still certain make the others irrelevant.
        if refusal.has_certain() {
            refusal.candidates.retain(|candidate| candidate.certain);
        }
        self.stats.add(tables.trace, number, refusal);
        let Some(wait) = refusals.pending.get_mut(refusal.wait) else { return };
        if wait.refusals.front() == Some(&number) {
            wait.refusals.pop_front();
        }
        wait.more = wait.more.max(refusal.more_candidates);
        wait.incomplete |= refusal.forgotten && !refusal.has_certain();
        for candidate in &refusal.candidates {
            let Some(hold) = holds.blocking.find(candidate.who, candidate.lock, candidate.since) else { continue };
            let (tid, certain, same_thread) = (candidate.tid, candidate.certain, candidate.same_thread);
            wait.add_candidate(CandidateHold { hold, tid, certain, same_thread, attempts: 1 });
        }
        if let Some(query) = refusal.kernel_query.filter(|query| query.here && wait.outside.is_none()) {
            let answer = tables.trace.log(refusal.who.log).names.outside(refusal.who.conn, query.start);
            let named = answer.is_some_and(|answer| untraced_holders(tables.trace, answer).next().is_some());
            wait.outside = named.then_some(query.start);
        }
    }

    /// Makes an incident of a wait that is set aside, or finds it harmless.
    fn decide(&mut self, tables: &mut Tables<'t>, refusals: &mut Refusals<'t>, holds: &mut Holds, number: u32) {
        let attempts = refusals.pending.get_mut(number).map(|wait| std::mem::take(&mut wait.refusals)).unwrap_or_default();
        attempts.into_iter().for_each(|attempt| self.count(tables, refusals, holds, attempt));
        let Some(wait) = refusals.pending.get(number) else { return };
        let known = self.known(tables, refusals, holds);
        match harmless(&wait.wait) {
            None => {
                let incident = build::of_wait(&known, number, wait);
                self.add(&tables.times, &holds.blocking, incident);
            }
            Some(kind) => {
                if kind == Harmless::PassiveCheckpoint {
                    self.starved.add(&holds.blocking, wait);
                }
                *self.totals.harmless.entry(kind).or_default() += 1;
            }
        }
        refusals.pending.decided(number);
    }

    /// Adds an upgrade from a stale snapshot. Everything about it is known at once.
    #[cold]
    pub(super) fn upgrade_failed(
        &mut self,
        tables: &mut Tables<'t>,
        refusals: &mut Refusals<'t>,
        holds: &mut Holds,
        stale: &Stale,
        waited: bool,
    ) {
        holds.blocking.committed(&stale.peer);
        let incident = build::of_stale(&holds.blocking, &tables.times, stale, waited);
        self.add(&tables.times, &holds.blocking, incident);
        self.make_room(tables, refusals, holds);
    }

    /// Forgets the holds that no pending wait and no kept incident needs.
    fn forget_holds(&mut self, tables: &mut Tables<'t>, refusals: &mut Refusals<'t>, holds: &mut Holds) {
        if !holds.blocking.is_full() {
            return;
        }
        let attempts = refusals.conflicts.refusals.iter().filter(|refusal| !refusal.counted);
        let candidates = attempts.flat_map(|refusal| &refusal.candidates);
        let named = candidates.filter_map(|candidate| holds.blocking.find(candidate.who, candidate.lock, candidate.since));
        let waits = refusals.pending.open().flat_map(|wait| wait.candidates.iter().map(|candidate| candidate.hold));
        let listed = self.kept.iter().flat_map(|incident| incident.blockers.iter().map(|blocker| blocker.hold));
        let released = tables.conns.all().filter_map(|(_, conn)| conn.released);
        let needed: Vec<u32> = named.chain(waits).chain(listed).chain(released).chain(self.starved.blocking_holds()).collect();
        holds.blocking.forget_all_but(&needed);
    }

    /// Decides the waits that are left when the trace has ended, and returns the incidents for the reports.
    pub(super) fn finish(
        &mut self,
        tables: &mut Tables<'t>,
        refusals: &mut Refusals<'t>,
        holds: &mut Holds,
        missing: Missing,
        alive: Vec<Instant>,
    ) -> Vec<Incident> {
        (self.missing, self.alive) = (missing, alive);
        let late: Vec<u32> = refusals.pending.set_aside().map(|(number, _)| number).collect();
        late.into_iter().for_each(|number| self.decide(tables, refusals, holds, number));
        while refusals.pending.undecided() > 0 {
            if let Some(number) = refusals.pending.turn() {
                self.decide(tables, refusals, holds, number);
            }
        }
        let mut starved = std::mem::take(&mut self.starved);
        let left = starved.finish(&self.known(tables, refusals, holds));
        left.into_iter().for_each(|incident| self.add(&tables.times, &holds.blocking, incident));
        self.stats.finish();
        self.totals.refusals = u64::from(refusals.conflicts.refusals.next());
        self.totals.waits = refusals.pending.count();
        std::mem::replace(&mut self.kept, KeptIncidents::new(0)).finish()
    }
}

/// Renumbers holds and incidents by their places in the reports' lists. Until here they have the pass's own numbers.
pub(super) fn renumber(incidents: &mut [Incident], blocking_holds: BlockingHolds) -> Vec<BlockingHold> {
    let of_run: HashMap<u32, u32> =
        (0..).zip(incidents.iter()).filter_map(|(index, incident)| Some((incident.wait?, index))).collect();
    let mut places: HashMap<u32, u32> = HashMap::new();
    let mut listed = Vec::new();
    for blocker in incidents.iter_mut().flat_map(|incident| &mut incident.blockers) {
        blocker.waits_in = blocker.waits_in.and_then(|wait| of_run.get(&wait).copied());
        blocker.hold = *places.entry(blocker.hold).or_insert_with(|| {
            listed.push(blocking_holds.all[blocker.hold as usize].clone());
            listed.len() as u32 - 1
        });
    }
    listed
}
