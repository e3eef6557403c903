//! A pool of equal entries of memory, one for each open file: a region that is reserved once and never unmapped.
//!
//! An entry begins with its content, and an address is known to be an entry by comparing it with the region's bounds. A free entry keeps its memory:
//! a thread that still reads it sees that its generation is over ([`Entry::generation`]), and nothing worse.
//!
//! No lock is taken. Free entries form a stack whose head carries a count, so that an exchange fails if the stack has changed in between.

use crate::memory::{self, Mapping};
use crate::recorder::{LITTLE_MEMORY, notice};
use std::cell::UnsafeCell;
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// Bytes of an entry.
const SIZE: usize = 1024;

/// Bytes for the content of an entry.
pub(super) const CONTENT: usize = SIZE - 2 * size_of::<AtomicU32>();

/// How many entries are reserved: the first of these numbers for which the program can spare the address space. A journal or WAL takes one, too.
const RESERVED: [usize; 3] = [8192, 1024, 64];

/// The memory of one file.
#[repr(C, align(64))]
pub(super) struct Entry {
    content: UnsafeCell<[u8; CONTENT]>,
    /// Odd while the entry is in use. It only ever grows, so that no two uses have the same one.
    generation: AtomicU32,
    /// The number of the next free entry, plus 1; 0 = none.
    next: AtomicU32,
}

const _: () = assert!(size_of::<Entry>() == SIZE);

/// Where the region begins; 0 = it is not reserved yet.
static START: AtomicUsize = AtomicUsize::new(0);
/// Its length in bytes; 0 until `START` is set.
static LENGTH: AtomicUsize = AtomicUsize::new(0);
/// Entries that were ever used. Those from here on were never written.
static USED: AtomicU32 = AtomicU32::new(0);
/// The number of the free entry that is taken next, plus 1, in the lower half; the count of changes in the upper half.
static FREE: AtomicU64 = AtomicU64::new(0);

/// Whether an entry is at this address.
#[inline(always)]
pub(super) fn has(address: usize) -> bool {
    let offset = address.wrapping_sub(START.load(Ordering::Relaxed));
    // Relaxed: only a thread that saw the region reserved has such an address.
    offset < LENGTH.load(Ordering::Relaxed) && offset.is_multiple_of(SIZE)
}

/// The entry at this address.
///
/// # Safety
/// The pool [`has`] it.
#[inline(always)]
pub(super) unsafe fn at(address: usize) -> &'static Entry {
    // SAFETY: an entry inside the region, which is never unmapped. The content lies in an `UnsafeCell`, and the rest is atomic.
    unsafe { &*(address as *const Entry) }
}

/// Every entry that is in use, with its generation.
pub(super) fn in_use() -> impl Iterator<Item = (&'static Entry, u32)> {
    let start = START.load(Ordering::Acquire);
    let addresses = (0..USED.load(Ordering::Acquire) as usize).map(move |n| start.wrapping_add(n * SIZE));
    // SAFETY: just found there.
    let entries = addresses.filter(|&address| has(address)).map(|address| unsafe { at(address) });
    entries.map(|entry| (entry, entry.generation())).filter(|(_, generation)| generation % 2 == 1)
}

impl Entry {
    /// Its content. Written while it is claimed; in use it holds what [`Claim::fill`] has put there.
    #[inline(always)]
    pub(super) fn content(&self) -> *mut u8 {
        self.content.get().cast()
    }

    /// Which use of the entry this is; see [`Entry::is_in`].
    pub(super) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether the entry is still in the use that had this generation.
    #[inline(always)]
    pub(super) fn is_in(&self, generation: u32) -> bool {
        generation % 2 == 1 && self.generation.load(Ordering::Relaxed) == generation
    }

    /// The same for another thread, after it has copied what it reads.
    pub(super) fn is_still_in(&self, generation: u32) -> bool {
        // What was read before must not be read after this.
        fence(Ordering::Acquire);
        self.is_in(generation)
    }

    /// Ends the use of the entry. Another file may be opened in it.
    pub(super) fn end(&'static self) {
        self.generation.fetch_add(1, Ordering::Release);
        release(self);
    }
}

