//! The one line on stderr that says recording failed. There is never a second one, nor any other output.

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
    // Straight to the descriptor, in one write: no lock of the standard library's is taken, and a failure is nobody's business.
    // SAFETY: `ManuallyDrop` keeps descriptor 2 open; File only borrows the number.
    let mut stderr = std::mem::ManuallyDrop::new(unsafe { <std::fs::File as std::os::fd::FromRawFd>::from_raw_fd(2) });
    let _ = stderr.write(line.as_bytes());
}
