//! The state that belongs to one process alone: a page that the kernel wipes when the process forks.
//!
//! Every child (of `fork`, `_Fork`, a raw `clone`) finds zeros here: no log, no observer, no losses. So it never writes into its parent's log, and
//! finds no lock held by a thread that it does not have. State that a child inherits on purpose is in ordinary statics.
//!
//! Kernels without `MADV_WIPEONFORK` (before Linux 4.14) get a `pthread_atfork` handler that does the same, except after a raw `clone`.

use super::Log;
use super::limits;
use super::observer::Observer;
use crate::sys;
use rustix::mm::{Advice, madvise};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// The phases on the way to a log: none was needed yet.
pub(super) const UNOPENED: u8 = 0;
/// A thread is opening one.
pub(super) const OPENING: u8 = 1;
/// There is one.
pub(super) const OPEN: u8 = 2;
/// It could not be opened.
pub(super) const FAILED: u8 = 3;
/// Switched off by [`super::control`]: nothing is recorded, and nothing is counted as lost.
pub(super) const STOPPED: u8 = 4;

/// Everything that a child must not inherit. All zeros is the state of a process that has not recorded.
#[derive(Debug)]
pub(super) struct State {
    /// The open log of this process, or null.
    pub current: AtomicPtr<Log>,
    /// The observer of this process, or null.
    pub observer: AtomicPtr<Observer>,
    /// The log that recording was stopped in, or null.
    pub paused: AtomicPtr<Log>,
    /// Events that found no log.
    pub lost: AtomicU64,
    /// This process's number; 0 = the kernel was not asked yet.
    pub pid: AtomicU32,
    /// The phase on the way to a log: [`UNOPENED`] and so on.
    pub phase: AtomicU8,
    /// The settings were fixed in this process, and not in one that it was forked from.
    pub configured_here: AtomicBool,
}

/// The largest page of any kernel of this architecture. The kernel wipes whole pages.
const PAGE: usize = if cfg!(target_arch = "x86_64") { 4096 } else { 65_536 };

#[cfg_attr(target_arch = "x86_64", repr(C, align(4096)))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C, align(65536)))]
struct Page {
    state: State,
    _rest: [u8; PAGE - size_of::<State>()],
}

/// Zero from the start, so the linker puts it into `.bss`, whose whole pages are anonymous memory.
static PAGE_OF_STATE: Page = Page {
    state: State {
        current: AtomicPtr::new(std::ptr::null_mut()),
        observer: AtomicPtr::new(std::ptr::null_mut()),
        paused: AtomicPtr::new(std::ptr::null_mut()),
        lost: AtomicU64::new(0),
        pid: AtomicU32::new(0),
        phase: AtomicU8::new(UNOPENED),
        configured_here: AtomicBool::new(false),
    },
    _rest: [0; PAGE - size_of::<State>()],
};

/// This process's state.
pub(super) static STATE: &State = &PAGE_OF_STATE.state;

const NOT_ASKED: u8 = 0;
const WIPED: u8 = 1;
const HANDLED: u8 = 2;
/// How a child gets a state of its own. Inherited, as the kernel's mark on the page is.
static HOW: AtomicU8 = AtomicU8::new(NOT_ASKED);

/// Arranges that a child gets a state of its own, from now on.
pub(super) fn own() {
    if HOW.load(Ordering::Acquire) != NOT_ASKED {
        return;
    }
    // Two threads may both do this, which is harmless.
    let page = (&raw const PAGE_OF_STATE).cast_mut().cast();
    // SAFETY: the range is exactly a static of ours, whole pages of it. The advice changes nothing in this process.
    if !limits::sealed() && unsafe { madvise(page, size_of::<Page>(), Advice::LinuxWipeOnFork) }.is_ok() {
        HOW.store(WIPED, Ordering::Release);
        return;
    }
    // SAFETY: the handler is a function of this library, which stays loaded (SQLITE_OK_LOAD_PERMANENTLY, preloaded, or linked in).
    unsafe { libc::pthread_atfork(None, None, Some(wipe)) };
    HOW.store(HANDLED, Ordering::Release);
}

/// This process's number. It is remembered where a child is known to find zeros here; otherwise the kernel is asked each time.
pub(crate) fn pid() -> u32 {
    match STATE.pid.load(Ordering::Relaxed) {
        0 => {
            let pid = sys::pid();
            if HOW.load(Ordering::Relaxed) != NOT_ASKED {
                STATE.pid.store(pid, Ordering::Relaxed);
            }
            pid
        }
        known => known,
    }
}

/// Wipes the state in the child of a `fork`, where the kernel does not. Atomic stores only.
extern "C" fn wipe() {
    let State { current, observer, paused, lost, pid, phase, configured_here } = STATE;
    current.store(std::ptr::null_mut(), Ordering::Relaxed);
    observer.store(std::ptr::null_mut(), Ordering::Relaxed);
    paused.store(std::ptr::null_mut(), Ordering::Relaxed);
    lost.store(0, Ordering::Relaxed);
    pid.store(0, Ordering::Relaxed);
    phase.store(UNOPENED, Ordering::Relaxed);
    configured_here.store(false, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child made without the C library's knowledge.
    #[test]
    fn a_raw_child_finds_zeros() {
        own();
        assert_eq!(HOW.load(Ordering::Relaxed), WIPED, "this kernel wipes, and the page is anonymous memory");
        STATE.lost.fetch_add(7, Ordering::Relaxed);
        // SAFETY: as fork(2) does it; the child only reads memory and leaves.
        let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        if child == 0 {
            let code = i32::from(STATE.lost.load(Ordering::Relaxed) != 0);
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(code) };
        }
        let mut status = -1;
        // SAFETY: our own child, and an int of ours.
        assert_eq!(unsafe { libc::waitpid(child as libc::pid_t, &raw mut status, 0) }, child as libc::pid_t);
        assert_eq!(status, 0);
        assert_eq!(STATE.lost.fetch_sub(7, Ordering::Relaxed), 7, "the parent keeps its own");
    }
}
