//! The one line on stderr that says recording failed. There is never a second one, nor any other output; and where stderr would
//! not take it at once, there is none.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

static GIVEN: AtomicBool = AtomicBool::new(false);

/// Says on stderr, once in the life of this process and its forked children, what recording failed on.
#[cold]
#[inline(never)]
pub fn once(message: fmt::Arguments<'_>) {
    if GIVEN.swap(true, Ordering::Relaxed) {
        return;
    }
    let line = format!("locktrace: {message}\n");
    // Nobody may be reading: a write to a full pipe would stop the application, and one to a closed pipe raise SIGPIPE.
    let mut poll = libc::pollfd { fd: 2, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one pollfd of ours; no time to wait.
    if unsafe { libc::poll(&raw mut poll, 1, 0) } != 1 || poll.revents != libc::POLLOUT {
        return;
    }
    // Straight to the descriptor, in one write: no lock of the standard library's is taken, and a failure is nobody's business.
    // SAFETY: `ManuallyDrop` keeps descriptor 2 open; File only borrows the number.
    let mut stderr = std::mem::ManuallyDrop::new(unsafe { <std::fs::File as std::os::fd::FromRawFd>::from_raw_fd(2) });
    let _ = stderr.write(line.as_bytes());
}

pub fn note(kind: &str, _module: &[u8], why: fmt::Arguments<'_>) {
    let _ = (kind, why);
}
