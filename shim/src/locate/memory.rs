//! Reads that cannot fault.
//!
//! The memory belongs to the program: a truncated file leaves pages of a module that raise SIGBUS, a program may
//! have made a part of its data unreadable, and program headers can hold any number. So nothing here is dereferenced until a system call has shown that the kernel can read that page. Bytes are copied and only the copy is examined, because other threads keep writing. They are
//! not copied by `memcpy`: in a program built with AddressSanitizer that is the sanitizer's, and ends the program between two variables.
//!
//! The question to the kernel is `rt_sigprocmask` with an operation that does not exist. The call reads the new mask first (`EFAULT`), and then
//! refuses the operation (`EINVAL`), so it changes nothing. It takes about 0.1 µs. `process_vm_readv` would copy as well, but
//! sandboxes forbid it and kill for it; every program that starts a thread is allowed `rt_sigprocmask` and `futex`.

use std::cell::Cell;
use std::ffi::c_long;

/// Memory by address. Tests have a memory of bytes.
pub trait Memory {
    /// Copies from an address. `false` where not all of it can be read; then `into` may hold anything.
    fn copy(&self, at: usize, into: &mut [u8]) -> bool;

    /// Whether the 32-bit word at an address can be written. The word keeps its value.
    fn writable(&self, at: usize) -> bool;

    /// A machine word.
    fn word(&self, at: usize) -> Option<u64> {
        let mut bytes = [0; 8];
        self.copy(at, &mut bytes).then(|| u64::from_ne_bytes(bytes))
    }

    /// Whether this text, which includes its NUL, is at an address.
    fn is(&self, at: usize, text: &[u8]) -> bool {
        let mut bytes = [0; 64];
        bytes.get_mut(..text.len()).is_some_and(|bytes| self.copy(at, bytes) && bytes == text)
    }
}

/// This process.
///
/// The caller keeps the memory mapped meanwhile: by the loader's lock (`loader`), or as a user of the module.
#[derive(Debug, Default)]
pub struct Process {
    /// The page that was asked about last: neighbouring reads follow each other.
    known: Cell<usize>,
}

/// The smallest page of any kernel. Where pages are larger, more questions are asked than needed.
const PAGE: usize = 4096;

impl Process {
    /// Whether the page at this address can be read.
    fn readable(&self, page: usize) -> bool {
        if page == self.known.get() {
            return true;
        }
        const NO_SUCH_OPERATION: c_long = -1;
        const MASK_BYTES: c_long = 8;
        let answer = quietly(|| {
            // SAFETY: the kernel reads eight bytes from the address or answers EFAULT; it refuses the operation without any effect.
            unsafe { libc::syscall(libc::SYS_rt_sigprocmask, NO_SUCH_OPERATION, page, 0_usize, MASK_BYTES) }
        });
        let readable = answer == Err(libc::EINVAL);
        if readable {
            self.known.set(page);
        }
        readable
    }
}

impl Memory for Process {
    fn copy(&self, at: usize, into: &mut [u8]) -> bool {
        let Some(end) = at.checked_add(into.len()) else { return false };
        let mut page = at & !(PAGE - 1);
        while page < end {
            if page == 0 || !self.readable(page) {
                return false;
            }
            let Some(next) = page.checked_add(PAGE) else { return false };
            page = next;
        }
        let mut from = at as *const u8;
        if at.is_multiple_of(8) {
            let (words, _) = into.as_chunks_mut::<8>();
            for word in words {
                // SAFETY: the kernel has read every page of it, the caller keeps them mapped, and the address is aligned.
                // Other threads may write meanwhile: a volatile read gives the present value, which is checked like any other.
                *word = unsafe { from.cast::<u64>().read_volatile() }.to_ne_bytes();
                from = from.wrapping_add(8);
            }
        }
        let done = from as usize - at;
        for byte in into.iter_mut().skip(done) {
            // SAFETY: as above; a byte is always aligned.
            *byte = unsafe { from.read_volatile() };
            from = from.wrapping_add(1);
        }
        true
    }

    /// `FUTEX_WAKE_OP` ORs 0 into the word, atomically, and wakes no thread: the kernel writes the same word, or returns `EFAULT`.
    fn writable(&self, at: usize) -> bool {
        const WAKE_OP_PRIVATE: c_long = 5 | 128;
        const OR_WITH_NOTHING: c_long = 2 << 28;
        let answer = quietly(|| {
            // SAFETY: the kernel checks the address, and writes the value that is there.
            unsafe { libc::syscall(libc::SYS_futex, at, WAKE_OP_PRIVATE, 0_usize, 0_usize, at, OR_WITH_NOTHING) }
        });
        // Where a sandbox forbids the call, the program headers decide: by them it is writable.
        answer != Err(libc::EFAULT)
    }
}

/// A system call that keeps `errno`.
fn quietly(call: impl FnOnce() -> c_long) -> Result<c_long, i32> {
    // SAFETY: this thread's own `errno`.
    let errno = unsafe { &mut *libc::__errno_location() };
    let before = *errno;
    let answer = call();
    let why = std::mem::replace(errno, before);
    if answer == -1 { Err(why) } else { Ok(answer) }
}
