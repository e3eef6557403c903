//! A meter of the last seconds: a window of tenths of a second that moves with the clock.
//!
//! It takes instants and stretches of time in any order, in nanoseconds of one clock. It gives the sums of the last second and of the last
//! ten. It drops what is older than the window, so its memory is fixed.
#![forbid(unsafe_code)]

/// The length of a part of the window.
const PART_NS: u64 = 100_000_000;

/// How many parts are kept: ten seconds, and some more for late records.
const PARTS: usize = 128;

/// A meter of the last seconds.
#[derive(Clone, Debug)]
pub struct Meter {
    parts: [u64; PARTS],
    /// The number of the latest part, counted from the clock's zero.
    latest: u64,
}

impl Default for Meter {
    fn default() -> Meter {
        Meter { parts: [0; PARTS], latest: 0 }
    }
}

impl Meter {
    /// Adds this amount at this instant.
    pub fn add(&mut self, at_ns: u64, amount: u64) {
        if let Some(part) = self.part(at_ns / PART_NS) {
            *part = part.saturating_add(amount);
        }
    }

    /// Adds the nanoseconds between two instants, each to its part.
    pub fn stretch(&mut self, from_ns: u64, to_ns: u64) {
        let first = (from_ns / PART_NS).max((to_ns / PART_NS).saturating_sub(PARTS as u64));
        for number in first..=to_ns / PART_NS {
            let from = from_ns.max(number * PART_NS);
            let to = to_ns.min((number + 1) * PART_NS);
            if let Some(part) = self.part(number) {
                *part = part.saturating_add(to.saturating_sub(from));
            }
        }
    }

    /// The sum of the last `tenths` whole tenths of a second up to this instant.
    pub fn sum(&self, until_ns: u64, tenths: u64) -> u64 {
        let end = until_ns / PART_NS;
        let first = end.saturating_sub(tenths).max(self.latest.saturating_sub(PARTS as u64 - 1));
        (first..end.min(self.latest + 1)).map(|number| self.parts[number as usize % PARTS]).sum()
    }

    /// The part with this number; `None` if it is too old.
    fn part(&mut self, number: u64) -> Option<&mut u64> {
        if number > self.latest {
            let fresh = (number - self.latest).min(PARTS as u64);
            for number in number + 1 - fresh..=number {
                self.parts[number as usize % PARTS] = 0;
            }
            self.latest = number;
        }
        (number + PARTS as u64 > self.latest).then(|| &mut self.parts[number as usize % PARTS])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_window_moves() {
        let mut meter = Meter::default();
        meter.add(100 * SECOND, 3);
        meter.add(99 * SECOND, 2);
        assert_eq!((meter.sum(101 * SECOND, 10), meter.sum(101 * SECOND, 100)), (3, 5));
        assert_eq!(meter.sum(100 * SECOND, 10), 2, "the tenth that has just begun is not over");
        assert_eq!(meter.sum(111 * SECOND, 100), 0);
        meter.add(1, 7);
        assert_eq!(meter.sum(101 * SECOND, 100), 5, "too old");
        meter.add(200 * SECOND, 1);
        assert_eq!((meter.sum(201 * SECOND, 100), meter.sum(101 * SECOND, 100)), (1, 0));
    }

    proptest! {
        /// Against the overlap of each stretch with the window, worked out one by one.
        #[test]
        fn stretches_fill_the_parts_they_touch(stretches in proptest::collection::vec((0u64..12 * SECOND, 0u64..SECOND * 12), 1..20)) {
            let mut meter = Meter::default();
            let ends = stretches.iter().map(|(from, length)| from + length);
            let until = ends.clone().max().unwrap_or(0).next_multiple_of(PART_NS);
            let stretches: Vec<(u64, u64)> = stretches.iter().map(|&(from, length)| (from, from + length)).collect();
            for &(from, to) in &stretches {
                meter.stretch(from, to);
            }
            for tenths in [10, 100] {
                let since = until.saturating_sub(tenths * PART_NS);
                let overlap = |&(from, to): &(u64, u64)| to.min(until).saturating_sub(from.max(since));
                prop_assert_eq!(meter.sum(until, tenths), stretches.iter().map(overlap).sum::<u64>());
            }
        }
    }
}
