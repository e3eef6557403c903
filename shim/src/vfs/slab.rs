//! The memory in which open files are kept: one region of equal places, reserved once and never given back.
//!
//! A file's place begins with the method table that SQLite calls it through, so `pMethods` leads from SQLite's file to ours, and an
//! address is known to be a place of ours by comparing it with the region's bounds. A place that is free again keeps its memory: a thread that
//! still looks at it sees that its life is over ([`Place::life`]), and nothing worse.
//!
//! No lock is taken. Free places form a stack whose head carries a count, so that an exchange fails if the stack has changed in between.

use super::file::File;
use crate::memory::{self, Mapping};
use crate::recorder::{LITTLE_MEMORY, notice};
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// Bytes of a place.
const SIZE: usize = 1024;

/// How many places are reserved: as many as the program can spare the address space for. A journal or WAL takes one, too.
const RESERVED: [usize; 3] = [8192, 1024, 64];

/// One file's memory.
#[repr(C, align(64))]
pub(super) struct Place {
    pub(super) file: ManuallyDrop<File>,
    /// Odd while a file lives here. It only ever grows, so that no two lives are the same.
    life: AtomicU32,
    /// The number of the next free place and one; 0: none.
    next: AtomicU32,
}

const _: () = assert!(size_of::<Place>() <= SIZE && SIZE.is_multiple_of(align_of::<Place>()));

/// Where the region begins; 0: it is not reserved yet.
static START: AtomicUsize = AtomicUsize::new(0);
/// Its length in bytes; 0 until `START` is set.
static LENGTH: AtomicUsize = AtomicUsize::new(0);
/// Places that were ever used; those from here on are fresh.
static USED: AtomicU32 = AtomicU32::new(0);
/// The free place that is taken next, and one, in the lower half; the count of changes in the upper.
static FREE: AtomicU64 = AtomicU64::new(0);

/// The file whose place is at this address; `None` for any other address.
#[inline(always)]
pub(super) fn at<T>(address: *const T) -> Option<&'static File> {
    let offset = (address as usize).wrapping_sub(START.load(Ordering::Relaxed));
    // Relaxed: an address of ours can only come from a thread that saw the region reserved.
    if offset >= LENGTH.load(Ordering::Relaxed) || !offset.is_multiple_of(SIZE) {
        return None;
    }
    // SAFETY: a place inside the region, which is never given back; what is in it changes through cells and atomics only, and a `Place`
    // begins with its file.
    Some(unsafe { &*address.cast::<File>() })
}

/// The place of a file.
fn place(file: &File) -> &Place {
    // SAFETY: files exist in places only (`take` makes them), and a place begins with its file.
    unsafe { &*ptr::from_ref(file).cast::<Place>() }
}

/// Which life of its place a file has; see [`is`].
pub(super) fn life(file: &File) -> u32 {
    place(file).life.load(Ordering::Acquire)
}

/// Whether the file that had this life in its place is still open.
#[inline(always)]
pub(super) fn is(file: &File, life: u32) -> bool {
    life % 2 == 1 && place(file).life.load(Ordering::Relaxed) == life
}

/// The same for another thread, after it has copied what it wanted to see.
pub(super) fn is_still(file: &File, life: u32) -> bool {
    // What was read before must not be read after this.
    fence(Ordering::Acquire);
    is(file, life)
}

/// Every file that is open, with its life.
pub(super) fn open_files() -> impl Iterator<Item = (&'static File, u32)> {
    let start = START.load(Ordering::Acquire);
    let places = (0..USED.load(Ordering::Acquire) as usize).map(move |n| start.wrapping_add(n * SIZE));
    places.filter_map(|address| at(address as *const File)).map(|file| (file, life(file))).filter(|(_, life)| life % 2 == 1)
}

/// A place that is nobody else's, and has no file yet. Dropped, it is free again.
pub(super) struct Claim(*mut Place);

/// Claims a place, before there is a file to put into it. `None`: all are taken.
pub(super) fn claim() -> Option<Claim> {
    if let Some(place) = free() {
        return Some(Claim(place));
    }
    match reserve() {
        Some(length) => {
            let place = fresh(length);
            if place.is_none() {
                notice::once(
                    notice::Kind::Lost,
                    format_args!("events are lost: more than {} files are open at once", length / SIZE),
                );
            }
            place.map(Claim)
        }
        None => {
            notice::once(notice::Kind::Lost, format_args!("events are lost: {LITTLE_MEMORY}"));
            None
        }
    }
}

