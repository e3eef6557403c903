//! Checkpoints that one reader keeps from finishing, again and again, while the WAL grows.
//!
//! In come the refusals of passive checkpoints, each of which is harmless by itself; out goes one incident for each reader's hold that certainly refused
//! two or more, and under which the WAL grew. No statement fails by it: the WAL grows, and reading it takes longer.
#![forbid(unsafe_code)]

use super::cause::{Cause, Evidence, Role};
use super::holding::Ending;
use super::incident::{Ended, Found, Harmless, Incident, add_holds, blockers, harmless};
use std::collections::BTreeMap;

/// Refused checkpoints that make it an incident.
const AGAIN: usize = 2;

pub(super) fn all(found: &Found<'_>, by_wait: &[Vec<u32>]) -> Vec<Incident> {
    let mut refused: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (index, wait) in (0..).zip(found.waits) {
        if harmless(wait) != Some(Harmless::PassiveCheckpoint) {
            continue;
        }
        let holders = by_wait[index as usize].iter().flat_map(|&refusal| &found.refusals[refusal as usize].holders);
        let mut by: Vec<u32> = holders
            .filter(|holder| holder.certain && !holder.lock.is_exclusive_slot())
            .filter_map(|holder| found.holdings.find(holder.who, holder.lock, holder.since))
            .collect();
        by.sort_unstable();
        by.dedup();
        for holding in by {
            refused.entry(holding).or_default().push(index);
        }
    }
    let mut incidents = Vec::new();
    for (holding, waits) in refused {
        let (Some(&first), Some(&last)) = (waits.first(), waits.last()) else { continue };
        let (first, last) = (&found.waits[first as usize], &found.waits[last as usize]);
        if waits.len() < AGAIN || last.wal_bytes <= first.wal_bytes {
            continue;
        }
        let refusals: Vec<u32> = waits.iter().flat_map(|&wait| by_wait[wait as usize].iter().copied()).collect();
        let (mut blockers, _) = blockers(found, &refusals, (first.from, last.until));
        blockers.retain(|blocker| blocker.holding == holding);
        let held = &found.holdings.all[holding as usize];
        let own = |wait: &super::Wait, role| Evidence { log: wait.who.log, number: wait.numbers.0, role };
        let mut incident = Incident {
            db: last.db,
            request: last.request,
            who: last.who,
            tid: last.tid,
            sql: last.sql,
            blockers,
            more_blockers: 0,
            outside: None,
            first: first.from,
            until: last.until,
            attempts: waits.len() as u32,
            sleeps: 0,
            slept_us: 0,
            ended: if matches!(held.ending, Ending::Released(..)) { Ended::SucceededAfterWait } else { Ended::Open },
            cause: Cause::CheckpointStarved,
            contributing: Vec::new(),
            evidence: vec![own(first, Role::FirstRefused), own(last, Role::LastRefused)],
            wait: None,
        };
        add_holds(found, &mut incident);
        incidents.push(incident);
    }
    incidents
}
