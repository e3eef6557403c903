//! When a refusal is worth asking the kernel about, and what it costs at most.
//!
//! The answers of [`crate::recorder::outside`] become lines of the names file. Which connection of this trace was in the way, the reader finds by
//! itself; this is for a holder that no trace has.
//!
//! * **Once per run of refusals**: a connection asks at the first refusal, and not again until the lock or the statement is another one, a
//!   write lock was given back in between, a read was granted, or [`AGAIN`] has gone by.
//! * **Within a budget**: the processor time that asking has taken in this process is paid back with [`SHARE`] times as long without asking,
//!   but for a debt of [`DEBT`]. So a program that opens connections in a tight loop and is refused each time is slowed by 2 % at most.
//! * **Within the log's room** for such answers: 256 at once, and one more each second.
//! * **Not where no system call failed.** In SQLite's own unix VFS a conflict inside one process is found in memory. After one that the
//!   kernel refused, `errno` says so; where `errno` is one that `fcntl(F_SETLK)` never sets, the refusal came from this process, and the
//!   record says that ([`REFUSED_HERE`]).
//! * **Only for refusals that can make a statement fail.** Skipped: a closing connection checking whether it is the last, and the READn locks
//!   that a reader or writer tries for (a checkpoint's are asked about).

use super::file::File;
use crate::clock;
use crate::event::{Level, REFUSED_HERE, Request, Slot};
use crate::memory::Mapping;
use crate::recorder::outside::{self, Answer, Question};
use crate::recorder::{Errno, Log};
use crate::sys;
use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicU64, Ordering};

/// After this time (in nanoseconds) a run of refusals asks once more: the holder may be another one.
const AGAIN: u64 = 1_000_000_000;
/// How much longer than it took to ask nobody is asked, within [`DEBT`].
const SHARE: u64 = 50;
/// Asking that may be paid back later, times [`SHARE`], in nanoseconds: 10 ms of it, or some hundred questions at once.
const DEBT: u64 = 500_000_000;

/// The run of refusals of a connection that was asked about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    request: Request,
    sql: u64,
    reading_since: u64,
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    asked: u64,
}

/// The result codes of `fcntl` that cannot be: `errno` was left by another call.
fn not_from_fcntl(errno: c_int) -> bool {
    matches!(errno, 0 | libc::ENOENT | libc::EEXIST | libc::ENOTTY | libc::ENOTDIR | libc::ESPIPE | libc::ECHILD)
}

/// Which locks the kernel knows of a VFS's files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Locks {
    /// SQLite's own POSIX locks, which it looks up in memory first.
    Unix,
    /// `flock(2)`.
    Flock,
    /// None.
    Hidden,
    /// Not known.
    Foreign,
}

impl Locks {
    /// Those of a VFS, by its name.
    pub(super) fn of(vfs: &CStr) -> Locks {
        match vfs.to_bytes() {
            b"unix" | b"unix-excl" => Locks::Unix,
            b"unix-flock" => Locks::Flock,
            b"unix-dotfile" | b"unix-none" | b"memdb" => Locks::Hidden,
            _ => Locks::Foreign,
        }
    }
}

impl File {
    /// What the record of an attempt that was refused just now says about it: [`REFUSED_HERE`], or nothing.
    #[cold]
    #[inline(never)]
    pub(super) fn refused_here(&self) -> u64 {
        let here = not_from_fcntl(Errno::save().0) && self.locks == Locks::Unix;
        if here { REFUSED_HERE } else { 0 }
    }

    /// Asks who holds what was refused, if it is time to; `start` is the refused record's, `before` its level before. Called after that
    /// record was written.
    #[cold]
    #[inline(never)]
    pub(super) fn look_outside(&self, log: &Log, request: Request, before: Level, start: u64, sql: u64) {
        if self.worthless(request, before) {
            return;
        }
        let (now, used) = (clock::monotonic_ns(), clock::thread_cpu_ns());
        let run = Run { request, sql, reading_since: self.reading_since(request), asked: now };
        let asked = self.asked.get().is_some_and(|asked| asked.is(&run));
        if asked || !afford(now) || outside::is_short(now) || !log.has_room_outside(now) {
            return;
        }
        self.asked.set(Some(run));
        let _errno = Errno::save();
        let Some(mut scratch) = Mapping::new(outside::SCRATCH) else { return };
        let (answer, readings) = self.ask(log, request, scratch.bytes());
        let after = clock::now().saturating_sub(start);
        log.outside(&|line| outside::write_line(line, self.conn, start, after, &answer, readings));
        pay(now, clock::thread_cpu_ns().saturating_sub(used));
    }

    /// Whether a refusal of this is part of SQLite's ordinary course; see the module.
    fn worthless(&self, request: Request, before: Level) -> bool {
        match request {
            Request::File(level) => level == Level::EXCLUSIVE && before <= Level::SHARED && self.live.mapped(),
            Request::Shm { .. } => request.is_optional() && self.live.exclusive() & 1 << Slot::CKPT.0 == 0,
        }
    }

    /// What changes when a reader got what it asked for; of no interest to a writer, who takes and gives back a read lock at each attempt.
    fn reading_since(&self, request: Request) -> u64 {
        match request {
            Request::File(Level::SHARED) | Request::Shm { exclusive: false, .. } => self.live.reading.since(),
            _ => 0,
        }
    }

    fn ask<'s>(&self, log: &Log, request: Request, scratch: &'s mut [u8]) -> (Answer<'s>, u32) {
        use Answer::Failed;
        if self.locks == Locks::Hidden {
            return (Failed("locks of this VFS are not in /proc/locks"), 0);
        }
        // SAFETY: SQLite keeps the path it opened valid until `xClose`.
        let path = unsafe { CStr::from_ptr(self.path) };
        // The inode that was opened; what has the path now must be the same, or its -shm is another database's.
        let identity = log.identity(self.number.get());
        if identity.is_none() || identity != sys::stat(path) {
            return (Failed("the database's path leads to another file now"), 0);
        }
        let file = match request {
            Request::File(_) => identity,
            Request::Shm { .. } => sys::Path::new(&[path.to_bytes(), b"-shm"]).and_then(|shm| sys::stat(shm.as_c_str())),
        };
        let Some(file) = file else { return (Failed("there is no -shm file at the database's path"), 0) };
        let flock = self.locks == Locks::Flock;
        Question { proc: b"/proc", file, flock, request, policy: log.policy() }.ask(scratch)
    }
}

impl Run {
    /// Whether another refusal belongs to this run, and need not be asked about.
    fn is(&self, other: &Run) -> bool {
        let same = (self.request, self.sql, self.reading_since) == (other.request, other.sql, other.reading_since);
        same && other.asked.saturating_sub(self.asked) < AGAIN
    }
}

/// Until when what asking has cost is paid back: nanoseconds of `CLOCK_MONOTONIC`. Approximate: two threads may both find room. Nothing here
/// waits for another thread, which in the child of a fork might be gone.
static PAID_BY: AtomicU64 = AtomicU64::new(0);

fn afford(now: u64) -> bool {
    PAID_BY.load(Ordering::Relaxed) <= now.saturating_add(DEBT)
}

fn pay(now: u64, cost: u64) {
    let owed = cost.saturating_mul(SHARE);
    let _ = PAID_BY.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |by| Some(by.max(now).saturating_add(owed)));
}
