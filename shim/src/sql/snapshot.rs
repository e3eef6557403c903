//! Rows copied at one moment, in a mapping of their own.

use crate::memory::Mapping;
use std::marker::PhantomData;

/// Rows of one size.
#[derive(Debug)]
pub(super) struct Snapshot<T> {
    memory: Mapping,
    capacity: usize,
    len: usize,
    rows: PhantomData<T>,
}

impl<T: Copy> Snapshot<T> {
    /// Room for this many rows; `None` where there is no memory.
    pub(super) fn new(capacity: usize) -> Option<Snapshot<T>> {
        const { assert!(align_of::<T>() <= 4096) };
        let memory = Mapping::new(capacity.max(1).checked_mul(size_of::<T>())?)?;
        Some(Snapshot { memory, capacity, len: 0, rows: PhantomData })
    }

    /// Adds a row; `false` if there is no room.
    pub(super) fn push(&mut self, row: T) -> bool {
        if self.len >= self.capacity {
            return false;
        }
        let start = self.memory.bytes().as_mut_ptr().cast::<T>();
        // SAFETY: the mapping begins at a page, which is aligned enough, and has room for `capacity` rows.
        unsafe { start.add(self.len).write(row) };
        self.len += 1;
        true
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All of them.
    pub(super) fn rows(&mut self) -> &mut [T] {
        let start = self.memory.bytes().as_mut_ptr().cast::<T>();
        // SAFETY: `len` rows were written there by `push`, and the memory is borrowed from this value alone.
        unsafe { std::slice::from_raw_parts_mut(start, self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stay_as_they_were_and_never_more_than_there_is_room_for() {
        let mut snapshot = Snapshot::<(u64, u8)>::new(1000).unwrap();
        assert_eq!(snapshot.rows(), []);
        for n in 0..2000 {
            assert_eq!(snapshot.push((n, n as u8)), n < 1000);
        }
        assert_eq!(snapshot.len(), 1000);
        assert!(snapshot.rows().iter().zip(0..).all(|(row, n)| *row == (n, n as u8)));
        assert!(!Snapshot::<u64>::new(0).unwrap().push(1));
        assert!(Snapshot::<u64>::new(usize::MAX / 2).is_none());
    }
}
