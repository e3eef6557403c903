//! Counters in memory that a program shares with the test that kills it: they show what it had done when it died, to the last instruction. A SIGKILL
//! cannot take the page back.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Threads that have counters.
pub const THREADS: usize = 8;

/// What one thread counts.
#[derive(Debug, Default)]
pub struct Thread {
    /// Its number.
    pub tid: AtomicU64,
    /// Lock transitions whose call has returned.
    pub transitions: AtomicU64,
    /// Transactions whose COMMIT has returned.
    pub commits: AtomicU64,
}

/// The page.
#[derive(Debug, Default)]
pub struct Counters {
    /// Goes from 0 to 1 when the process is about to open its log, and to 2 when it has.
    pub stage: AtomicU64,
    pub threads: [Thread; THREADS],
}

impl Counters {
    /// The page of this file, which is made if it is not there. It stays mapped for the life of the process.
    pub fn at(path: &Path) -> &'static Counters {
        let file = std::fs::File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        file.set_len(4096).unwrap();
        const { assert!(size_of::<Counters>() <= 4096) };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(page, libc::MAP_FAILED);
        // The file is zeros, which these are when they are made, and nobody accesses them but as atomics.
        unsafe { &*page.cast::<Counters>() }
    }

    /// All transitions so far.
    pub fn transitions(&self) -> u64 {
        self.threads.iter().map(|thread| thread.transitions.load(Ordering::Relaxed)).sum()
    }

    /// All commits so far.
    pub fn commits(&self) -> u64 {
        self.threads.iter().map(|thread| thread.commits.load(Ordering::Relaxed)).sum()
    }
}
