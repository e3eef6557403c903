//! The second pass: every hold and stretch of work in the stretches of time that were chosen, as far as there is room.
//!
//! In comes the same trace again; out go [`Piece`]s. The room is shared among the stretches by the incidents in them; in one that has more, the longest are kept, and
//! how many are not is counted.
#![forbid(unsafe_code)]

use super::choice::Window;
use super::overview::{Overview, PIECES, Piece, held, worked};
use crate::analysis::ConnId;
use crate::analysis::watch::{Span, Watch, Worked};
use crate::trace::Event;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// See the module.
pub(super) struct Detail<'o, 't, 'p> {
    overview: &'o Overview<'t, 'p>,
    windows: &'o [Window],
    kept: Vec<Kept>,
}

struct Kept {
    room: usize,
    pieces: BinaryHeap<Reverse<(u64, Piece)>>,
}

impl<'o, 't, 'p> Detail<'o, 't, 'p> {
    pub(super) fn new(overview: &'o Overview<'t, 'p>, windows: &'o [Window]) -> Detail<'o, 't, 'p> {
        let incidents = windows.iter().map(|window| window.incidents).sum::<u64>().max(1);
        let room = |window: &Window| (PIECES as u64 * window.incidents / incidents) as usize;
        let kept = windows.iter().map(|window| Kept { room: room(window), pieces: BinaryHeap::new() }).collect();
        Detail { overview, windows, kept }
    }

    /// All pieces that were kept, each once.
    pub(super) fn finish(self) -> Vec<Piece> {
        self.kept.into_iter().flat_map(|kept| kept.pieces).map(|Reverse((_, piece))| piece).collect()
    }

    /// Where this lies, if it reaches into a window: the first one it reaches into keeps it.
    fn keep(&mut self, who: ConnId, since: u64, until: u64, piece: impl FnOnce(u32, u64, u64) -> Piece) {
        let at = self.windows.partition_point(|window| window.until < since);
        let Some(window) = self.windows.get(at).filter(|window| window.from <= until) else { return };
        debug_assert!(window.until >= since);
        let Some(row) = self.overview.row(who) else { return };
        let kept = &mut self.kept[at];
        let piece = piece(row, since, until);
        if kept.pieces.len() < kept.room {
            kept.pieces.push(Reverse((piece.length(), piece)));
        } else if kept.pieces.peek().is_some_and(|Reverse((least, _))| *least < piece.length()) {
            kept.pieces.pop();
            kept.pieces.push(Reverse((piece.length(), piece)));
        }
    }
}

impl Watch for Detail<'_, '_, '_> {
    fn event(&mut self, _: &Event, _: Option<u32>) {
        (self.overview.progress)();
    }

    fn hold(&mut self, span: &Span) {
        let time = self.overview.time;
        if let (Some(since), Some(until)) = (time.at(span.who.log, span.since), time.at(span.who.log, span.until)) {
            self.keep(span.who, since, until.max(since), |row, since, until| held(row, span, since, until));
        }
    }

    fn work(&mut self, work: &Worked) {
        let time = self.overview.time;
        if let (Some(since), Some(until)) = (time.at(work.who.log, work.since), time.at(work.who.log, work.until)) {
            self.keep(work.who, since, until.max(since), |row, since, until| worked(row, work, since, until));
        }
    }
}
