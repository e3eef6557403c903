//! The decision which refusals the kernel is asked about, and what asking may cost.
//!
//! The answers of [`crate::recorder::outside`] become lines of the names file. The reader finds the connections of this trace that hold a lock by
//! itself; the kernel is asked about holders that no trace contains.
//!
//! * **Once for each wait**: a connection asks at the first refusal. It asks again when the lock or the statement is another one, when it has
//!   released a
//!   write lock or been granted a read since, or when [`AGAIN`] has gone by.
//! * **Within a budget**: the processor time that asking has taken in this process is paid back with [`SHARE`] times as long without asking,
//!   except for a debt of [`DEBT`]. So a program that opens connections in a tight loop and is refused each time is slowed by 2 % at most.
//! * **Within the log's room** for such answers: 256 at once, and one more each second.
//! * **Only where a system call failed.** In SQLite's own unix VFS a conflict inside one process is found in memory. After one that the
//!   kernel refused, `errno` shows that. Where `errno` is one that `fcntl(F_SETLK)` never sets, the refusal came from this process, and the
//!   record shows that ([`REFUSED_HERE`]).
//! * **Only for refusals that can make a statement fail.** Skipped: a closing connection checking whether it is the last, and the READn locks
//!   that a reader or writer tries for (a checkpoint's are asked about).

use super::lock_state::LockState;
use crate::clock;
use crate::errno::SavedErrno;
use crate::event::{Level, REFUSED_HERE, Request, Slot};
use crate::memory::Mapping;
use crate::path::Path;
use crate::recorder::Log;
use crate::recorder::outside::{self, Answer, Question};
use crate::sys;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::sync::atomic::{AtomicU64, Ordering};

/// After this time (in nanoseconds) the kernel is asked again about the same wait: the holder may be another one.
const AGAIN: u64 = 1_000_000_000;
/// For how many times as long as asking took the kernel is not asked, within [`DEBT`].
const SHARE: u64 = 50;
/// Asking that may be paid back later, times [`SHARE`], in nanoseconds: 10 ms of it, or some hundred questions at once.
const DEBT: u64 = 500_000_000;

/// A wait that the kernel was asked about: the refused attempts of one statement for one lock.
#[derive(Clone, Copy, Debug)]
struct AskedWait {
    request: Request,
    sql: u64,
    reading_since: u64,
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    asked: u64,
}

/// Whether `fcntl` never sets this error: `errno` was left by another call.
fn not_from_fcntl(errno: c_int) -> bool {
    matches!(errno, 0 | libc::ENOENT | libc::EEXIST | libc::ENOTTY | libc::ENOTDIR | libc::ESPIPE | libc::ECHILD)
}

/// Which locks the kernel knows of a VFS's files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum KernelLocks {
    /// SQLite's own POSIX locks, which it looks up in memory first.
    Unix,
    /// `flock(2)`.
    Flock,
    /// None.
    Hidden,
    /// Not known.
    Foreign,
}

impl KernelLocks {
    /// Those of the VFS with this name.
    pub(super) fn of(vfs: &CStr) -> KernelLocks {
        match vfs.to_bytes() {
            b"unix" | b"unix-excl" => KernelLocks::Unix,
            b"unix-flock" => KernelLocks::Flock,
            b"unix-dotfile" | b"unix-none" | b"memdb" => KernelLocks::Hidden,
            _ => KernelLocks::Foreign,
        }
    }
}

/// What one connection keeps between its questions to the kernel.
pub(super) struct Outside {
    locks: KernelLocks,
    /// The last wait that was asked about; `None` after a write lock was released.
    asked: Cell<Option<AskedWait>>,
}

/// A refused attempt, and the connection that made it.
pub(super) struct Refusal<'a> {
    /// The connection's number.
    pub(super) conn: u32,
    /// Its database's number in the log.
    pub(super) file: u32,
    /// The path of that database, as SQLite opened it.
    pub(super) path: *const c_char,
    pub(super) locks: &'a LockState,
    pub(super) request: Request,
    /// The level before the attempt.
    pub(super) before: Level,
    /// The beginning of the attempt.
    pub(super) start: u64,
    pub(super) sql: u64,
}

impl Outside {
    pub(super) fn new(locks: KernelLocks) -> Outside {
        Outside { locks, asked: Cell::new(None) }
    }

    /// A write lock is released: the next refusal belongs to another wait.
    #[inline(always)]
    pub(super) fn ask_again(&self) {
        self.asked.set(None);
    }

