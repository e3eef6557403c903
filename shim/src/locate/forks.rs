//! Forks kept apart from the time in which this process's search holds the loader's lock.
//!
//! In a child that another thread forks, glibc reinitialises its loader locks except the one that `dl_iterate_phdr` takes. The child would
//! wait for ever in its next `dlopen`. The three functions, registered with `pthread_atfork`, rule that out for `fork`: it waits until no
//! search is going on, about 20 µs, and no search begins meanwhile. `_Fork` and a bare `clone` run no handlers.
//!
//! Neither side waits without bound: a thread that a fork has left behind in a child, or a handler that never ran, costs some
//! milliseconds once.

use std::sync::atomic::{AtomicU32, Ordering};

/// Threads that search, or are about to.
static SEARCHING: AtomicU32 = AtomicU32::new(0);
/// Threads that fork.
static FORKING: AtomicU32 = AtomicU32::new(0);

/// How often a thread lets others run before it goes on all the same.
const PATIENCE: u32 = 20_000;

// Each side first says what it is about to do and then looks at the other: in sequentially consistent order at least one sees the other.

/// A search, for as long as it lasts.
pub struct Search;

impl Search {
    /// Begins when no thread forks.
    pub fn begin() -> Search {
        for _ in 0..PATIENCE {
            SEARCHING.fetch_add(1, Ordering::SeqCst);
            if FORKING.load(Ordering::SeqCst) == 0 {
                return Search;
            }
            SEARCHING.fetch_sub(1, Ordering::SeqCst);
            others_run();
        }
        SEARCHING.fetch_add(1, Ordering::SeqCst);
        Search
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        SEARCHING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// For `pthread_atfork`, before the fork.
pub extern "C" fn before_fork() {
    FORKING.fetch_add(1, Ordering::SeqCst);
    for _ in 0..PATIENCE {
        if SEARCHING.load(Ordering::SeqCst) == 0 {
            break;
        }
        others_run();
    }
}

/// For `pthread_atfork`, after the fork, in the parent.
pub extern "C" fn after_fork_in_parent() {
    FORKING.fetch_sub(1, Ordering::SeqCst);
}

/// For `pthread_atfork`, after the fork, in the child, which has this thread alone.
pub extern "C" fn after_fork_in_child() {
    FORKING.store(0, Ordering::SeqCst);
    SEARCHING.store(0, Ordering::SeqCst);
}

fn others_run() {
    // SAFETY: it takes nothing, and on Linux never fails.
    unsafe { libc::sched_yield() };
}
