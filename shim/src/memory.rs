//! The recorder's own memory: anonymous mappings, and never the program's heap.
//!
//! `malloc` can fail, and Rust answers a failed allocation with an abort: the program would end because of the recorder.
//! So nothing here comes from `malloc`, and every request can fail. The caller then loses the event or the name, and counts it.
//!
//! * [`Mapping`]: memory for one piece of work, unmapped when it is dropped.
//! * [`keep`], [`keep_bytes`]: memory for the life of the process, taken one after another from chunks of [`CHUNK`] bytes.
//!
//! No lock is taken: the child of a `fork` works on, in whatever state the other threads of its parent left this.

use crate::sys;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::alloc::Layout;
use std::ffi::CStr;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// Zeroed memory, owned by one value.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: owned memory.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared reference gives no access to it.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// At least this many bytes, in whole pages; `None` where the kernel has none for this process.
    pub fn new(len: usize) -> Option<Mapping> {
        let len = len.checked_next_multiple_of(4096).filter(|&len| len > 0)?;
        // SAFETY: a fresh private mapping at an address the kernel picks; nothing else is touched.
        let base = unsafe {
            mmap_anonymous(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE)
        };
        Some(Mapping { base: NonNull::new(base.ok()?.cast())?, len })
    }

    /// Its bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is ours alone, readable and writable, and as long as this value lives.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }

    /// Its address; the memory stays for the life of the process.
    pub fn leak(self) -> NonNull<u8> {
        std::mem::ManuallyDrop::new(self).base
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped, and not referred to any more.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Bytes that a program with a limit on its memory must still be able to map, after all that the recorder keeps.
pub const SPARE: u64 = 32 << 20;

/// How many more bytes this process may map, of which the recorder leaves it [`SPARE`]. Read from `/proc`. Where that cannot be read, no limit is
/// assumed.
pub fn left() -> u64 {
    let (Some(mut limits), Some(mut status)) = (Mapping::new(TEXT), Mapping::new(TEXT)) else { return 0 };
    let Some(limits) = sys::read_file(c"/proc/self/limits", limits.bytes()) else { return u64::MAX };
    let Some(status) = sys::read_file(c"/proc/self/status", status.bytes()) else { return u64::MAX };
    left_by(limits, status, || {
        // Another mapping: the kernel locks it at once where the program has called `mlockall(MCL_FUTURE)`.
        let (_one_more, mut status) = (Mapping::new(TEXT)?, Mapping::new(TEXT)?);
        sys::number(sys::read_file(c"/proc/self/status", status.bytes())?, b"VmLck:", 0)
    })
}

/// Bytes that these texts fit in.
const TEXT: usize = 16 << 10;

/// The same by these texts. `again` gives the kibibytes that are locked after another mapping.
fn left_by(limits: &[u8], status: &[u8], again: impl FnOnce() -> Option<u64>) -> u64 {
    let kib = |line| sys::number(status, line, 0).unwrap_or(0);
    // A limit without a number is "unlimited".
    let of =
        |line, used: u64| sys::number(limits, line, 0).map_or(u64::MAX, |limit| limit.saturating_sub(used.saturating_mul(1024)));
    let (space, locked) = (of(b"Max address space", kib(b"VmSize:")), kib(b"VmLck:"));
    // Where the program has its pages locked in memory, each mapping counts against that limit.
    match of(b"Max locked memory", locked) {
        lockable if lockable < space && locked > 0 && again().is_none_or(|again| again > locked) => lockable,
        _ => space,
    }
}

/// Bytes of address space that are mapped at once for kept values. Pages that are never written cost nothing.
pub const CHUNK: usize = 256 << 10;
/// The most that is kept in one process.
pub const MOST: usize = 24 << 20;
/// The most that is kept in a process with a limit. It is mapped at once.
const BOUND: usize = 2 << 20;

/// The beginning of a chunk.
struct Chunk {
    /// Bytes in use, this structure included.
    used: AtomicUsize,
    /// Bytes of the chunk.
    len: usize,
}

/// The newest chunk; older ones are full.
static NEWEST: AtomicPtr<Chunk> = AtomicPtr::new(ptr::null_mut());
/// Bytes of all chunks.
static TAKEN: AtomicUsize = AtomicUsize::new(0);
/// No more chunks are mapped.
static BOUNDED: AtomicBool = AtomicBool::new(false);

/// Maps all memory for kept values now, in a program with a limit on its memory that can map `left` more bytes, if that leaves it [`SPARE`]. Later
/// the limit could not be read without a descriptor. [`u64::MAX`]: there is no limit.
pub fn bound(left: u64) {
    if left == u64::MAX || BOUNDED.swap(true, Ordering::Relaxed) {
        return;
    }
    if left >= BOUND as u64 + SPARE {
        take(NEWEST.load(Ordering::Acquire), BOUND);
    }
}

/// Maps another chunk, unless another thread has mapped one after `newest`. `None`: there is no memory.
fn take(newest: *mut Chunk, len: usize) -> Option<()> {
    let fresh = Mapping::new(len)?;
    let chunk = fresh.base.as_ptr().cast::<Chunk>();
    // SAFETY: our own memory, page-aligned and large enough.
    unsafe { chunk.write(Chunk { used: AtomicUsize::new(size_of::<Chunk>()), len }) };
    // Where another thread was faster, its chunk is used, and `fresh` is unmapped.
    if NEWEST.compare_exchange(newest, chunk, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
        TAKEN.fetch_add(len, Ordering::Relaxed);
        fresh.leak();
    }
    Some(())
}

/// Zeroed memory that stays for the life of the process. At most a chunk's worth; `None` past [`MOST`], or where the kernel has none.
pub fn allocate(layout: Layout) -> Option<NonNull<u8>> {
    let room = CHUNK - size_of::<Chunk>();
    if layout.size().checked_add(layout.align())? > room || layout.align() > 4096 {
        return None;
    }
    loop {
        let newest = NEWEST.load(Ordering::Acquire);
        // SAFETY: null, or a chunk that was published whole and is never given back.
        if let Some(chunk) = unsafe { newest.as_ref() } {
            let place = |used: usize| used.checked_next_multiple_of(layout.align());
            let end = |used: usize| place(used)?.checked_add(layout.size()).filter(|&end| end <= chunk.len);
            if let Ok(before) = chunk.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, end) {
                // SAFETY: inside the chunk, by the check in `end`; no other request got these bytes.
                return NonNull::new(unsafe { newest.cast::<u8>().add(place(before)?) });
            }
        }
        if TAKEN.load(Ordering::Relaxed) >= MOST || BOUNDED.load(Ordering::Relaxed) {
            return None;
        }
        take(newest, CHUNK)?;
    }
}

