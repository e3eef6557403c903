//! The ring's memory: a file mapped shared, given disk space and page tables a chunk at a time before records reach it.
//!
//! In comes a path and a capacity; out come `head`, slots, and the promise that a slot handed out can be written without a fault
//! that kills. A store into a mapped page that has no disk space behind it raises `SIGBUS`; so a chunk is first allocated
//! (`fallocate`) and populated (`MADV_POPULATE_WRITE`, which reports what would have been a SIGBUS as an error). Measured here on
//! ext4: 9 µs and 40-150 µs for 256 KiB the first time; a store into a populated page costs nothing extra. The first chunk is
//! prepared in [`STEPS`], because most processes record little.

use super::disk;
use super::ring::Slot;
use crate::format::header::{self, Anchor, Header, word};
use crate::format::record;
use std::borrow::Borrow;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Records in a chunk (256 KiB of them): what is prepared in one go.
pub const CHUNK: u64 = 4096;

/// Where the pieces of the first chunk end that are prepared one by one, on the first lap: most processes record little, and should
/// leave no more on the disk. The first piece is there from the beginning (16 KiB).
pub const STEPS: [u64; 3] = [256, 1024, CHUNK];

/// The records that are prepared together with record `number`: from, and to before.
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

/// Bytes of address space that must be left to a process with a limit on it, after our mapping: what we take, it cannot have, and
/// it may need what is left.
const SPARE: u64 = 32 << 20;

/// `MADV_POPULATE_WRITE`, Linux 5.14.
const MADV_POPULATE_WRITE: libc::c_int = 23;

/// A mapped ring file. Never unmapped: a thread may be inside a slot at any time.
#[derive(Debug)]
pub struct Map {
    base: NonNull<u8>,
    capacity: u64,
    path: PathBuf,
    identity: disk::Identity,
    /// Which chunks have disk space.
    allocated: Box<[AtomicBool]>,
}

// SAFETY: `base` points to a shared mapping that lives as long as the process; all access to it is through atomics.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Creates the ring file at `path` (under a temporary name until its header is whole) and prepares its first piece.
    pub fn create(path: &Path, header: &Header) -> io::Result<Map> {
        let capacity = header.capacity;
        let len = header::SIZE as u64 + capacity * record::SIZE as u64;
        if len > disk::size_limit() {
            return Err(io::Error::other("the process's file size limit (RLIMIT_FSIZE) is below LOCKTRACE_LIMIT"));
        }
        let unfinished = path.with_extension("ring.new");
        let file = disk::create(&unfinished)?;
        let map = Map::fill(&file, path, header, len).and_then(|map| {
            std::fs::rename(&unfinished, path)?;
            Ok(map)
        });
        if map.is_err() {
            let _ = std::fs::remove_file(&unfinished);
        }
        map
    }

    fn fill(file: &File, path: &Path, header: &Header, len: u64) -> io::Result<Map> {
        let identity = disk::identity(file)?;
        file.set_len(len)?;
        allocate(file, 0, header::SIZE as u64)?;
        std::os::unix::fs::FileExt::write_all_at(file, &header.encode()[..], 0)?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        if disk::address_space_left().is_some_and(|left| left < len as u64 + SPARE) {
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, "too little is left of the address space (RLIMIT_AS)"));
        }
        // SAFETY: a fresh shared mapping of a file of ours at an address the kernel picks.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(|| io::Error::other("mmap gave the null page"))?;
        let chunks = header.capacity.div_ceil(CHUNK) as usize;
        let mut allocated = Vec::new();
        allocated.try_reserve_exact(chunks).map_err(io::Error::other)?;
        allocated.resize_with(chunks, || AtomicBool::new(false));
        let map = Map { base, capacity: header.capacity, path: path.to_owned(), identity, allocated: allocated.into_boxed_slice() };
        populate(base.as_ptr(), header::SIZE)?;
        map.prepare_through(0, || Ok(file))?;
        Ok(map)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, to be read. Never through the mapping: what has no disk space yet must not be touched.
    pub fn open(&self) -> io::Result<File> {
        disk::reopen(&self.path, self.identity)
    }

    /// Lets it all go from memory. The contents stay in the file, and a late writer faults its page back in: it has its disk space.
    pub fn rest(&self) {
        let len = header::SIZE + self.capacity as usize * record::SIZE;
        // SAFETY: exactly the shared file mapping; MADV_DONTNEED drops page tables, not data.
        unsafe { libc::madvise(self.base.as_ptr().cast(), len, libc::MADV_DONTNEED) };
    }

    /// One word of the header.
    #[inline(always)]
    fn header_word(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < header::SIZE / 8);
        // SAFETY: the header's page is mapped, writable and populated for the life of the process, page-aligned, and `index` is
        // one of the constants of `header::word`, all inside it. The file's other users read it through `pread`.
        unsafe { &*self.base.as_ptr().cast::<AtomicU64>().add(index) }
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

    /// Rewrites the last anchor. Two threads at once can leave a mixture, whose check word does not match: then it is no anchor.
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
        // aligned for words; the caller vouches that the page has space behind it, so that no access faults fatally.
        unsafe { &*self.base.as_ptr().add(header::SIZE).cast::<Slot>().add(index as usize) }
    }

    /// Makes the [`piece`] of number `number` writable without a fault. Idempotent, and harmless from several threads at once.
    ///
    /// In a ring larger than [`WINDOW`], the chunk that far behind is let go from memory; its contents stay in the file, and a
    /// late writer faults it back in: it has its disk space.
    pub fn prepare(&self, number: u64) -> io::Result<()> {
        self.prepare_through(number, || disk::reopen(&self.path, self.identity))
    }

    fn prepare_through<F: Borrow<File>>(&self, number: u64, file: impl FnOnce() -> io::Result<F>) -> io::Result<()> {
        let (from, to) = piece(number);
        let size = CHUNK.min(self.capacity) as usize * record::SIZE;
        let at = |number: u64| header::SIZE + (number & (self.capacity - 1)) as usize * record::SIZE;
        let (offset, len) = (at(from), (to - from) as usize * record::SIZE);
        let Some(allocated) = self.allocated.get(((from & (self.capacity - 1)) / CHUNK) as usize) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if !allocated.load(Ordering::Relaxed) {
            allocate(file()?.borrow(), offset as u64, len as u64)?;
            // Pieces are prepared in their order: with its last one, a chunk has all its space.
            if to.is_multiple_of(CHUNK) {
                allocated.store(true, Ordering::Relaxed);
            }
        }
        // SAFETY: a piece lies within one chunk, and that is below the number of chunks: the range lies inside the mapping.
        populate(unsafe { self.base.as_ptr().add(offset) }, len)?;
        if self.capacity > WINDOW && number >= WINDOW {
            let behind = at((number - WINDOW) / CHUNK * CHUNK);
            // SAFETY: a range inside a shared file mapping; MADV_DONTNEED drops page tables, not data.
            unsafe {
                libc::madvise(self.base.as_ptr().add(behind).cast(), size, libc::MADV_DONTNEED);
            }
        }
        Ok(())
    }
}

