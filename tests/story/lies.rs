//! The truth of damaged traces: an analysis may report less, but nothing wrong.
//!
//! A cause may be `unexplained`, or an incident missing. No cause may be another one, and no holder may be certain that blocked nobody.
#![allow(clippy::indexing_slicing)]

use super::truth::{Truth, ensure, is_true};
use super::world::{Ask, US, Wait, Why};
use sqlite_locktrace::analysis::Incident;

impl Truth<'_> {
    /// What may be said of a trace that was damaged: less, but nothing wrong.
    pub fn contradicts_nothing(&self) -> Result<(), String> {
        let world = self.world();
        for refusal in &self.analysis.refusals {
            let (conn, start) = (self.conn(refusal.who), self.at(refusal.start));
            let truth = world.refusals.iter().find(|truth| truth.conn == conn && truth.start == start);
            let truth = truth.ok_or_else(|| format!("there is no such refusal: {refusal:?}"))?;
            let real: Vec<usize> = truth.holders.iter().map(|&hold| world.holds[hold].conn).collect();
            for holder in refusal.candidates.iter().filter(|holder| holder.certain) {
                ensure!(real.contains(&self.conn(holder.who)), "{holder:?} had nothing to do with {truth:?}");
            }
        }
        for incident in &self.analysis.incidents {
            self.not_wrong(incident).map_err(|what| format!("{what}\n{incident:#?}"))?;
        }
        let hazards: Vec<_> = self.analysis.hazards.iter().filter(|hazard| !is_true(hazard)).collect();
        ensure!(hazards.is_empty(), "no such hazard: {hazards:?}");
        Ok(())
    }

    fn not_wrong(&self, incident: &Incident) -> Result<(), String> {
        let world = self.world();
        let (conn, first, until) = (self.conn(incident.who), self.at(incident.first), self.at(incident.until));
        let cause = incident.cause.id();
        if cause == "stale-snapshot" {
            let close = |truth: &super::world::Stale| truth.conn == conn && truth.start.abs_diff(first) < 2 * US;
            ensure!(world.stale.iter().any(close), "there was no stale snapshot");
            return Ok(());
        }
        // With the first attempts lost, a run begins later.
        let end = |wait: &Wait| wait.aside.iter().map(|&aside| world.refusals[aside].end).fold(wait.span.1, u64::max);
        let of_it: Vec<&Wait> =
            world.waits.iter().filter(|wait| wait.conn == conn && wait.span.0 <= until && end(wait) >= first).collect();
        let passive = cause == "checkpoint-starved" && of_it.iter().any(|wait| wait.why == Why::Copies(false));
        let convoy = cause == "checkpoint-starved" && of_it.iter().any(|wait| wait.why == Why::Copies(true));
        let possible = of_it.iter().any(|wait| self.causes(wait).contains(&cause));
        // A writer that begins again is refused SHARED, as readers are.
        let anew = |wait: &&Wait| {
            let shared = wait.refusals.iter().copied().filter(|&refusal| world.refusals[refusal].ask == Ask::File(1));
            matches!(wait.why, Why::StartsToWrite | Why::PlaysBack) && self.shut_out(&shared.collect::<Vec<_>>()).contains(&cause)
        };
        let reads = of_it.iter().any(anew);
        // Of a part of it the other one is true; nothing is reported of it where all is known that followed, for nobody had to wait. Or it was on its way to
        // another lock.
        let recovers = ["wal-recovery", "wal-protocol-retry"].contains(&cause)
            && of_it.iter().any(|wait| wait.why == Why::Recovers || !wait.aside.is_empty());
        ensure!(cause == "unexplained" || possible || passive || convoy || reads || recovers, "{cause} is wrong: {of_it:#?}");
        let mut real: Vec<usize> = of_it
            .iter()
            .flat_map(|wait| wait.refusals.iter().chain(&wait.aside))
            .flat_map(|&refusal| world.refusals[refusal].holders.clone())
            .collect();
        real.sort_unstable();
        for blocker in incident.blockers.iter().filter(|blocker| blocker.certain) {
            let holding = &self.analysis.blocking_holds[blocker.hold as usize];
            let conn = self.conn(holding.who);
            ensure!(real.iter().any(|&hold| world.holds[hold].conn == conn), "certain: {holding:?}, of {real:?}");
            if holding.seen {
                let hold = self.hold_of(blocker)?;
                ensure!(real.contains(&hold), "{:?} was not in the way", world.holds[hold]);
            }
        }
        Ok(())
    }
}
