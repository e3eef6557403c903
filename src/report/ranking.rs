//! What the incidents of a trace amount to: the causes in order of harm, and which statement is in the way of which.
//!
//! Input: an [`Analysis`]. Output: short lists, on which every report is built.
#![forbid(unsafe_code)]

use super::fix::{self, Fix};
use super::words;
use crate::analysis::framework::Frameworks;
use crate::analysis::incidents::totals::{self, Count};
use crate::analysis::{Analysis, Cause, Incident, IncidentEnd};
use std::collections::BTreeMap;

/// One cause and what it did.
#[derive(Clone, Debug)]
pub struct Harm {
    /// Which.
    pub cause: Cause,
    /// Incidents.
    pub count: u64,
    /// Of them, those that gave up.
    pub gave_up: u64,
    /// Of them, those the application saw as an error: all that gave up but checkpoints that were told busy.
    pub errors: u64,
    /// Time waited in all of them, in nanoseconds, as far as it is known.
    pub waited_ns: u64,
    /// What removes most of them.
    pub fix: Fix,
    /// The worst of them, an index into [`Analysis::incidents`].
    pub worst: u32,
}

/// How much an incident hurts: an error hurts more than any wait.
pub fn weight(analysis: &Analysis<'_>, incident: &Incident) -> (bool, u64) {
    (
        incident.end == IncidentEnd::GaveUp && !incident.checkpoint_busy,
        analysis.ns(incident.who.log, incident.first, incident.until).unwrap_or(0),
    )
}

/// The incident that hurts most, the first of those that hurt as much: an index into [`Analysis::incidents`].
pub fn worst(analysis: &Analysis<'_>) -> Option<u32> {
    let all = (0..).zip(&analysis.incidents);
    all.max_by_key(|&(index, incident)| (weight(analysis, incident), std::cmp::Reverse(index))).map(|(index, _)| index)
}

/// The causes, most harm first: errors the application saw, then time waited.
pub fn causes(analysis: &Analysis<'_>) -> Vec<Harm> {
    let frameworks = Frameworks::of(analysis.trace);
    let mut worst: BTreeMap<Cause, u32> = BTreeMap::new();
    for (index, incident) in (0..).zip(&analysis.incidents) {
        let known = worst.entry(incident.cause).or_insert(index);
        if weight(analysis, &analysis.incidents[*known as usize]) < weight(analysis, incident) {
            *known = index;
        }
    }
    // The worst incident of each cause is always listed.
    let harm = |(cause, count): (&Cause, &Count)| {
        let worst = *worst.get(cause)?;
        let fix = fix::of(analysis, &frameworks, &analysis.incidents[worst as usize]);
        Some(Harm {
            cause: *cause,
            count: count.count,
            gave_up: count.gave_up,
            errors: count.errors(),
            waited_ns: count.waited_ns,
            fix,
            worst,
        })
    };
    let mut all: Vec<Harm> = analysis.totals.causes.iter().filter_map(harm).collect();
    all.sort_by_key(|harm| (std::cmp::Reverse((harm.errors, harm.waited_ns, harm.count)), harm.cause));
    all
}

/// One statement in the way of another.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The text of the statement that was refused, where it is known.
    pub victim: Option<String>,
    /// The text of the statement that took the lock in its way, where it is known.
    pub blocker: Option<String>,
    /// Incidents.
    pub count: u64,
    /// Of them, those that gave up.
    pub gave_up: u64,
    /// Of them, those the application saw as an error.
    pub errors: u64,
    /// Time waited in all of them, in nanoseconds, as far as it is known.
    pub waited_ns: u64,
}

/// Who blocks whom, most harm first ([`crate::analysis::Totals::pairs`]).
pub fn statements(analysis: &Analysis<'_>) -> Vec<Pair> {
    let text = |(who, hash)| words::sql_text(analysis.trace, who, hash).map(str::to_owned);
    let pair = |pair: &totals::Pair| {
        let Count { count, gave_up, waited_ns, .. } = pair.harm;
        let errors = pair.harm.errors();
        Pair { victim: text(pair.victim), blocker: text(pair.blocker), count, gave_up, errors, waited_ns }
    };
    let mut all: Vec<Pair> = analysis.totals.pairs.values().map(pair).collect();
    all.sort_by(|a, b| {
        (b.errors, b.waited_ns, b.count).cmp(&(a.errors, a.waited_ns, a.count)).then_with(|| a.victim.cmp(&b.victim))
    });
    all
}