/// Gives a range of a file disk space.
fn allocate(file: &File, offset: u64, len: u64) -> io::Result<()> {
    for _ in 0..16 {
        // SAFETY: plain integers and a descriptor that is open for the length of the call.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, offset as libc::off_t, len as libc::off_t) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            // A file system without fallocate: writing zeros allocates as well. The range holds no records yet.
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => {
                // Such a write past the limit would not fail but raise SIGXFSZ, and the limit may be new.
                if offset + len > disk::size_limit() {
                    let reason = "the process's file size limit (RLIMIT_FSIZE) is reached";
                    return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
                }
                let zeros = [0; 4096];
                let mut at = offset;
                while at < offset + len {
                    let n = (offset + len - at).min(zeros.len() as u64) as usize;
                    std::os::unix::fs::FileExt::write_all_at(file, zeros.get(..n).unwrap_or(&zeros), at)?;
                    at += n as u64;
                }
                return Ok(());
            }
            _ => return Err(error),
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}

/// Fills the page tables of an allocated range for writing.
fn populate(start: *mut u8, len: usize) -> io::Result<()> {
    // SAFETY: a range inside our own mapping. Where its pages cannot be had, this fails instead of raising SIGBUS.
    if unsafe { libc::madvise(start.cast(), len, MADV_POPULATE_WRITE) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // Before Linux 5.14: touch each page. It has disk space, or `allocate` would have failed.
        Some(libc::EINVAL) => {
            for page in (0..len).step_by(4096) {
                // SAFETY: inside the mapping and aligned; adding 0 changes nothing for a reader or another writer.
                unsafe { &*start.add(page).cast::<AtomicU64>() }.fetch_add(0, Ordering::Relaxed);
            }
            Ok(())
        }
        // Interrupted half-way, or short of memory for a moment: the space is there, and a page not yet mapped only costs time.
        Some(libc::EINTR | libc::EAGAIN) => Ok(()),
        _ => Err(error),
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
