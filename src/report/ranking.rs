//! The ranking of a trace's incidents, on which every report is built: the causes in order of harm, and which statement blocks which.
#![forbid(unsafe_code)]

use super::fix::{self, Fix};
use super::words;
use crate::analysis::framework::Frameworks;
use crate::analysis::incidents::totals::{self, Count};
use crate::analysis::{Analysis, Cause, Incident, IncidentEnd};
use std::collections::BTreeMap;

/// One cause and the harm it did.
#[derive(Clone, Debug)]
pub struct RankedCause {
    /// The cause.
    pub cause: Cause,
    /// The number of its incidents.
    pub count: u64,
    /// Those in which the victim gave up.
    pub gave_up: u64,
    /// Those in which the application saw an error: the victim gave up, and it was no checkpoint that returned busy.
    pub errors: u64,
    /// The sum of the known waiting times, in nanoseconds.
    pub waited_ns: u64,
    /// The fix of the worst incident.
    pub fix: Fix,
    /// The worst incident, an index into [`Analysis::incidents`].
    pub worst: u32,
}

/// How much an incident hurts: whether the application saw an error, then the nanoseconds waited. An error outweighs any wait.
pub fn weight(analysis: &Analysis<'_>, incident: &Incident) -> (bool, u64) {
    (
        incident.end == IncidentEnd::GaveUp && !incident.checkpoint_busy,
        analysis.ns(incident.who.log, incident.first, incident.until).unwrap_or(0),
    )
}

/// The incident that hurts most, the first if several do: an index into [`Analysis::incidents`].
pub fn worst(analysis: &Analysis<'_>) -> Option<u32> {
    let all = (0..).zip(&analysis.incidents);
    all.max_by_key(|&(index, incident)| (weight(analysis, incident), std::cmp::Reverse(index))).map(|(index, _)| index)
}

/// The causes, most harm first: errors the application saw, then time waited.
pub fn causes(analysis: &Analysis<'_>) -> Vec<RankedCause> {
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
        Some(RankedCause {
            cause: *cause,
            count: count.count,
            gave_up: count.gave_up,
            errors: count.errors(),
            waited_ns: count.waited_ns,
            fix,
            worst,
        })
    };
    let mut all: Vec<RankedCause> = analysis.totals.causes.iter().filter_map(harm).collect();
    all.sort_by_key(|harm| (std::cmp::Reverse((harm.errors, harm.waited_ns, harm.count)), harm.cause));
    all
}

/// Two statements, one of which blocked the other.
#[derive(Clone, Debug)]
pub struct BlockingPair {
    /// The text of the refused statement, if known.
    pub victim: Option<String>,
    /// The text of the statement that took the blocking lock, if known.
    pub blocker: Option<String>,
    /// The number of incidents.
    pub count: u64,
    /// Those in which the victim gave up.
    pub gave_up: u64,
    /// Those in which the application saw an error.
    pub errors: u64,
    /// The sum of the known waiting times, in nanoseconds.
    pub waited_ns: u64,
}

/// Which statement blocks which, the most harmful pair first ([`crate::analysis::Totals::pairs`]).
pub fn statements(analysis: &Analysis<'_>) -> Vec<BlockingPair> {
    let text = |(who, hash)| words::sql_text(analysis.trace, who, hash).map(str::to_owned);
    let pair = |pair: &totals::StatementPair| {
        let Count { count, gave_up, waited_ns, .. } = pair.harm;
        let errors = pair.harm.errors();
        BlockingPair { victim: text(pair.victim), blocker: text(pair.blocker), count, gave_up, errors, waited_ns }
    };
    let mut all: Vec<BlockingPair> = analysis.totals.pairs.values().map(pair).collect();
    all.sort_by(|a, b| {
        (b.errors, b.waited_ns, b.count).cmp(&(a.errors, a.waited_ns, a.count)).then_with(|| a.victim.cmp(&b.victim))
    });
    all
}
