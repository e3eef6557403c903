//! When what was found is final: sums first, then what is kept to be listed, so that memory does not grow with the trace.
//!
//! In come the runs of refused attempts, in the order in which they began; out go sums ([`Totals`], [`Attempts`]) and the incidents to be listed. A run is decided
//! when [`Options::at_hand`] later ones have begun, or the trace has ended: by then it is over, and so are the holds that were in its way, nearly always. Where they
//! are not, it is told as if the trace had ended there: less is known then, and nothing else. What is missing from the logs is known in the end only: it is
//! assumed, and where that was wrong the trace is read again (`Facts`).
//!
//! The part of the pass over the records ([`super::run`]) that ends things.
#![forbid(unsafe_code)]

use super::Options;
use super::attempts::Attempts;
use super::decide::{self, Found};
use super::harmless::{Harmless, harmless};
use super::holding::{Holding, Holdings};
use super::incident::{Ended, Incident, untraced};
use super::listed::Listed;
use super::run::Run;
use super::runs::Named;
use super::snapshot::Stale;
use super::starved::Starved;
use super::times::{Instant, Times};
use super::totals::Totals;
use crate::trace::{LogId, Trace};
use std::collections::HashMap;

/// Refused attempts at hand, for each run at hand.
const ATTEMPTS: usize = 4;

/// What is missing from a trace: in the end it is known, until then assumed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Facts {
    /// Records are missing that could have named a holder.
    pub losses: bool,
    /// By log, whether more than one record is missing between others: a release and the next acquisition can be among them.
    pub lossy: Vec<bool>,
}

impl Facts {
    /// Nothing is missing but what is known to be from the start.
    pub(super) fn assumed(trace: &Trace) -> Facts {
        let losses = trace.logs().iter().any(|log| log.head > log.capacity || log.lost_space > 0);
        Facts { losses, lossy: vec![false; trace.logs().len()] }
    }
}

/// What is final.
pub(super) struct Settled<'t> {
    pub totals: Totals,
    pub attempts: Attempts<'t>,
    pub listed: Listed,
    starved: Starved,
    pub facts: Facts,
    /// The latest sign of life of each log.
    alive: Vec<Instant>,
    pub options: Options,
    /// Something was decided before the trace had ended.
    pub early: bool,
}

impl Settled<'_> {
    pub(super) fn new(options: Options, facts: Facts) -> Self {
        Settled {
            totals: Totals::default(),
            attempts: Attempts::default(),
            listed: Listed::new(options.listed),
            starved: Starved::default(),
            facts,
            alive: Vec::new(),
            options,
            early: false,
        }
    }

    fn add(&mut self, times: &Times<'_>, holdings: &Holdings, incident: Incident) {
        let waited = times.ns(incident.who.log, incident.first, incident.until).unwrap_or(0);
        let blocker = incident.blockers.first().map(|blocker| &holdings.all[blocker.holding as usize]);
        self.totals.add(&incident, waited, blocker.map(|holding| (holding.who, holding.sql)));
        let sql = blocker.map_or(0, |holding| holding.sql);
        self.listed.add(incident.ended == Ended::GaveUp && !incident.told_busy, waited, sql, incident);
    }
}

impl Run<'_, '_> {
    fn found<'a>(&'a self, alive: &'a [Instant]) -> Found<'a> {
        Found {
            trace: self.trace,
            times: self.times,
            databases: &self.databases.all,
            runs: &self.runs,
            holdings: &self.holdings,
            gaps: &self.gaps,
            losses: self.settled.facts.losses,
            alive,
        }
    }

    /// Something was added to what is at hand: is it too much?
    #[inline]
    pub(super) fn settle(&mut self) {
        let (runs, attempts) = (self.runs.undecided(), self.blockers.refusals.len());
        // In batches, since some of it costs the same for one as for many.
        let keep = self.settled.options.at_hand;
        let many = keep.saturating_add(keep / 8);
        if runs > many || attempts > many.saturating_mul(ATTEMPTS) || self.holdings.is_full() {
            self.pass_over();
        }
    }

