//! The selection for the page: the incidents it lists, and the windows of time around them in which it draws every hold.
//!
//! The worst incidents come first: errors, then the longest waits. The selection has some incidents of each cause, however little harm the cause did,
//! because a reader of a cause wants to see an example.
#![forbid(unsafe_code)]

use super::overview::Overview;
use crate::analysis::{Analysis, BlockingHold, Cause, HoldEnd, Incident};
use crate::report::ranking;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How many incidents a page lists.
const INCIDENTS: usize = 1_000;
/// How many of the worst incidents of each cause are listed in any case.
const OF_EACH_CAUSE: usize = 25;
/// How many incidents get a window in which every hold is drawn.
const WINDOWS: usize = 400;

/// A stretch of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Window {
    pub(super) from: u64,
    pub(super) until: u64,
    /// How many incidents it has.
    pub(super) incidents: u64,
}

/// A blocker of a listed incident, and its hold on the page's axis.
pub(super) struct ListedBlocker {
    pub(super) row: u32,
    pub(super) since: Option<u64>,
    pub(super) until: Option<u64>,
}

/// An incident that the page lists.
pub(super) struct Listed {
    /// An index into [`Analysis::incidents`].
    pub(super) index: u32,
    pub(super) row: u32,
    pub(super) from: Option<u64>,
    pub(super) until: Option<u64>,
    /// Its blockers, in the order of the incident's.
    pub(super) blockers: Vec<ListedBlocker>,
}

/// The incidents and windows that a page shows.
pub(super) struct Selection {
    /// In time order.
    pub(super) incidents: Vec<Listed>,
    /// How many incidents are not listed.
    pub(super) unlisted: u64,
    /// The windows, in time order, without overlaps.
    pub(super) windows: Vec<Window>,
}

impl Selection {
    /// Selects the incidents, and gives each connection in them a row.
    pub(super) fn of(analysis: &Analysis<'_>, overview: &mut Overview<'_, '_>) -> Selection {
        let mut worst: Vec<u32> = (0..analysis.incidents.len() as u32).collect();
        worst.sort_by_key(|&index| (Reverse(ranking::weight(analysis, &analysis.incidents[index as usize])), index));
        let mut seen: BTreeMap<Cause, usize> = BTreeMap::new();
        let (mut worst, rest): (Vec<u32>, Vec<u32>) = worst.into_iter().partition(|&index| {
            let seen = seen.entry(analysis.incidents[index as usize].cause).or_default();
            *seen += 1;
            *seen <= OF_EACH_CAUSE
        });
        worst.extend(rest);
        let unlisted = worst.len().saturating_sub(INCIDENTS) as u64 + analysis.not_listed()[0];
        worst.truncate(INCIDENTS);
        let mut incidents: Vec<Listed> =
            worst.iter().map(|&index| listed(analysis, overview, index, &analysis.incidents[index as usize])).collect();
        let windows = windows(&incidents);
        incidents.sort_by_key(|listed| listed.index);
        Selection { incidents, unlisted, windows }
    }
}

fn listed(analysis: &Analysis<'_>, overview: &mut Overview<'_, '_>, index: u32, incident: &Incident) -> Listed {
    let time = overview.time;
    let row = overview.own_row(incident.who, incident.db, incident.tid);
    let mut blockers = Vec::with_capacity(incident.blockers.len());
    for blocker in &incident.blockers {
        let holding = &analysis.blocking_holds[blocker.hold as usize];
        let log = holding.who.log;
        blockers.push(ListedBlocker {
            row: overview.own_row(holding.who, incident.db, blocker.tid),
            since: time.at(log, holding.since),
            until: ended(holding).and_then(|at| time.at(log, at)),
        });
    }
    let log = incident.who.log;
    Listed { index, row, from: time.at(log, incident.first), until: time.at(log, incident.until), blockers }
}

fn ended(holding: &BlockingHold) -> Option<u64> {
    match holding.end {
        HoldEnd::Released(at, _) | HoldEnd::Unseen(at, _) => Some(at),
        HoldEnd::Open => None,
    }
}

/// The windows around these incidents, which come worst first.
fn windows(worst: &[Listed]) -> Vec<Window> {
    let mut all: Vec<Window> = Vec::new();
    for listed in worst.iter().take(WINDOWS) {
        let Some((from, until)) = listed.from.zip(listed.until) else { continue };
        // In a damaged trace an incident may end before it begins.
        let until = until.max(from);
        // Half of its length on each side shows what led to it and what followed, within limits that a person can take in.
        let room = ((until - from) / 2).clamp(500_000, 100_000_000);
        all.push(Window { from: from.saturating_sub(room), until: until.saturating_add(room), incidents: 1 });
    }
    all.sort_by_key(|window| (window.from, window.until));
    let mut joined: Vec<Window> = Vec::new();
    for window in all {
        match joined.last_mut() {
            Some(last) if window.from <= last.until => {
                last.until = last.until.max(window.until);
                last.incidents += 1;
            }
            _ => joined.push(window),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_that_touch_are_one() {
        let at = |from: u64, until: u64| Listed { index: 0, row: 0, from: Some(from), until: Some(until), blockers: Vec::new() };
        let ms = 1_000_000;
        let found = windows(&[at(100 * ms, 101 * ms), at(10 * ms, 12 * ms), at(12 * ms, 13 * ms)]);
        let found: Vec<_> = found.iter().map(|window| (window.from, window.until, window.incidents)).collect();
        assert_eq!(found, [(9 * ms, 13 * ms + ms / 2, 2), (99 * ms + ms / 2, 101 * ms + ms / 2, 1)]);
    }
}
