//! The missing record numbers of a log. Its records arrive nearly in the order of their numbers.
//!
//! A conclusion that rests on what did *not* happen ("it made one attempt and did not sleep") needs every record in between. [`Gaps::between`] answers
//! whether one is missing.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

/// The merge sorts through a window, so a record can arrive this many records late.
const LATE: usize = 2 * crate::trace::WINDOW;

/// The most gaps that are kept one by one. A log with more counts as lossy throughout.
const REMEMBERED: usize = 4096;

/// The missing record numbers of one log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gaps {
    /// The number expected next, once a record has arrived.
    next: u64,
    /// The smallest number, once no smaller one can come: 0, or the smallest of the first `LATE` ones. What is missing among smaller ones is not
    /// known.
    first: Option<u64>,
    /// Numbers that arrived before the expected one.
    early: BTreeSet<u64>,
    /// First and last missing number of each gap.
    gaps: Vec<(u64, u64)>,
    /// The log has more than `REMEMBERED` gaps.
    too_many: bool,
}

impl Gaps {
    /// Notes that the record with this number arrived.
    #[inline]
    pub(crate) fn saw(&mut self, number: u64) {
        if number == self.next && self.early.is_empty() && self.first.is_some() {
            self.next = number + 1;
        } else {
            self.out_of_order(number);
        }
    }

    #[cold]
    fn out_of_order(&mut self, number: u64) {
        if self.first.is_some() && number < self.next {
            return;
        }
        self.early.insert(number);
        if self.first.is_none() {
            self.begin(LATE);
        }
        if self.first.is_some() {
            self.settle(LATE);
        }
    }

    /// Finds the first number, unless no more than `keep` have come and a smaller one may still come.
    fn begin(&mut self, keep: usize) {
        if let Some(&first) = self.early.first().filter(|&&first| first == 0 || self.early.len() > keep) {
            (self.first, self.next) = (Some(first), first);
        }
    }

    /// Declares gaps until no more than `keep` early numbers wait behind one.
    fn settle(&mut self, keep: usize) {
        while let Some(&early) = self.early.first() {
            if early == self.next {
                self.early.pop_first();
                self.next = early.saturating_add(1);
            } else if self.early.len() <= keep {
                return;
            } else {
                if self.gaps.len() < REMEMBERED {
                    self.gaps.push((self.next, early - 1));
                }
                self.too_many |= self.gaps.len() == REMEMBERED;
                self.next = early;
            }
        }
    }

    /// Notes that no more records arrive. The log had `head` of them.
    pub(crate) fn finish(&mut self, head: u64) {
        if self.first.is_none() {
            self.begin(0);
        }
        self.settle(0);
        if self.next < head && self.first.is_some() {
            self.gaps.push((self.next, head - 1));
        }
    }

    /// The number of records known to be missing between those that arrived.
    pub(crate) fn missing(&self) -> u64 {
        self.gaps.iter().map(|gap| gap.1 - gap.0 + 1).sum()
    }

    /// Whether a record after this one is missing.
    pub(crate) fn after(&self, number: u64) -> bool {
        self.between(number, u64::MAX)
    }

    /// Whether a record between these two numbers is missing, or has not arrived yet although a later one has.
    pub(crate) fn between(&self, from: u64, to: u64) -> bool {
        if self.too_many || self.first.is_some_and(|first| from < first) {
            return true;
        }
        let at = self.gaps.partition_point(|gap| gap.1 < from);
        if self.gaps.get(at).is_some_and(|gap| gap.0 <= to) {
            return true;
        }
        let Some(&latest) = self.early.last() else { return false };
        let (from, to) = (from.max(self.next), to.min(latest));
        from <= to && self.early.range(from..=to).count() as u64 != to - from + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(numbers: &[u64]) -> Gaps {
        let mut gaps = Gaps::default();
        numbers.iter().for_each(|&number| gaps.saw(number));
        gaps.finish(0);
        gaps
    }

    #[test]
    fn what_is_missing_is_known() {
        let gaps = of(&[4, 6, 5, 9, 8, 12]);
        assert!(!gaps.between(4, 6) && !gaps.between(8, 9) && !gaps.between(4, 4));
        assert!(gaps.between(6, 8) && gaps.between(4, 12) && gaps.between(9, 12) && gaps.between(7, 7));
        let gaps = of(&[5, 2, 6]);
        assert!(gaps.between(2, 5) && !gaps.between(5, 6));
        let mut gaps = of(&[0, 1]);
        assert!(!gaps.after(0));
        gaps.finish(3);
        assert!(gaps.after(1) && !gaps.between(0, 1));
        assert!(!of(&[]).between(0, 9), "nothing is known to be missing where nothing was seen");
    }

    #[test]
    fn what_waits_behind_a_gap_is_known_already() {
        let mut gaps = Gaps::default();
        [0, 1, 3, 4, 7].into_iter().for_each(|number| gaps.saw(number));
        assert!(gaps.between(1, 3) && gaps.between(4, 7) && gaps.between(5, 6) && gaps.between(0, 9));
        assert!(!gaps.between(0, 1) && !gaps.between(3, 4) && !gaps.between(7, 9) && !gaps.between(8, 9));
        // The missing record arrives late.
        gaps.saw(2);
        assert!(!gaps.between(0, 4) && gaps.between(0, 5));
        assert_eq!(gaps.missing(), 0, "nothing is given up yet");
        gaps.finish(10);
        assert_eq!(gaps.missing(), 4);
    }

    #[test]
    fn a_log_with_very_many_gaps_is_lossy_throughout() {
        let with = |count: u64| {
            let mut gaps = Gaps::default();
            (0..=count).for_each(|number| gaps.saw(number * 2));
            gaps.finish(0);
            (gaps.between(0, 0), gaps.between(0, 1))
        };
        assert_eq!(with(REMEMBERED as u64 - 1), (false, true));
        assert_eq!(with(REMEMBERED as u64 + 1), (true, true));
    }

    proptest! {
        #[test]
        fn as_a_list_of_all_numbers_says(kept in proptest::collection::vec(any::<bool>(), 1..60), swaps in proptest::collection::vec(0usize..59, 0..9)) {
            let mut numbers: Vec<u64> = (0u64..).zip(&kept).filter(|(_, kept)| **kept).map(|(n, _)| n).collect();
            for at in swaps {
                if at + 1 < numbers.len() {
                    numbers.swap(at, at + 1);
                }
            }
            let gaps = of(&numbers);
            let (Some(first), Some(last)) = (numbers.iter().min(), numbers.iter().max()) else { return Ok(()) };
            for from in *first..=*last {
                for to in from..=*last {
                    let missing = (from..=to).any(|number| !numbers.contains(&number));
                    let found = gaps.between(from, to);
                    prop_assert_eq!(found, missing, "{} to {}", from, to);
                }
            }
        }
    }
}