    #[cold]
    fn pass_over(&mut self) {
        let keep = self.settled.options.at_hand;
        self.look_around();
        self.settled.early = true;
        while self.runs.undecided() > keep {
            if let Some(number) = self.runs.turn() {
                self.decide(number);
            }
        }
        while self.blockers.refusals.len() > keep.saturating_mul(ATTEMPTS) {
            self.count(self.blockers.refusals.base());
            self.blockers.refusals.let_go();
        }
        self.runs.forget(keep);
        let mut starved = std::mem::take(&mut self.settled.starved);
        let gone = starved.gone(&self.found(&self.settled.alive));
        self.settled.starved = starved;
        gone.into_iter().for_each(|incident| self.settled.add(&self.times, &self.holdings, incident));
        self.forget_holdings();
    }

    /// What is known just now of what is known for sure in the end only.
    fn look_around(&mut self) {
        if self.ends.is_empty() {
            let end = |log| self.trace.last_record(log).map_or(0, |record| self.times.end(log, &record));
            self.ends = (0..self.trace.logs().len() as u32).map(|log| end(LogId(log))).collect();
        }
        self.settled.alive = self.alive().zip(&self.ends).map(|(seen, &end)| seen.max(end)).collect();
        if self.trace.is_read_once() {
            // It cannot be read again: what is missing so far counts.
            let facts = &mut self.settled.facts;
            for (gaps, lossy) in self.gaps.iter().zip(&mut facts.lossy) {
                facts.losses |= gaps.missing() > 0;
                *lossy |= gaps.missing() > 1;
            }
        }
    }

    /// A run that ended only after its turn.
    #[cold]
    pub(super) fn decide_late(&mut self, number: u32) {
        self.look_around();
        self.decide(number);
    }

    /// Nothing more will be known of this attempt: it goes into the sums, and into its run.
    fn count(&mut self, number: u32) {
        let Some(refusal) = self.blockers.refusals.get_mut(number).filter(|refusal| !refusal.counted) else { return };
        let (facts, alive) = (&self.settled.facts, &self.settled.alive);
        refusal.counted = true;
        let end = refusal.end;
        // With more than one record lost between others, a release and the next acquisition can be among them.
        let gone = |log: LogId| alive.get(log.0 as usize).is_some_and(|&alive| alive < end);
        refusal.doubt(|holder| facts.lossy[holder.who.log.0 as usize] || gone(holder.who.log));
        // Those that stayed certain make the others irrelevant.
        if refusal.has_certain() {
            refusal.holders.retain(|holder| holder.certain);
        }
        self.settled.attempts.add(self.trace, number, refusal);
        let Some(run) = self.runs.get_mut(refusal.wait) else { return };
        if run.refusals.front() == Some(&number) {
            run.refusals.pop_front();
        }
        run.more = run.more.max(refusal.more_holders);
        run.incomplete |= refusal.forgotten && !refusal.has_certain();
        for holder in &refusal.holders {
            let Some(holding) = self.holdings.find(holder.who, holder.lock, holder.since) else { continue };
            let (tid, certain, same_thread) = (holder.tid, holder.certain, holder.same_thread);
            run.name(Named { holding, tid, certain, same_thread, attempts: 1 });
        }
        if let Some(asked) = refusal.asked.filter(|asked| asked.here && run.outside.is_none()) {
            let answer = self.trace.log(refusal.who.log).names.outside(refusal.who.conn, asked.start);
            let named = answer.is_some_and(|answer| untraced(self.trace, answer).next().is_some());
            run.outside = named.then_some(asked.start);
        }
    }

