//! Which SQL texts have a name already: a set of hashes that every thread asks without a lock.
//!
//! In comes a hash; out goes whether it is new, and how many there were before. Called by [`super::names`].
#![forbid(unsafe_code)]

use super::names::MAX_SQL;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What became of an insertion.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Insert {
    /// It was not there; this many were before it.
    New(u32),
    /// It was there.
    Old,
    /// There is no place left.
    Full,
}

/// A fixed set of hashes without a lock: open addressing over atomics, at most half full, so that a probe ends soon.
#[derive(Debug)]
pub(super) struct Seen {
    slots: Box<[AtomicU64]>,
    count: AtomicU32,
}

impl Seen {
    pub(super) fn new() -> io::Result<Seen> {
        let mut slots = Vec::new();
        let len = MAX_SQL as usize * 2;
        slots.try_reserve_exact(len).map_err(io::Error::other)?;
        slots.resize_with(len, || AtomicU64::new(0));
        Ok(Seen { slots: slots.into_boxed_slice(), count: AtomicU32::new(0) })
    }

    fn probe(&self, hash: u64) -> impl Iterator<Item = &AtomicU64> {
        let start = hash as usize % self.slots.len();
        self.slots.iter().skip(start).chain(self.slots.iter().take(start))
    }

    pub(super) fn insert(&self, hash: u64) -> Insert {
        for slot in self.probe(hash) {
            let mut there = slot.load(Ordering::Relaxed);
            if there == 0 {
                if self.count.load(Ordering::Relaxed) > MAX_SQL {
                    return Insert::Full;
                }
                match slot.compare_exchange(0, hash, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => return Insert::New(self.count.fetch_add(1, Ordering::Relaxed)),
                    Err(now) => there = now,
                }
            }
            if there == hash {
                return Insert::Old;
            }
        }
        Insert::Full
    }

    /// Makes a hash new again after its name could not be written. Its place is spent (a probe must not stop there): it holds a
    /// value no text hashes to on this path, so the retry takes another.
    pub(super) fn forget(&self, hash: u64) {
        if let Some(slot) = self.probe(hash).find(|slot| slot.load(Ordering::Relaxed) == hash) {
            slot.store(u64::MAX, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seen_once_is_new_once() {
        let seen = Seen::new().unwrap();
        assert_eq!(seen.insert(5), Insert::New(0));
        assert_eq!(seen.insert(5), Insert::Old);
        let collides = 5 + u64::from(MAX_SQL) * 2;
        assert_eq!(seen.insert(collides), Insert::New(1));
        seen.forget(5);
        assert_eq!(seen.insert(collides), Insert::Old);
        assert_eq!(seen.insert(5), Insert::New(2));
    }

    #[test]
    fn seen_is_bounded() {
        let seen = Seen::new().unwrap();
        let mixed = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for i in 0..=u64::from(MAX_SQL) {
            assert_eq!(seen.insert(mixed(i)), Insert::New(i as u32));
        }
        assert_eq!(seen.insert(mixed(1 << 40)), Insert::Full);
        assert_eq!(seen.insert(mixed(7)), Insert::Old);
    }
}