/// An entry that this thread alone has, and that has no content yet. Dropped, it is free again.
pub(super) struct Claim(&'static Entry);

/// Claims an entry. `None`: all are taken.
pub(super) fn claim() -> Option<Claim> {
    if let Some(entry) = free() {
        return Some(Claim(entry));
    }
    match reserve() {
        Some(length) => {
            let entry = fresh(length);
            if entry.is_none() {
                notice::once(
                    notice::Kind::Lost,
                    format_args!("events are lost: more than {} files are open at once", length / SIZE),
                );
            }
            entry.map(Claim)
        }
        None => {
            notice::once(notice::Kind::Lost, format_args!("events are lost: {LITTLE_MEMORY}"));
            None
        }
    }
}

impl Claim {
    /// Puts the entry into use. `fill` gets its memory and makes the content there.
    pub(super) fn fill(self, fill: impl FnOnce(*mut u8)) -> &'static Entry {
        let entry = ManuallyDrop::new(self).0;
        fill(entry.content());
        // Release: a thread that sees the new generation sees the content.
        entry.generation.fetch_add(1, Ordering::Release);
        entry
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        release(self.0);
    }
}

fn release(entry: &Entry) {
    let number = (ptr::from_ref(entry) as usize).wrapping_sub(START.load(Ordering::Relaxed)) / SIZE;
    let mut head = FREE.load(Ordering::Relaxed);
    loop {
        entry.next.store(head as u32, Ordering::Relaxed);
        let new = (head >> 32).wrapping_add(1) << 32 | (number as u64 + 1);
        match FREE.compare_exchange_weak(head, new, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => head = now,
        }
    }
}

fn free() -> Option<&'static Entry> {
    let mut head = FREE.load(Ordering::Acquire);
    loop {
        let number = (head as u32).checked_sub(1)?;
        // SAFETY: only entries of the region are released.
        let entry = unsafe { at(START.load(Ordering::Relaxed) + number as usize * SIZE) };
        // Where another thread takes the entry at this moment, this is not used: the exchange fails.
        let next = entry.next.load(Ordering::Relaxed);
        let new = (head >> 32).wrapping_add(1) << 32 | u64::from(next);
        match FREE.compare_exchange_weak(head, new, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => return Some(entry),
            Err(now) => head = now,
        }
    }
}

fn fresh(length: usize) -> Option<&'static Entry> {
    let next = |used: u32| (used < (length / SIZE) as u32).then(|| used + 1);
    let number = USED.fetch_update(Ordering::AcqRel, Ordering::Relaxed, next).ok()?;
    // SAFETY: the region has this length.
    Some(unsafe { at(START.load(Ordering::Acquire) + number as usize * SIZE) })
}

/// Reserves the region, if that is possible. Called when a SQLite is covered or wrapped: a program may lower its limits afterwards.
pub(super) fn prepare() {
    reserve();
}

/// Reserves the region, unless that has been done. Returns its length in bytes.
fn reserve() -> Option<usize> {
    struct Region {
        start: usize,
        length: usize,
    }
    /// The region that all threads agree on. `START` and `LENGTH` are set from it.
    static REGION: AtomicPtr<Region> = AtomicPtr::new(ptr::null_mut());
    /// Attempts that found no memory. Only every 1024th one looks again, because that takes descriptors.
    static FAILED: AtomicU32 = AtomicU32::new(0);
    match LENGTH.load(Ordering::Acquire) {
        0 => {}
        length => return Some(length),
    }
    let tried = FAILED.load(Ordering::Relaxed);
    if !tried.is_multiple_of(1024) {
        FAILED.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    if REGION.load(Ordering::Acquire).is_null() {
        let left = memory::left().saturating_sub(memory::SPARE);
        let fits = |len: &usize| u64::try_from(*len).is_ok_and(|len| len <= left);
        let mut lengths = RESERVED.map(|n| n * SIZE).into_iter().filter(fits);
        let Some((length, mut memory)) = lengths.find_map(|len| Some((len, Mapping::new(len)?))) else {
            FAILED.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let ours = memory::keep(Region { start: memory.bytes().as_ptr() as usize, length })?;
        // Two threads may both come this far. The second one's memory is unmapped.
        if REGION.compare_exchange(ptr::null_mut(), ours, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            memory.leak();
        }
    }
    // SAFETY: it is set by now, and kept for the life of the process.
    let region = unsafe { &*REGION.load(Ordering::Acquire) };
    START.store(region.start, Ordering::Release);
    LENGTH.store(region.length, Ordering::Release);
    Some(region.length)
}