    /// Makes an incident of a run that stands aside, or finds it harmless.
    fn decide(&mut self, number: u32) {
        let refusals = self.runs.get_mut(number).map(|run| std::mem::take(&mut run.refusals)).unwrap_or_default();
        refusals.into_iter().for_each(|refusal| self.count(refusal));
        let Some(run) = self.runs.get(number) else { return };
        let found = self.found(&self.settled.alive);
        match harmless(&run.wait) {
            None => {
                let incident = decide::of_run(&found, number, run);
                self.settled.add(&self.times, &self.holdings, incident);
            }
            Some(kind) => {
                if kind == Harmless::PassiveCheckpoint {
                    let mut starved = std::mem::take(&mut self.settled.starved);
                    starved.add(&self.found(&[]), run);
                    self.settled.starved = starved;
                }
                *self.settled.totals.harmless.entry(kind).or_default() += 1;
            }
        }
        self.runs.decided(number);
    }

    /// An upgrade from a stale snapshot: all about it is known at once.
    #[cold]
    pub(super) fn upgrade_failed(&mut self, stale: &Stale) {
        self.holdings.committed(&stale.peer);
        let incident = decide::of_stale(&self.holdings, &self.times, stale);
        self.settled.add(&self.times, &self.holdings, incident);
        self.settle();
    }

    /// Forgets the holds that nothing at hand rests on.
    fn forget_holdings(&mut self) {
        if !self.holdings.is_full() {
            return;
        }
        let refusals = self.blockers.refusals.iter().filter(|refusal| !refusal.counted);
        let holders = refusals.flat_map(|refusal| &refusal.holders);
        let named = holders.filter_map(|holder| self.holdings.find(holder.who, holder.lock, holder.since));
        let runs = self.runs.open().flat_map(|run| run.named.iter().map(|named| named.holding));
        let listed = self.settled.listed.iter().flat_map(|incident| incident.blockers.iter().map(|blocker| blocker.holding));
        let released = self.conns.all().filter_map(|(_, conn)| conn.released);
        let needed: Vec<u32> = named.chain(runs).chain(listed).chain(released).chain(self.settled.starved.holdings()).collect();
        self.holdings.forget_all_but(&needed);
    }

    /// The trace has ended: decides what is left, and gives the incidents to be listed.
    pub(super) fn settle_all(&mut self, facts: Facts, alive: Vec<Instant>) -> Vec<Incident> {
        (self.settled.facts, self.settled.alive) = (facts, alive);
        let late: Vec<u32> = self.runs.standing().map(|(number, _)| number).collect();
        late.into_iter().for_each(|number| self.decide(number));
        while self.runs.undecided() > 0 {
            if let Some(number) = self.runs.turn() {
                self.decide(number);
            }
        }
        let mut starved = std::mem::take(&mut self.settled.starved);
        let left = starved.finish(&self.found(&self.settled.alive));
        left.into_iter().for_each(|incident| self.settled.add(&self.times, &self.holdings, incident));
        self.settled.attempts.finish();
        self.settled.totals.refusals = u64::from(self.blockers.refusals.next());
        self.settled.totals.waits = self.runs.count();
        std::mem::replace(&mut self.settled.listed, Listed::new(0)).finish()
    }
}

/// Holds and incidents are known by numbers of their own up to here; from here on by their places among those to be listed.
pub(super) fn number_anew(incidents: &mut [Incident], holdings: Holdings) -> Vec<Holding> {
    let of_run: HashMap<u32, u32> =
        (0..).zip(incidents.iter()).filter_map(|(index, incident)| Some((incident.wait?, index))).collect();
    let mut places: HashMap<u32, u32> = HashMap::new();
    let mut listed = Vec::new();
    for blocker in incidents.iter_mut().flat_map(|incident| &mut incident.blockers) {
        blocker.waits_in = blocker.waits_in.and_then(|run| of_run.get(&run).copied());
        blocker.holding = *places.entry(blocker.holding).or_insert_with(|| {
            listed.push(holdings.all[blocker.holding as usize].clone());
            listed.len() as u32 - 1
        });
    }
    listed
}
