//! The rows that the timeline draws: those of incidents, then the busiest. All others are folded into one row for their process and database, or for
//! their database.
#![forbid(unsafe_code)]

use super::bins::{Scale, Shares};
use super::overview::{KINDS, Overview, Piece, RowOwner};
use super::selection::Selection;
use crate::analysis::ConnId;
use crate::trace::LogId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

/// How many connections have a row of their own.
const ROWS: usize = 300;
/// How many rows stand for the other connections of one process.
const PROCESSES: usize = 100;

/// A row as the page draws it.
#[derive(Default)]
pub(super) struct Drawn {
    pub(super) db: Option<u32>,
    /// The row's process; `None` if it stands for several.
    pub(super) log: Option<LogId>,
    /// The row's connection; `None` if it stands for several.
    pub(super) who: Option<ConnId>,
    pub(super) tid: u32,
    /// How many connections it stands for; 0 if they were not counted.
    pub(super) connections: u64,
    pub(super) holds: u64,
    pub(super) held: u64,
    pub(super) shares: [Option<Box<Shares>>; KINDS],
    pub(super) pieces: Vec<Piece>,
}

/// The drawn rows, and for each row of the overview the index of its drawn row.
pub(super) fn rows(overview: &mut Overview<'_, '_>, selection: &Selection, pieces: Vec<Piece>) -> (Vec<Drawn>, Vec<u32>) {
    let scale = overview.scale.unwrap_or(Scale::new(0));
    let own = own_rows(overview, selection);
    let folded = folded(overview, &own);
    let mut drawn: Vec<Drawn> = Vec::new();
    let mut place = vec![0; overview.rows.len()];
    let mut groups: BTreeMap<(Option<u32>, Option<LogId>), usize> = BTreeMap::new();
    for (index, row) in (0u32..).zip(&mut overview.rows) {
        let log = row.log();
        let who = match row.owner {
            RowOwner::Connection(who) if own.contains(&index) => Some(who),
            _ => None,
        };
        let to = if who.is_some() {
            drawn.push(Drawn { db: row.db, log: Some(log), who, tid: row.tid, connections: 1, ..Drawn::default() });
            drawn.len() - 1
        } else {
            let log = Some(log).filter(|log| folded.contains(&(row.db, *log)));
            *groups.entry((row.db, log)).or_insert_with(|| {
                drawn.push(Drawn { db: row.db, log, ..Drawn::default() });
                drawn.len() - 1
            })
        };
        place[index as usize] = to as u32;
        let into = &mut drawn[to];
        if who.is_none() {
            into.connections += u64::from(matches!(row.owner, RowOwner::Connection(_)));
        }
        into.holds += row.holds;
        into.held = into.held.saturating_add(row.held);
        for (sum, more) in into.shares.iter_mut().zip(&mut row.shares) {
            match (sum.as_mut(), more.as_mut()) {
                (Some(sum), Some(more)) => sum.merge(&scale, more),
                (None, Some(_)) => *sum = more.take(),
                (_, None) => {}
            }
        }
    }
    for piece in pieces {
        let into = &mut drawn[place[piece.row as usize] as usize];
        if into.who.is_some() {
            into.pieces.push(piece);
        }
    }
    for row in &mut drawn {
        row.pieces.sort_unstable_by_key(|piece| (piece.since, Reverse(piece.until), piece.what));
        row.pieces.dedup();
    }
    (drawn, place)
}

/// The connections' rows that are drawn unfolded.
fn own_rows(overview: &Overview<'_, '_>, selection: &Selection) -> HashSet<u32> {
    let mut own: HashSet<u32> = HashSet::new();
    for listed in &selection.incidents {
        own.insert(listed.row);
        own.extend(listed.blockers.iter().map(|blocker| blocker.row));
    }
    let mut rest: Vec<u32> = (0..overview.rows.len() as u32).filter(|row| !own.contains(row)).collect();
    rest.sort_by_key(|&row| (Reverse(overview.rows[row as usize].held), row));
    let room = ROWS.saturating_sub(own.len());
    own.extend(rest.into_iter().filter(|&row| matches!(overview.rows[row as usize].owner, RowOwner::Connection(_))).take(room));
    own
}

/// The busiest processes and databases: the other rows of each are folded into one row.
fn folded(overview: &Overview<'_, '_>, own: &HashSet<u32>) -> HashSet<(Option<u32>, LogId)> {
    let mut held: BTreeMap<(Option<u32>, LogId), u64> = BTreeMap::new();
    for (index, row) in (0u32..).zip(&overview.rows) {
        if !own.contains(&index) {
            let sum = held.entry((row.db, row.log())).or_default();
            *sum = sum.saturating_add(row.held);
        }
    }
    let mut busiest: Vec<_> = held.into_iter().collect();
    busiest.sort_by_key(|&(key, held)| (Reverse(held), key));
    busiest.into_iter().take(PROCESSES).map(|(key, _)| key).collect()
}
