//! The ring file: a mapped file whose slots are made ready a chunk at a time, before records reach them.
//!
//! A piece that [`super::mapped_file`] has made ready takes stores without a fault. Measured here on ext4: 40-150 µs for 256 KiB the first time; a
//! store into a page that is ready costs nothing extra. The first chunk is prepared in [`STEPS`], because most processes record little.

use super::failure::Failure;
use super::mapped_file::MappedFile;
use super::ring::Slot;
use crate::format::header::{self, Anchor, Header, word};
use crate::format::record;
use std::sync::atomic::{AtomicU64, Ordering};

/// Records in a chunk (256 KiB of them), which is prepared in one go.
pub const CHUNK: u64 = 4096;

/// Where the pieces of the first chunk end, which are prepared one by one on the first lap: most processes record little, and should
/// take little of the disk. The first piece (16 KiB) is ready from the beginning.
pub const STEPS: [u64; 3] = [256, 1024, CHUNK];

/// The records that are prepared together with record `number`: the first one, and the one after the last.
pub const fn piece(number: u64) -> (u64, u64) {
    let [first, second, third] = STEPS;
    match number {
        n if n < first => (0, first),
        n if n < second => (first, second),
        n if n < third => (second, third),
        n => (n / CHUNK * CHUNK, n / CHUNK * CHUNK + CHUNK),
    }
}

/// Records that stay mapped whatever the capacity (4 MiB of them).
pub const WINDOW: u64 = 65_536;

/// A mapped ring. Never unmapped: a thread may be inside a slot at any time.
#[derive(Debug)]
pub(super) struct RingFile {
    file: MappedFile,
    capacity: u64,
}

impl RingFile {
    /// The bytes of a ring file.
    pub fn bytes(capacity: u64) -> Option<usize> {
        usize::try_from(header::SIZE as u64 + capacity.checked_mul(record::SIZE as u64)?).ok()
    }

    /// A ring in this file of [`RingFile::bytes`], whose first page is ready and holds zeros. The magic number, by which a reader recognises it, is
    /// written last.
    pub fn new(file: MappedFile, header: &Header) -> RingFile {
        let map = RingFile { file, capacity: header.capacity };
        let page = map.file.base();
        // SAFETY: the first page is mapped, ready and as long as a header; no other thread has it yet. Readers of the file may see it half
        // filled in, and know it by the missing magic number.
        header.fill(unsafe { &mut *page.as_ptr().cast::<[u8; header::SIZE]>() });
        // Release: a reader that finds the magic number finds the rest.
        map.header_word(0).store(u64::from_ne_bytes(header::MAGIC), Ordering::Release);
        map
    }

    /// The file, to be discarded. It must not be in use.
    pub fn into_file(self) -> MappedFile {
        self.file
    }

    /// Drops all its pages from memory. The contents stay in the file, and a late writer faults its page back in: it has its disk space.
    pub fn rest(&self) {
        self.file.rest(0, self.file.len());
    }

    /// One word of the header.
    #[inline(always)]
    fn header_word(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < header::SIZE / 8);
        // SAFETY: the header's page is mapped, writable and ready for the life of the process, page-aligned, and `index` is
        // one of the constants of `header::word`, all inside it. The file's other users read it through `pread`.
        unsafe { &*self.file.base().as_ptr().cast::<AtomicU64>().add(index) }
    }

    /// The claim counter.
    #[inline(always)]
    pub fn head(&self) -> &AtomicU64 {
        self.header_word(word::HEAD)
    }

    /// Records claimed and not written for want of disk space.
    pub fn lost_space(&self) -> &AtomicU64 {
        self.header_word(word::LOST_SPACE)
    }

    /// Names lines not written.
    pub fn lost_names(&self) -> &AtomicU64 {
        self.header_word(word::LOST_NAMES)
    }

    /// Rewrites the last anchor. Two threads at once can leave a mixture. Its check word does not match, so readers ignore it.
    pub fn set_last_anchor(&self, anchor: Anchor) {
        let words = [anchor.ticks, anchor.monotonic_ns, anchor.real_ns, anchor.check()];
        for (i, value) in words.into_iter().enumerate() {
            self.header_word(word::LAST_ANCHOR + i).store(value, Ordering::Relaxed);
        }
    }

    /// How many records the ring holds.
    #[inline(always)]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The slot of a number.
    ///
    /// # Safety
    /// The chunk of this number has been prepared, once at least.
    #[inline(always)]
    pub unsafe fn slot(&self, number: u64) -> &Slot {
        let index = number & (self.capacity - 1);
        // SAFETY: the capacity is a power of two, so `index` is below it and the slot lies inside the mapping; 4096 + 64 i is
        // aligned for words; the caller vouches that the page was made ready, so that no access faults fatally.
        unsafe { &*self.file.base().as_ptr().add(header::SIZE).cast::<Slot>().add(index as usize) }
    }

    /// Whether making a piece ready overwrites it: then one thread at a time may do it.
    pub fn one_at_a_time(&self) -> bool {
        self.file.writes_zeros()
    }

    /// Makes the [`piece`] of number `number` writable without a fault; slots below `ready` are so already. Idempotent, and harmless from
    /// several threads at once unless [`RingFile::one_at_a_time`].
    ///
    /// In a ring larger than [`WINDOW`], the chunk that far behind is dropped from memory. Its contents stay in the file, and a
    /// late writer faults it back in: it has its disk space.
    pub fn prepare(&self, number: u64, ready: u64) -> Result<(), Failure> {
        let (from, to) = piece(number);
        let size = CHUNK.min(self.capacity) as usize * record::SIZE;
        let at = |number: u64| header::SIZE + (number & (self.capacity - 1)) as usize * record::SIZE;
        // Zeros must never overwrite records. A piece that has its space on one lap has it on every later one.
        let has_space = ready >= self.capacity || (from & (self.capacity - 1)) < ready;
        if !(self.file.writes_zeros() && has_space) {
            self.file.prepare(at(from), (to - from) as usize * record::SIZE)?;
        }
        if self.capacity > WINDOW && number >= WINDOW {
            self.file.rest(at((number - WINDOW) / CHUNK * CHUNK), size);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_every_number_once() {
        let (mut number, mut ends) = (0, Vec::new());
        while number < 3 * CHUNK {
            let (from, to) = piece(number);
            assert_eq!(from, number);
            assert!((from..to).all(|inside| piece(inside) == (from, to)));
            // One chunk's slots, and whole pages of them.
            assert!(from / CHUNK == (to - 1) / CHUNK && ((to - from) * record::SIZE as u64).is_multiple_of(4096));
            ends.push(to);
            number = to;
        }
        assert_eq!(ends, [256, 1024, CHUNK, 2 * CHUNK, 3 * CHUNK]);
    }
}