    /// The `arg` of the record of an attempt that was refused just now: [`REFUSED_HERE`], or 0.
    pub(super) fn refused_here(&self) -> u64 {
        let here = not_from_fcntl(SavedErrno::save().0) && self.locks == KernelLocks::Unix;
        if here { REFUSED_HERE } else { 0 }
    }

    /// Asks who holds what was refused, if that is due.
    pub(super) fn look(&self, log: &Log, refusal: &Refusal<'_>) {
        if refusal.is_ordinary() {
            return;
        }
        let (now, used) = (clock::monotonic_ns(), clock::thread_cpu_ns());
        let wait = AskedWait { request: refusal.request, sql: refusal.sql, reading_since: refusal.reading_since(), asked: now };
        let asked = self.asked.get().is_some_and(|asked| asked.covers(&wait));
        if asked || !afford(now) || outside::is_short(now) || !log.has_room_outside(now) {
            return;
        }
        self.asked.set(Some(wait));
        let _errno = SavedErrno::save();
        let Some(mut scratch) = Mapping::new(outside::SCRATCH) else { return };
        let (answer, readings) = self.ask(log, refusal, scratch.bytes());
        let after = clock::now().saturating_sub(refusal.start);
        log.outside(&|line| outside::write_line(line, refusal.conn, refusal.start, after, &answer, readings));
        pay(now, clock::thread_cpu_ns().saturating_sub(used));
    }

    fn ask<'s>(&self, log: &Log, refusal: &Refusal<'_>, scratch: &'s mut [u8]) -> (Answer<'s>, u32) {
        use Answer::Failed;
        if self.locks == KernelLocks::Hidden {
            return (Failed("locks of this VFS are not in /proc/locks"), 0);
        }
        // SAFETY: SQLite keeps the path it opened valid until `xClose`.
        let path = unsafe { CStr::from_ptr(refusal.path) };
        // The inode that was opened. What has the path now must be the same, or its -shm is another database's.
        let identity = log.identity(refusal.file);
        if identity.is_none() || identity != sys::stat(path) {
            return (Failed("the database's path leads to another file now"), 0);
        }
        let file = match refusal.request {
            Request::File(_) => identity,
            Request::Shm { .. } => Path::new(&[path.to_bytes(), b"-shm"]).and_then(|shm| sys::stat(shm.as_c_str())),
        };
        let Some(file) = file else { return (Failed("there is no -shm file at the database's path"), 0) };
        let flock = self.locks == KernelLocks::Flock;
        Question { proc: b"/proc", file, flock, request: refusal.request, policy: log.policy() }.ask(scratch)
    }
}

impl Refusal<'_> {
    /// Whether no statement fails by it; see the module.
    fn is_ordinary(&self) -> bool {
        match self.request {
            Request::File(level) => level == Level::EXCLUSIVE && self.before <= Level::SHARED && self.locks.mapped(),
            Request::Shm { .. } => self.request.is_optional() && self.locks.exclusive() & 1 << Slot::CKPT.0 == 0,
        }
    }

    /// What changes when a reader was granted what it asked for. Always 0 for a writer, which takes and releases a read lock at each attempt.
    fn reading_since(&self) -> u64 {
        match self.request {
            Request::File(Level::SHARED) | Request::Shm { exclusive: false, .. } => self.locks.reading.since(),
            Request::File(_) | Request::Shm { .. } => 0,
        }
    }
}

impl AskedWait {
    /// Whether a later refusal belongs to this wait, so that the answer still holds.
    fn covers(&self, later: &AskedWait) -> bool {
        let same = (self.request, self.sql, self.reading_since) == (later.request, later.sql, later.reading_since);
        same && later.asked.saturating_sub(self.asked) < AGAIN
    }
}

/// The time by which the cost of all questions is paid back, in nanoseconds of `CLOCK_MONOTONIC`. Approximate: two threads may both find room. No
/// thread waits for another here: in the child of a fork that one may be gone.
static PAID_BY: AtomicU64 = AtomicU64::new(0);

fn afford(now: u64) -> bool {
    PAID_BY.load(Ordering::Relaxed) <= now.saturating_add(DEBT)
}

fn pay(now: u64, cost: u64) {
    let owed = cost.saturating_mul(SHARE);
    let _ = PAID_BY.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |by| Some(by.max(now).saturating_add(owed)));
}
