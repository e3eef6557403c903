//! The places of missing records in a log: their numbers, and the instants around them.
//!
//! Finding them takes a second pass over the events, which only `check` makes, and only if a [`Tally`] has missing records. For a report, the counts of
//! [`super::Summary`] are enough.
#![forbid(unsafe_code)]

use super::merge::WINDOW;
use super::{Events, LogId, Tally};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Consecutive record numbers, none of which could be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loss {
    /// The log.
    pub log: LogId,
    /// The first and the last number.
    pub numbers: (u64, u64),
    /// When the call before them ended, in ticks of the log; `None` if there is none.
    pub before: Option<u64>,
    /// When the call after them ended; `None` if there is none.
    pub after: Option<u64>,
    /// Whether later records overwrote them, because the log is a ring.
    pub overwritten: bool,
}

impl Loss {
    /// How many records.
    pub fn count(&self) -> u64 {
        self.numbers.1 - self.numbers.0 + 1
    }
}

/// The losses of all logs whose tallies have missing records, by log and number.
pub fn all(tallies: &[Tally], mut events: Events<'_>) -> Vec<Loss> {
    let mut walks: Vec<Option<Walk>> = tallies.iter().map(|tally| (tally.unread() > 0).then(Walk::default)).collect();
    for event in &mut events {
        if let Some(Some(walk)) = walks.get_mut(event.log.0 as usize) {
            walk.push(event.number, event.record.end());
        }
    }
    // A log may have wrapped since the first pass.
    let now = events.finish().tallies;
    let walks = (0..).map(LogId).zip(walks).zip(&now);
    walks.filter_map(|((log, walk), tally)| Some(walk?.finish(log, tally))).flatten().collect()
}

/// A walk over the record numbers of one log, which come nearly in order.
#[derive(Default)]
struct Walk {
    next: u64,
    before: Option<u64>,
    waiting: BinaryHeap<Reverse<(u64, u64)>>,
    found: Vec<MissingNumbers>,
}

/// First and last number; the ends of the calls before and after.
type MissingNumbers = ((u64, u64), Option<u64>, Option<u64>);

impl Walk {
    fn push(&mut self, number: u64, end: u64) {
        self.waiting.push(Reverse((number, end)));
        // The merge sorts by time through a window, so no number can come later than this.
        if self.waiting.len() > 2 * WINDOW {
            self.pass();
        }
    }

    fn pass(&mut self) {
        let Some(Reverse((number, end))) = self.waiting.pop() else { return };
        self.missing(number, Some(end));
        self.next = self.next.max(number.saturating_add(1));
        self.before = Some(self.before.map_or(end, |before| before.max(end)));
    }

    /// Notes the numbers between the expected one and this one as missing.
    fn missing(&mut self, number: u64, after: Option<u64>) {
        if number > self.next {
            self.found.push(((self.next, number - 1), self.before, after));
        }
    }

    fn finish(mut self, log: LogId, tally: &Tally) -> Vec<Loss> {
        while !self.waiting.is_empty() {
            self.pass();
        }
        self.missing(tally.head, None);
        let mut losses = Vec::new();
        for ((first, last), before, after) in self.found {
            // A ring overwrites its oldest records, so they come first.
            let gone = if first == 0 { tally.overwritten.min(last + 1) } else { 0 };
            if gone > 0 {
                losses.push(Loss { log, numbers: (0, gone - 1), before, after, overwritten: true });
            }
            if gone <= last {
                losses.push(Loss { log, numbers: (first.max(gone), last), before, after, overwritten: false });
            }
        }
        losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Shown = (u64, u64, Option<u64>, Option<u64>, bool);

    fn of(head: u64, overwritten: u64, numbers: &[u64]) -> Vec<Shown> {
        let tally = Tally { head, overwritten, ..Tally::default() };
        let mut walk = Walk::default();
        numbers.iter().for_each(|&number| walk.push(number, 10 * number));
        walk.finish(LogId(0), &tally)
            .iter()
            .map(|loss| (loss.numbers.0, loss.numbers.1, loss.before, loss.after, loss.overwritten))
            .collect()
    }

    #[test]
    fn each_missing_number_has_its_place() {
        assert_eq!(of(4, 0, &[0, 2, 1, 3]), []);
        assert_eq!(of(9, 4, &[4, 6, 5, 8]), [(0, 3, None, Some(40), true), (7, 7, Some(60), Some(80), false)]);
        assert_eq!(of(9, 4, &[5, 6]), [(0, 3, None, Some(50), true), (4, 4, None, Some(50), false), (7, 8, Some(60), None, false)]);
        assert_eq!(of(3, 0, &[]), [(0, 2, None, None, false)]);
        assert_eq!(of(3, 3, &[]), [(0, 2, None, None, true)]);
    }

    #[test]
    fn many_numbers_out_of_order_are_not_missing() {
        let numbers: Vec<u64> = (0..50_000u64).filter(|number| number % 20_000 != 7).map(|number| number ^ 1).collect();
        let found = of(50_000, 0, &numbers);
        assert_eq!(found.iter().map(|loss| (loss.0, loss.1)).collect::<Vec<_>>(), [(6, 6), (20_006, 20_006), (40_006, 40_006)]);
    }
}
