//! What the recorder remembers of the calling thread: its number, and the connection it last worked on.
//!
//! Plain cells without destructors, so that they cost one address computation and work in every phase of a thread's life.
#![forbid(unsafe_code)]

use crate::event::Flags;
use std::cell::Cell;
use std::ffi::c_char;

/// A connection as the thread that worked on it last remembers it: plain numbers, never pointers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Last {
    /// The connection's number.
    pub conn: u32,
    /// Its database's number.
    pub file: u32,
    /// The log in which `file` means something.
    pub log: u32,
    /// A hash of the database's path.
    pub path: u64,
    /// What every record of the connection bears.
    pub flags: Flags,
}

#[derive(Debug)]
struct Thread {
    tid: Cell<u32>,
    named_in: Cell<u32>,
    worked_on: Cell<Last>,
    refused_on: Cell<Last>,
    /// How many observers this thread is inside of.
    observing: Cell<u8>,
    inside: Cell<*const c_char>,
}

const NOBODY: Last = Last { conn: 0, file: 0, log: 0, path: 0, flags: Flags(0) };

thread_local! {
    static THREAD: Thread = const {
        Thread {
            tid: Cell::new(0),
            named_in: Cell::new(0),
            worked_on: Cell::new(NOBODY),
            refused_on: Cell::new(NOBODY),
            observing: Cell::new(0),
            inside: Cell::new(std::ptr::null()),
        }
    };
}

/// The OS thread id, if this thread is already named in log number `log`; otherwise [`None`], and [`set_tid`] is due.
#[inline(always)]
pub fn tid(log: u32) -> Option<u32> {
    THREAD.with(|t| (t.named_in.get() == log).then(|| t.tid.get()))
}

/// Remembers this thread's id for log number `log`.
pub fn set_tid(tid: u32, log: u32) {
    THREAD.with(|t| {
        t.tid.set(tid);
        t.named_in.set(log);
    });
}

/// Remembers the connection this thread works on, for an `xDelete` that follows.
pub fn work_on(last: Last) {
    THREAD.with(|t| t.worked_on.set(last));
}

/// The connection this thread worked on last.
pub fn worked_on() -> Last {
    THREAD.with(|t| t.worked_on.get())
}

/// Remembers the connection this thread was refused a lock on, for an `xSleep` that follows.
pub fn refused_on(last: Last) {
    THREAD.with(|t| t.refused_on.set(last));
}

/// The connection this thread was refused a lock on, once: it sleeps right after the refusal, and a later sleep is another matter.
pub fn take_refused() -> Last {
    THREAD.with(|t| t.refused_on.replace(NOBODY))
}

/// While it lives this thread is inside an observer. What it works on there is forgotten again when it is dropped: SQLite goes on
/// where it was.
#[derive(Debug)]
pub struct Aside {
    depth: u8,
    worked_on: Last,
    refused_on: Last,
}

impl Aside {
    /// Steps aside; `None` for a thread that did so twice already.
    pub fn step() -> Option<Aside> {
        THREAD.with(|t| {
            let depth = t.observing.get();
            (depth < 2).then(|| {
                t.observing.set(depth + 1);
                Aside { depth, worked_on: t.worked_on.get(), refused_on: t.refused_on.get() }
            })
        })
    }

    /// Whether the thread had stepped aside before.
    pub fn nested(&self) -> bool {
        self.depth > 0
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        THREAD.with(|t| {
            t.observing.set(self.depth);
            t.worked_on.set(self.worked_on);
            t.refused_on.set(self.refused_on);
        });
    }
}

/// Notes that this thread is inside a call of a VFS of ours about this file; gives back what it was inside of before. Only a value: nobody
/// here looks at what it points to.
#[inline(always)]
pub fn go_inside(of: *const c_char) -> *const c_char {
    THREAD.with(|t| t.inside.replace(of))
}

/// The file that the call is about which this thread is inside of; null where it is in none.
#[inline(always)]
pub fn inside() -> *const c_char {
    THREAD.with(|t| t.inside.get())
}
