//! Files of `/proc` read on descriptors that are the program's: held for as short as can be, and not at all where they are short.
//!
//! While a file of ours is open, the program has one descriptor less. Near its limit (`RLIMIT_NOFILE`) an open of its own can fail because of
//! that. So after an open that came close to the limit the file is closed at once, and nothing is asked for the next [`PAUSE`].
#![forbid(unsafe_code)]

use crate::clock;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Descriptors that must be left to the program above ours.
const LEFT: i32 = 16;
/// For how long nothing is asked after they were short, in nanoseconds.
const PAUSE: u64 = 10_000_000_000;
/// Until when nothing is asked: nanoseconds of `CLOCK_MONOTONIC`.
static SHORT_UNTIL: AtomicU64 = AtomicU64::new(0);

/// Descriptors were short less than [`PAUSE`] ago: nothing should be asked. `now` is in nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) fn is_short(now: u64) -> bool {
    now < SHORT_UNTIL.load(Ordering::Relaxed)
}

/// Descriptors are short.
fn short() -> &'static str {
    SHORT_UNTIL.store(clock::monotonic_ns().saturating_add(PAUSE), Ordering::Relaxed);
    "descriptors are short"
}

fn open(path: &CStr) -> Result<OwnedFd, &'static str> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::MFILE) => return Err(short()),
        Err(error) => return Err(reason(error)),
    };
    // The one call that compares with the limit; it asks for the lowest free descriptor from there on, and the copy is closed at once.
    match rustix::io::fcntl_dupfd_cloexec(&file, file.as_raw_fd().saturating_add(LEFT)) {
        Ok(_) => Ok(file),
        Err(Errno::MFILE | Errno::INVAL) => {
            drop(file);
            Err(short())
        }
        Err(error) => Err(reason(error)),
    }
}

/// The beginning of a file, as much of it as `into` holds; or why not.
pub(super) fn read<'a>(path: &CStr, into: &'a mut [u8]) -> Result<&'a [u8], &'static str> {
    let file = open(path)?;
    let mut len = 0;
    while let Some(room) = into.get_mut(len..).filter(|room| !room.is_empty()) {
        match rustix::io::read(&file, room) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(Errno::INTR) => {}
            Err(error) => return Err(reason(error)),
        }
    }
    Ok(into.get(..len).unwrap_or_default())
}

/// The C library's words for the errors of these calls that happen.
fn reason(error: Errno) -> &'static str {
    match error {
        Errno::PERM => "Operation not permitted (os error 1)",
        Errno::NOENT => "No such file or directory (os error 2)",
        Errno::SRCH => "No such process (os error 3)",
        Errno::IO => "Input/output error (os error 5)",
        Errno::NOMEM => "Cannot allocate memory (os error 12)",
        Errno::ACCESS => "Permission denied (os error 13)",
        Errno::NFILE => "Too many open files in system (os error 23)",
        Errno::NOSYS => "Function not implemented (os error 38)",
        _ => "the file cannot be read",
    }
}
