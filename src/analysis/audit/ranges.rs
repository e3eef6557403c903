//! The record numbers of a log that were read, as ranges without a hole.
#![forbid(unsafe_code)]

/// The most ranges that are kept. A log with more counts as lossy throughout.
const MOST: usize = 1 << 16;

/// The record numbers of a log, added nearly in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges {
    /// First and last number of each range, in order. No two ranges touch.
    ranges: Vec<(u64, u64)>,
    too_many: bool,
}

impl Ranges {
    /// Notes that the record with this number was read.
    #[inline]
    pub(super) fn add(&mut self, number: u64) {
        match self.ranges.last_mut() {
            Some((_, last)) if *last != u64::MAX && *last + 1 == number => *last = number,
            _ => self.insert(number),
        }
    }

    #[cold]
    fn insert(&mut self, number: u64) {
        let at = self.ranges.partition_point(|(first, _)| *first <= number);
        let after = at > 0 && self.ranges[at - 1].1.saturating_add(1) >= number;
        let before = self.ranges.get(at).is_some_and(|(first, _)| number.saturating_add(1) >= *first);
        match (after, before) {
            (true, true) => {
                self.ranges[at - 1].1 = self.ranges[at - 1].1.max(self.ranges[at].1);
                self.ranges.remove(at);
            }
            (true, false) => self.ranges[at - 1].1 = self.ranges[at - 1].1.max(number),
            (false, true) => self.ranges[at].0 = number,
            (false, false) if self.ranges.len() >= MOST => self.too_many = true,
            (false, false) => self.ranges.insert(at, (number, number)),
        }
    }

    /// Whether every number from this one to that one was read.
    pub(super) fn holds(&self, first: u64, last: u64) -> bool {
        let at = self.ranges.partition_point(|(start, _)| *start <= first);
        !self.too_many && at > 0 && self.ranges[at - 1].1 >= last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn as_a_set_of_numbers(numbers in proptest::collection::vec(0u64..60, 0..80), first in 0u64..60, length in 0u64..20) {
            let mut ranges = Ranges::default();
            numbers.iter().for_each(|&number| ranges.add(number));
            let set: BTreeSet<u64> = numbers.into_iter().collect();
            prop_assert_eq!(ranges.holds(first, first + length), (first..=first + length).all(|number| set.contains(&number)));
        }
    }
}
