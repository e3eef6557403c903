//! The exclusion of forks from the time in which a search of this process holds the loader's lock.
//!
//! In a child that another thread forks, glibc reinitialises its loader locks except the one that `dl_iterate_phdr` takes. The child would
//! wait for ever in its next `dlopen`. The three functions, registered with `pthread_atfork`, prevent that for `fork`: it waits until no
//! search is running, about 20 µs, and no search begins meanwhile. `_Fork` and a bare `clone` run no handlers.
//!
//! A preempted thread can search for long, and the fork of a large process takes long, too. So each side waits for up to
//! [`PATIENCE`]. The wait is bounded: in a child of `_Fork`, threads that do not exist may seem to search or to fork. A thread that has waited that
//! long resets their counter, so that this happens once.

use crate::clock::monotonic_ns;
use rustix::thread::{ClockId, Timespec, clock_nanosleep_relative};
use std::sync::atomic::{AtomicU32, Ordering};

/// Threads that search, or are about to.
static SEARCHING: AtomicU32 = AtomicU32::new(0);
/// Threads that fork.
static FORKING: AtomicU32 = AtomicU32::new(0);

/// How long a thread waits for the others, in nanoseconds.
const PATIENCE: u64 = 3_000_000_000;

// Each side first stores its intention and then loads the other's. In sequentially consistent order at least one sees the other.

/// A search that is running.
pub struct Search;

impl Search {
    /// Begins when no thread forks.
    pub fn begin() -> Search {
        SEARCHING.fetch_add(1, Ordering::SeqCst);
        if FORKING.load(Ordering::SeqCst) != 0 {
            let none_forks = || {
                one_less(&SEARCHING);
                pause();
                SEARCHING.fetch_add(1, Ordering::SeqCst);
                FORKING.load(Ordering::SeqCst) == 0
            };
            wait(none_forks, &FORKING);
        }
        Search
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        one_less(&SEARCHING);
    }
}

/// For `pthread_atfork`, before the fork.
pub extern "C" fn before_fork() {
    FORKING.fetch_add(1, Ordering::SeqCst);
    if SEARCHING.load(Ordering::SeqCst) != 0 {
        wait(|| SEARCHING.load(Ordering::SeqCst) == 0, &SEARCHING);
    }
}

/// For `pthread_atfork`, after the fork, in the parent.
pub extern "C" fn after_fork_in_parent() {
    one_less(&FORKING);
}

/// For `pthread_atfork`, after the fork, in the child, which has only this thread.
pub extern "C" fn after_fork_in_child() {
    FORKING.store(0, Ordering::SeqCst);
    SEARCHING.store(0, Ordering::SeqCst);
}

/// Waits until this holds. If that takes too long, the counter is reset.
fn wait(mut is_so: impl FnMut() -> bool, others: &AtomicU32) {
    let begun = monotonic_ns();
    while !is_so() {
        if monotonic_ns().saturating_sub(begun) > PATIENCE {
            others.store(0, Ordering::SeqCst);
            return;
        }
        pause();
    }
}

/// Sleeps for a moment, as SQLite does. A plain system call is no cancellation point.
fn pause() {
    let _ = clock_nanosleep_relative(ClockId::Realtime, &Timespec { tv_sec: 0, tv_nsec: 20_000 });
}

/// Counts one thread less. The counter may have been reset meanwhile.
fn one_less(count: &AtomicU32) {
    let _ = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1));
}
