//! Reads of files of `/proc`. Each takes a descriptor that the program could use: one at a time, for moments, and none where descriptors are short.
//!
//! While a file of ours is open, the program has one descriptor less. Near its limit (`RLIMIT_NOFILE`) an open of its own can fail because of
//! that. So after the first open the free ones are counted. With fewer than [`LEFT`] the file is closed at once, and no file is read for
//! the next [`PAUSE`].
//!
//! They are counted by `fcntl(F_DUPFD_CLOEXEC)`: SQLite never calls `getrlimit`, so a filter of system calls may forbid it. Only the descriptor of
//! our own file is copied. Closing a copy of a descriptor of the program's would drop its POSIX locks.
#![forbid(unsafe_code)]

use crate::clock;
use crate::sys::Fd;
use rustix::fd::AsRawFd;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Descriptors that must be left to the program beside ours.
const LEFT: i32 = 16;
/// For how long no file is read after they were short, in nanoseconds.
const PAUSE: u64 = 10_000_000_000;
/// Until when no file is read: nanoseconds of `CLOCK_MONOTONIC`.
static SHORT_UNTIL: AtomicU64 = AtomicU64::new(0);

/// Whether descriptors were short less than [`PAUSE`] ago. `now` is in nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) fn is_short(now: u64) -> bool {
    now < SHORT_UNTIL.load(Ordering::Relaxed)
}

/// Notes that descriptors are short. Returns the words for it.
fn short() -> &'static str {
    SHORT_UNTIL.store(clock::monotonic_ns().saturating_add(PAUSE), Ordering::Relaxed);
    "descriptors are short"
}

fn open(path: &CStr) -> Result<Fd, &'static str> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => Ok(Fd::from(file)),
        Err(Errno::MFILE) => Err(short()),
        Err(error) => Err(reason(error)),
    }
}

/// Whether at least [`LEFT`] descriptors are free beside this one. Each is taken for a moment, one after another: the numbers above are those
/// that the program gets last.
fn are_left(file: &Fd) -> bool {
    let mut from = file.as_raw_fd();
    (0..LEFT).all(|_| match rustix::io::fcntl_dupfd_cloexec(file, from.saturating_add(1)).map(Fd::from) {
        Ok(copy) => {
            from = copy.as_raw_fd();
            true
        }
        Err(_) => false,
    })
}

/// Reads the beginning of the first file of a question, if descriptors are left; or returns why not.
pub(super) fn read_first<'a>(path: &CStr, into: &'a mut [u8]) -> Result<&'a [u8], &'static str> {
    let file = open(path)?;
    if !are_left(&file) {
        drop(file);
        return Err(short());
    }
    fill(&file, into)
}

/// Reads the beginning of a file, as much of it as `into` holds; or returns why not. For files after the first one, which is closed by now.
pub(super) fn read<'a>(path: &CStr, into: &'a mut [u8]) -> Result<&'a [u8], &'static str> {
    fill(&open(path)?, into)
}

fn fill<'a>(file: &Fd, into: &'a mut [u8]) -> Result<&'a [u8], &'static str> {
    let mut len = 0;
    while let Some(room) = into.get_mut(len..).filter(|room| !room.is_empty()) {
        match rustix::io::read(file, room) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(Errno::INTR) => {}
            Err(error) => return Err(reason(error)),
        }
    }
    Ok(into.get(..len).unwrap_or_default())
}

/// The C library's words for the errors of these calls.
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
