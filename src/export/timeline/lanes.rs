//! The choice of a row (lane) for each slice, so that on each row slices lie beside or inside one another, as viewers of timelines require.
//!
//! Slices come in about the order of their ends. Memory does not grow with their number.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

/// Slices that each row keeps one by one. Of earlier ones it keeps only the whole stretch.
const REMEMBERED: usize = 64;

/// Most rows of one kind. A slice that fits on none of them is not drawn: its times contradict too many others (a clock that went back).
const MOST: usize = 32;

/// The rows of one kind of one connection.
#[derive(Default)]
pub(super) struct Lanes(Vec<Lane>);

impl Lanes {
    /// The row for a slice from one nanosecond to another; `None` if it fits on none.
    pub(super) fn place(&mut self, from: u64, to: u64) -> Option<u8> {
        let found = self.0.iter_mut().position(|lane| lane.takes(from, to));
        let index = match found {
            Some(index) => index,
            None if self.0.len() < MOST => {
                self.0.push(Lane::default());
                let index = self.0.len() - 1;
                self.0[index].takes(from, to);
                index
            }
            None => return None,
        };
        u8::try_from(index).ok()
    }
}

/// The outermost slices of a row, ordered by time.
#[derive(Default)]
struct Lane {
    tops: VecDeque<(u64, u64)>,
    forgotten: Option<(u64, u64)>,
}

impl Lane {
    /// Adds a slice unless it would cross another one.
    ///
    /// Viewers read a slice that is written later and begins at the same nanosecond as lying inside the earlier one. So a slice that contains an
    /// earlier-written one and begins with it does not fit. Nor does one that ends where an earlier-written one begins.
    fn takes(&mut self, from: u64, to: u64) -> bool {
        let mut holds_forgotten = false;
        if let Some((start, end)) = self.forgotten
            && from < end
        {
            if from >= start || to < end {
                return false;
            }
            holds_forgotten = true;
        }
        let mut behind = self.tops.len();
        while behind > 0 && to < self.tops[behind - 1].0 {
            behind -= 1;
        }
        let mut first = behind;
        while first > 0 && from < self.tops[first - 1].0 && self.tops[first - 1].1 <= to {
            first -= 1;
        }
        if first > 0 && self.tops[first - 1].1 > from {
            return false;
        }
        self.tops.drain(first..behind);
        self.tops.insert(first, (from, to));
        if holds_forgotten {
            self.forgotten = None;
        }
        if self.tops.len() > REMEMBERED
            && let Some((start, end)) = self.tops.pop_front()
        {
            self.forgotten = Some(self.forgotten.map_or((start, end), |(first, last)| (first.min(start), last.max(end))));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nested_and_neighbouring_slices_share_a_row() {
        let mut lanes = Lanes::default();
        let rows: Vec<_> = [(2, 3), (4, 5), (1, 6), (6, 7), (7, 7), (0, 9)].map(|(from, to)| lanes.place(from, to).unwrap()).into();
        assert_eq!(rows, [0; 6]);
        assert_eq!(lanes.place(8, 12), Some(1), "it would cut the last one in two");
        assert_eq!(lanes.place(0, 13), Some(1), "it begins with one that was drawn before");
        assert_eq!(lanes.place(9, 12), Some(0));
    }

    /// Drawn as a viewer does it: beginnings and ends sorted by time, those of one time as they were written; an end closes what was opened last.
    fn viewed(slices: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let mut marks: Vec<(u64, Option<usize>)> = Vec::new();
        for (index, &(from, to)) in slices.iter().enumerate() {
            marks.extend([(from, Some(index)), (to, None)]);
        }
        marks.sort_by_key(|&(at, _)| at);
        let (mut open, mut out) = (Vec::new(), vec![(0, 0); slices.len()]);
        for (at, mark) in marks {
            match mark {
                Some(index) => open.push((index, at)),
                None => {
                    let (index, from) = open.pop().unwrap();
                    out[index] = (from, at);
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn a_viewer_sees_every_slice_as_it_is(slices in proptest::collection::vec((0u64..60, 0u64..25), 0..300), sorted: bool) {
            let mut slices: Vec<(u64, u64)> = slices.into_iter().enumerate().map(|(i, (from, length))| {
                let from = from + i as u64 / 2;
                (from, from + length)
            }).collect();
            if sorted {
                slices.sort_by_key(|slice| slice.1);
            }
            let mut lanes = Lanes::default();
            let mut rows: Vec<Vec<(u64, u64)>> = vec![Vec::new(); MOST];
            for &(from, to) in &slices {
                if let Some(row) = lanes.place(from, to) {
                    rows[usize::from(row)].push((from, to));
                }
            }
            for row in rows {
                prop_assert_eq!(viewed(&row), row);
            }
        }
    }
}