/// Keeps a value for the life of the process. It is never dropped.
pub fn keep<T>(value: T) -> Option<&'static mut T> {
    let place = allocate(Layout::new::<T>())?.cast::<T>();
    // SAFETY: fresh memory, as large and aligned as a `T`, for ever.
    unsafe {
        place.write(value);
        Some(&mut *place.as_ptr())
    }
}

/// Keeps a copy of these bytes for the life of the process, with a NUL behind them.
pub fn keep_bytes(bytes: &[u8]) -> Option<&'static [u8]> {
    let place = allocate(Layout::array::<u8>(bytes.len().checked_add(1)?).ok()?)?;
    // SAFETY: fresh memory of this length and one, which was zeroed.
    unsafe {
        ptr::copy_nonoverlapping(bytes.as_ptr(), place.as_ptr(), bytes.len());
        Some(std::slice::from_raw_parts(place.as_ptr(), bytes.len()))
    }
}

/// Keeps a copy of this string for the life of the process.
pub fn keep_c_str(text: &CStr) -> Option<&'static CStr> {
    let kept = keep_bytes(text.to_bytes())?;
    // SAFETY: `keep_bytes` leaves a NUL behind the copy, and the copy has none inside.
    Some(unsafe { CStr::from_ptr(kept.as_ptr().cast()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_stays_apart_and_aligned() {
        let numbers: Vec<&u64> = std::thread::scope(|scope| {
            let keep = |n: u64| (0..1000).map(|i| &*keep(n << 32 | i).unwrap()).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || keep(n))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let distinct: std::collections::HashSet<u64> = numbers.iter().map(|&&n| n).collect();
        assert_eq!(distinct.len(), 4000);
        assert!(numbers.iter().all(|n| ptr::from_ref(*n).is_aligned()));
        assert_eq!(keep_bytes(b"abc"), Some(&b"abc"[..]));
        assert_eq!(keep_c_str(c"abc"), Some(c"abc"));
        assert!(allocate(Layout::array::<u8>(CHUNK).unwrap()).is_none());
    }

    #[test]
    fn what_is_left_is_the_lower_limit() {
        let limits = |space: &str, lock: &str| {
            format!("Limit  Soft\nMax locked memory  {lock}  unlimited  bytes\nMax address space  {space}  x\n")
        };
        let status = |locked: u64| format!("Name:\tx\nVmSize:\t   12 kB\nVmLck:\t  {locked} kB\n");
        let left = |space: &str, lock: &str, locked: u64, again: u64| {
            left_by(limits(space, lock).as_bytes(), status(locked).as_bytes(), || Some(again))
        };
        assert_eq!(left("unlimited", "8388608", 0, 0), u64::MAX);
        assert_eq!(left("20000", "8388608", 0, 0), 20_000 - 12 * 1024);
        // Some of its pages, and all that follow.
        assert_eq!(left("unlimited", "8388608", 32, 32), u64::MAX);
        assert_eq!(left("unlimited", "8388608", 32, 48), 8_388_608 - 32 * 1024);
        assert_eq!(left("unlimited", "unlimited", 32, 48), u64::MAX);
        assert_eq!(left("1", "1", 32, 48), 0);
    }

    #[test]
    fn a_mapping_is_zero_and_whole_pages() {
        let mut mapping = Mapping::new(5000).unwrap();
        assert_eq!(mapping.bytes().len(), 8192);
        assert!(mapping.bytes().iter().all(|&byte| byte == 0));
        assert!(Mapping::new(0).is_none());
        assert!(Mapping::new(usize::MAX).is_none());
    }
}
