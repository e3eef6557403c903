//! A window of numbered items: the latest items can still change, and the first ones of the trace are kept for the reports.
//!
//! The pass removes items in the order in which it added them. It keeps only the first ones, as many as the options ask for. So memory does not grow with
//! the trace.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

/// A window of numbered items. Numbers start at 0.
pub(crate) struct Window<T> {
    /// The number of the oldest item in the window.
    base: u32,
    items: VecDeque<T>,
    first: Vec<T>,
    keep: usize,
}

impl<T> Window<T> {
    /// An empty window that keeps the first `keep` items for the reports.
    pub(crate) fn new(keep: usize) -> Window<T> {
        Window { base: 0, items: VecDeque::new(), first: Vec::new(), keep }
    }

    /// The number that the next item gets.
    pub(crate) fn next(&self) -> u32 {
        self.base.wrapping_add(self.items.len() as u32)
    }

    /// The number of the oldest item in the window.
    pub(crate) fn base(&self) -> u32 {
        self.base
    }

    /// The number of items in the window.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn push(&mut self, item: T) {
        self.items.push_back(item);
    }

    /// The item with this number, if it is in the window.
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        self.items.get(number.checked_sub(self.base)? as usize)
    }

    /// The item with this number, if it is in the window.
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.items.get_mut(number.checked_sub(self.base)? as usize)
    }

    /// The items in the window, from this number on.
    pub(crate) fn since_mut(&mut self, number: u32) -> impl DoubleEndedIterator<Item = &mut T> {
        self.items.range_mut((number.saturating_sub(self.base) as usize).min(self.items.len())..)
    }

    /// The items in the window.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    /// Removes the oldest item, and keeps it if it is among the first ones.
    pub(crate) fn remove_oldest(&mut self) {
        let Some(item) = self.items.pop_front() else { return };
        self.base = self.base.wrapping_add(1);
        if self.first.len() < self.keep {
            self.first.push(item);
        }
    }

    /// The first items. The window is no longer needed.
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
    fn the_first_are_kept_and_the_latest_can_change() {
        let mut window = Window::new(2);
        (10..15).for_each(|item| window.push(item));
        (0..3).for_each(|_| window.remove_oldest());
        assert_eq!((window.base(), window.next(), window.len()), (3, 5, 2));
        assert_eq!((window.get(2), window.get(3), window.get(5)), (None, Some(&13), None));
        assert_eq!(window.since_mut(0).count() + window.since_mut(4).count() + window.since_mut(9).count(), 3);
        assert_eq!(window.finish(), [10, 11]);
    }
}