impl Claim {
    /// Begins a file's life here. `fill` is handed the memory, and makes the file in it.
    pub(super) fn fill(self, fill: impl FnOnce(*mut File)) -> &'static File {
        let place = ManuallyDrop::new(self).0;
        fill(place.cast());
        // SAFETY: a place of the region, taken by this thread alone, and filled.
        let place = unsafe { &*place };
        // Release: a thread that sees the new life sees the file.
        place.life.fetch_add(1, Ordering::Release);
        &place.file
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // SAFETY: a place of the region, which is this thread's.
        release(unsafe { &*self.0 });
    }
}

/// Ends a file's life, and gives its place to others.
pub(super) fn give_back(file: &'static File) {
    let place = place(file);
    place.life.fetch_add(1, Ordering::Release);
    release(place);
}

fn release(place: &Place) {
    let number = (ptr::from_ref(place) as usize).wrapping_sub(START.load(Ordering::Relaxed)) / SIZE;
    let mut head = FREE.load(Ordering::Relaxed);
    loop {
        place.next.store(head as u32, Ordering::Relaxed);
        let new = (head >> 32).wrapping_add(1) << 32 | (number as u64 + 1);
        match FREE.compare_exchange_weak(head, new, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => head = now,
        }
    }
}

fn free() -> Option<*mut Place> {
    let mut head = FREE.load(Ordering::Acquire);
    loop {
        let number = (head as u32).checked_sub(1)?;
        let place = (START.load(Ordering::Relaxed) + number as usize * SIZE) as *mut Place;
        // SAFETY: a place of the region. If another thread takes it just now, what is read here is not used: the exchange fails.
        let next = unsafe { &*place }.next.load(Ordering::Relaxed);
        let new = (head >> 32).wrapping_add(1) << 32 | u64::from(next);
        match FREE.compare_exchange_weak(head, new, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => return Some(place),
            Err(now) => head = now,
        }
    }
}

fn fresh(length: usize) -> Option<*mut Place> {
    let next = |used: u32| (used < (length / SIZE) as u32).then(|| used + 1);
    let number = USED.fetch_update(Ordering::AcqRel, Ordering::Relaxed, next).ok()?;
    Some((START.load(Ordering::Acquire) + number as usize * SIZE) as *mut Place)
}

/// Reserves the region, if that is possible: when a SQLite is covered or wrapped, because a program may lower its limits afterwards.
pub(super) fn prepare() {
    reserve();
}

/// Sees to it that the region is reserved; gives its length in bytes.
fn reserve() -> Option<usize> {
    struct Region {
        start: usize,
        length: usize,
    }
    /// The region that all agree on, from which the two words above are set.
    static REGION: AtomicPtr<Region> = AtomicPtr::new(ptr::null_mut());
    /// Attempts that found no memory. The next ones are spared: looking costs descriptors.
    static IN_VAIN: AtomicU32 = AtomicU32::new(0);
    match LENGTH.load(Ordering::Acquire) {
        0 => {}
        length => return Some(length),
    }
    let tried = IN_VAIN.load(Ordering::Relaxed);
    if !tried.is_multiple_of(1024) {
        IN_VAIN.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    if REGION.load(Ordering::Acquire).is_null() {
        let left = memory::left().saturating_sub(memory::SPARE);
        let fits = |len: &usize| u64::try_from(*len).is_ok_and(|len| len <= left);
        let mut lengths = RESERVED.map(|n| n * SIZE).into_iter().filter(fits);
        let Some((length, mut memory)) = lengths.find_map(|len| Some((len, Mapping::new(len)?))) else {
            IN_VAIN.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let ours = memory::keep(Region { start: memory.bytes().as_ptr() as usize, length })?;
        // Two threads may both come this far: the second one's memory is given back.
        if REGION.compare_exchange(ptr::null_mut(), ours, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            memory.leak();
        }
    }
    // SAFETY: not null any more, and kept for ever.
    let region = unsafe { &*REGION.load(Ordering::Acquire) };
    START.store(region.start, Ordering::Release);
    LENGTH.store(region.length, Ordering::Release);
    Some(region.length)
}
