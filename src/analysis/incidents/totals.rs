//! Sums over all incidents and all harmless waits: by cause, and by which statement blocked which.
//!
//! The sums are exact, however few incidents are kept ([`super::keep`]). Memory does not grow with the trace: of very many pairs of statements, the least
//! harmful ones go into one sum.
#![forbid(unsafe_code)]

use crate::analysis::causes::cause::Cause;
use crate::analysis::incidents::incident::{Incident, IncidentEnd};
use crate::analysis::locks::state::ConnId;
use crate::analysis::order::instants::Instant;
use crate::analysis::waits::harmless::Harmless;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How many pairs of statements are kept before the least harmful ones go into one sum.
const PAIRS: usize = 16_384;

/// A number of incidents, how they ended, and how long they took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Incidents.
    pub count: u64,
    /// Incidents whose victim gave up.
    pub gave_up: u64,
    /// Those of them in which no statement failed ([`Incident::checkpoint_busy`]).
    pub checkpoint_busy: u64,
    /// Incidents that were open when the trace ended.
    pub open: u64,
    /// The sum of the known waiting times, in nanoseconds.
    pub waited_ns: u64,
}

impl Count {
    /// Incidents in which the application saw an error.
    pub fn errors(&self) -> u64 {
        self.gave_up - self.checkpoint_busy
    }

    fn add(&mut self, incident: &Incident, waited_ns: u64) {
        self.count += 1;
        self.gave_up += u64::from(incident.end == IncidentEnd::GaveUp);
        self.checkpoint_busy += u64::from(incident.checkpoint_busy);
        self.open += u64::from(incident.end == IncidentEnd::Open);
        self.waited_ns = self.waited_ns.saturating_add(waited_ns);
    }

    fn join(&mut self, other: &Count) {
        self.count += other.count;
        self.gave_up += other.gave_up;
        self.checkpoint_busy += other.checkpoint_busy;
        self.open += other.open;
        self.waited_ns = self.waited_ns.saturating_add(other.waited_ns);
    }
}

/// One statement that blocked another.
#[derive(Clone, Copy, Debug)]
pub struct StatementPair {
    /// The victim of the first such incident, and the hash of its statement.
    pub victim: (ConnId, u64),
    /// The blocker, and the hash of the statement that took the lock.
    pub blocker: (ConnId, u64),
    /// The incidents in which it did.
    pub harm: Count,
    first: Instant,
}

/// Sums over all incidents and waits.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// All incidents.
    pub incidents: Count,
    /// Incidents by cause.
    pub causes: BTreeMap<Cause, Count>,
    /// Incidents by cause and database, an index into [`crate::analysis::Analysis::databases`].
    pub by_database: BTreeMap<(Cause, Option<u32>), Count>,
    /// Which statement blocked which, by the hashes of victim and blocker. The blocker of an incident is the one that refused most of its
    /// attempts. The same text in several processes is one statement.
    pub pairs: BTreeMap<(u64, u64), StatementPair>,
    /// The incidents of the pairs that are not kept.
    pub other_pairs: Count,
    /// Waits that no application notices.
    pub harmless: BTreeMap<Harmless, u64>,
    /// All refused attempts.
    pub refusals: u64,
    /// All waits.
    pub waits: u64,
}

impl Totals {
    /// Adds an incident. `blocker` is the connection that blocked it most, and its statement.
    pub(crate) fn add(&mut self, incident: &Incident, waited_ns: u64, blocker: Option<(ConnId, u64)>) {
        self.incidents.add(incident, waited_ns);
        self.causes.entry(incident.cause).or_default().add(incident, waited_ns);
        self.by_database.entry((incident.cause, incident.db)).or_default().add(incident, waited_ns);
        let Some(blocker) = blocker else { return };
        let victim = (incident.who, incident.sql);
        let fresh = || StatementPair { victim, blocker, harm: Count::default(), first: incident.first };
        let pair = self.pairs.entry((victim.1, blocker.1)).or_insert_with(fresh);
        pair.harm.add(incident, waited_ns);
        if (incident.first, victim.0) < (pair.first, pair.victim.0) {
            (pair.first, pair.victim, pair.blocker) = (incident.first, victim, blocker);
        }
        if self.pairs.len() > PAIRS {
            self.merge_least_harmful();
        }
    }

    #[cold]
    fn merge_least_harmful(&mut self) {
        let order = |harm: &Count| (harm.gave_up, harm.waited_ns, harm.count);
        let mut all: Vec<((u64, u64), StatementPair)> = std::mem::take(&mut self.pairs).into_iter().collect();
        all.sort_by_key(|(key, pair)| (Reverse(order(&pair.harm)), *key));
        for (_, pair) in all.drain(PAIRS / 2..) {
            self.other_pairs.join(&pair.harm);
        }
        self.pairs.extend(all);
    }
}
