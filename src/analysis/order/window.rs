//! A window of numbered items: the latest are at hand and can change, the first ones are kept to be listed.
//!
//! The pass releases items in the order in which they came. Only the first ones are kept, as many as the options ask for: memory does not grow with the
//! trace.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

/// A window of numbered items. Numbers count from 0.
pub(crate) struct Window<T> {
    /// The number of the first one at hand.
    base: u32,
    items: VecDeque<T>,
    first: Vec<T>,
    keep: usize,
}

impl<T> Window<T> {
    /// Keeps this many of the first ones.
    pub(crate) fn new(keep: usize) -> Window<T> {
        Window { base: 0, items: VecDeque::new(), first: Vec::new(), keep }
    }

    /// The number that the next one gets.
    pub(crate) fn next(&self) -> u32 {
        self.base.wrapping_add(self.items.len() as u32)
    }

    /// The number of the first one at hand.
    pub(crate) fn base(&self) -> u32 {
        self.base
    }

    /// How many are at hand.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn push(&mut self, item: T) {
        self.items.push_back(item);
    }

    /// The one with this number, where it is at hand.
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        self.items.get(number.checked_sub(self.base)? as usize)
    }

    /// The one with this number, where it is at hand.
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.items.get_mut(number.checked_sub(self.base)? as usize)
    }

    /// Those at hand, from this number on.
    pub(crate) fn since_mut(&mut self, number: u32) -> impl DoubleEndedIterator<Item = &mut T> {
        self.items.range_mut((number.saturating_sub(self.base) as usize).min(self.items.len())..)
    }

    /// Those at hand.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    /// Lets the first one at hand go.
    pub(crate) fn let_go(&mut self) {
        let Some(item) = self.items.pop_front() else { return };
        self.base = self.base.wrapping_add(1);
        if self.first.len() < self.keep {
            self.first.push(item);
        }
    }

    /// The first ones, once none is at hand any more.
    pub(crate) fn finish(mut self) -> Vec<T> {
        let room = self.keep.saturating_sub(self.first.len());
        self.first.extend(self.items.into_iter().take(room));
        self.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_kept_and_the_latest_are_at_hand() {
        let mut window = Window::new(2);
        (10..15).for_each(|item| window.push(item));
        (0..3).for_each(|_| window.let_go());
        assert_eq!((window.base(), window.next(), window.len()), (3, 5, 2));
        assert_eq!((window.get(2), window.get(3), window.get(5)), (None, Some(&13), None));
        assert_eq!(window.since_mut(0).count() + window.since_mut(4).count() + window.since_mut(9).count(), 3);
        assert_eq!(window.finish(), [10, 11]);
    }
}
