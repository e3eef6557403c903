//! What the incidents of a trace amount to: the causes in order of harm, and which statement is in the way of which.
//!
//! In comes an [`Analysis`]; out go short lists, on which every report is built.
#![forbid(unsafe_code)]

use super::host::Hosts;
use super::{essence, fix};
use crate::analysis::{Analysis, Cause, Ended, Incident};
use std::collections::BTreeMap;

/// One cause and what it did.
#[derive(Clone, Debug)]
pub struct Harm {
    /// Which.
    pub cause: Cause,
    /// Incidents.
    pub count: u64,
    /// Of them, those the application saw as an error.
    pub gave_up: u64,
    /// Time waited in all of them, in nanoseconds, as far as it is known.
    pub waited_ns: u64,
    /// What removes most of them.
    pub fix: String,
    /// The worst of them, an index into [`Analysis::incidents`].
    pub worst: u32,
}

/// How much an incident hurts: an error hurts more than any wait.
pub fn weight(analysis: &Analysis<'_>, incident: &Incident) -> (bool, u64) {
    (incident.ended == Ended::GaveUp, analysis.ns(incident.who.log, incident.first, incident.until).unwrap_or(0))
}

/// The incident that hurts most, the first of those that hurt as much: an index into [`Analysis::incidents`].
pub fn worst(analysis: &Analysis<'_>) -> Option<u32> {
    let all = (0..).zip(&analysis.incidents);
    all.max_by_key(|&(index, incident)| (weight(analysis, incident), std::cmp::Reverse(index))).map(|(index, _)| index)
}

/// The causes, most harm first: errors the application saw, then time waited.
pub fn causes(analysis: &Analysis<'_>) -> Vec<Harm> {
    let mut all: BTreeMap<Cause, Harm> = BTreeMap::new();
    for (index, incident) in (0..).zip(&analysis.incidents) {
        let (gave_up, waited) = weight(analysis, incident);
        let harm = all.entry(incident.cause).or_insert_with(|| Harm {
            cause: incident.cause,
            count: 0,
            gave_up: 0,
            waited_ns: 0,
            fix: String::new(),
            worst: index,
        });
        harm.count += 1;
        harm.gave_up += u64::from(gave_up);
        harm.waited_ns = harm.waited_ns.saturating_add(waited);
        if weight(analysis, &analysis.incidents[harm.worst as usize]) < (gave_up, waited) {
            harm.worst = index;
        }
    }
    let mut all: Vec<Harm> = all.into_values().collect();
    let hosts = Hosts::of(analysis);
    for harm in &mut all {
        harm.fix = fix::of(analysis, &hosts, &analysis.incidents[harm.worst as usize]);
    }
    all.sort_by_key(|harm| (std::cmp::Reverse((harm.gave_up, harm.waited_ns, harm.count)), harm.cause));
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
    /// Of them, those the application saw as an error.
    pub gave_up: u64,
    /// Time waited in all of them, in nanoseconds, as far as it is known.
    pub waited_ns: u64,
}

/// Who blocks whom, most harm first. The blocker of an incident is the one that refused most of its attempts; by hash, so that one text in several
/// processes is one statement.
pub fn statements(analysis: &Analysis<'_>) -> Vec<Pair> {
    let mut all: BTreeMap<(u64, u64), Pair> = BTreeMap::new();
    for incident in &analysis.incidents {
        let Some(blocker) = incident.blockers.first() else { continue };
        let holding = &analysis.holdings[blocker.holding as usize];
        let (gave_up, waited) = weight(analysis, incident);
        let text = |who, hash| essence::sql(analysis.trace, who, hash).map(str::to_owned);
        let pair = all.entry((incident.sql, holding.sql)).or_insert_with(|| Pair {
            victim: text(incident.who, incident.sql),
            blocker: text(holding.who, holding.sql),
            count: 0,
            gave_up: 0,
            waited_ns: 0,
        });
        pair.count += 1;
        pair.gave_up += u64::from(gave_up);
        pair.waited_ns = pair.waited_ns.saturating_add(waited);
    }
    let mut all: Vec<Pair> = all.into_values().collect();
    all.sort_by(|a, b| {
        (b.gave_up, b.waited_ns, b.count).cmp(&(a.gave_up, a.waited_ns, a.count)).then_with(|| a.victim.cmp(&b.victim))
    });
    all
}
