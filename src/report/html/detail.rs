//! The second pass for the page: every hold and stretch of work in the selected windows, as far as there is room.
//!
//! Each window gets room in proportion to its incidents. If a window has more pieces than room, the longest are kept.
#![forbid(unsafe_code)]

use super::overview::{Overview, PIECES, Piece, held, worked};
use super::selection::Window;
use crate::analysis::ConnId;
use crate::analysis::observer::{ObservedHold, Observer, Worked};
use crate::trace::Event;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The observer of the second pass.
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

    /// All kept pieces, each once.
    pub(super) fn finish(self) -> Vec<Piece> {
        self.kept.into_iter().flat_map(|kept| kept.pieces).map(|Reverse((_, piece))| piece).collect()
    }

    /// Keeps a piece in the first window that it reaches into, if there is one.
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

impl Observer for Detail<'_, '_, '_> {
    fn event(&mut self, _: &Event, _: Option<u32>) {
        (self.overview.progress)();
    }

    fn hold(&mut self, span: &ObservedHold) {
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

#[cfg(test)]
mod tests {
    use super::super::overview::What;
    use super::*;
    use crate::trace::{LogId, Trace};
    use shim::format::header::{Anchor, ClockKind, Header};

    const WHO: ConnId = ConnId { log: LogId(0), conn: 1, forked: false };

    /// The begin and end of each of these stretches that is kept for these windows.
    fn kept(windows: &[Window], stretches: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
        let dir = tempfile::tempdir().unwrap();
        let header = Header::new(ClockKind::Monotonic, 64, 1, [1; 16], Anchor::default());
        std::fs::write(dir.path().join("1-1.ring"), &header.encode()[..]).unwrap();
        let trace = Trace::open(dir.path()).unwrap();
        let mut overview = Overview::new(&trace, &|| ());
        overview.own_row(WHO, None, 1);
        let mut detail = Detail::new(&overview, windows);
        for (number, (since, until)) in (0..).zip(stretches) {
            let piece =
                |row, since, until| Piece { row, since, until, what: What(0), flags: 0, tid: 1, sql: 0, number, end_number: None };
            detail.keep(WHO, since, until, piece);
        }
        let mut kept: Vec<_> = detail.finish().iter().map(|piece| (piece.since, piece.until)).collect();
        kept.sort_unstable();
        kept
    }

    fn window(from: u64, until: u64, incidents: u64) -> Window {
        Window { from, until, incidents }
    }

    #[test]
    fn what_reaches_into_a_window_is_kept_once() {
        let windows = [window(100, 200, 1), window(300, 400, 1)];
        let stretches = [
            (10, 99),
            (10, 100),
            (50, 150),
            (120, 130),
            (150, 350),
            (200, 250),
            (201, 299),
            (201, 300),
            (10, 900),
            (400, 500),
            (401, 402),
        ];
        let found = kept(&windows, stretches);
        assert_eq!(found, [(10, 100), (10, 900), (50, 150), (120, 130), (150, 350), (200, 250), (201, 300), (400, 500)]);
    }

    #[test]
    fn of_more_than_there_is_room_for_the_longest_are_kept() {
        // The first window gets a quarter of the room.
        let windows = [window(0, 1_000_000, 1), window(2_000_000, 3_000_000, 3)];
        let room = PIECES as u64 / 4;
        let lengths = |most: u64| (0..most).map(move |i| 1 + (i * 7_919) % most);
        let found = kept(&windows, lengths(2 * room).map(|length| (1_000, 1_000 + length)));
        assert_eq!(found.len() as u64, room);
        assert_eq!((found[0].1 - 1_000, found[found.len() - 1].1 - 1_000), (room + 1, 2 * room));
        let found = kept(&windows, lengths(2 * room).map(|length| (2_000_000, 2_000_000 + length)));
        assert_eq!(found.len() as u64, 2 * room, "there is room for all of them");
    }
}
