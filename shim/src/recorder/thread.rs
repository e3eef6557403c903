//! The recorder's memory of the calling thread: its number, and the connections it last worked on and was refused on.
//!
//! Plain cells without destructors cost one address computation, and work until the thread has ended.

use super::thread_storage;
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
    /// The flags of every record of the connection.
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

const _: () = assert!(size_of::<Thread>() <= thread_storage::SIZE && align_of::<Thread>() <= 64);

/// The cells of this thread.
#[inline(always)]
fn this() -> &'static Thread {
    // SAFETY: the bytes are this thread's alone, large and aligned enough, and there as long as the thread runs; the reference is not given to
    // another thread (it is not `Send`) nor kept. All zeros is a `Thread`: numbers of 0, no flags, a null pointer.
    unsafe { &*thread_storage::place().cast::<Thread>() }
}

/// The OS thread id, if this thread is named in log number `log`. `None`: it must be named, and then [`set_tid`] be called.
#[inline(always)]
pub fn tid(log: u32) -> Option<u32> {
    let t = this();
    (t.named_in.get() == log).then(|| t.tid.get())
}

/// Remembers this thread's id for log number `log`.
pub fn set_tid(tid: u32, log: u32) {
    let t = this();
    t.tid.set(tid);
    t.named_in.set(log);
}

/// Remembers the connection this thread works on, for an `xDelete` that follows.
pub fn work_on(last: Last) {
    this().worked_on.set(last);
}

/// The connection this thread worked on last.
pub fn worked_on() -> Last {
    this().worked_on.get()
}

/// Remembers the connection this thread was refused a lock on, for an `xSleep` that follows.
pub fn refused_on(last: Last) {
    this().refused_on.set(last);
}

/// The connection this thread was refused a lock on. It is forgotten then: SQLite sleeps right after the refusal, and a later sleep has another
/// reason.
pub fn take_refused() -> Last {
    this().refused_on.replace(NOBODY)
}

/// Marks this thread as inside an observer while it lives. Dropping it restores the connections that the thread worked on before.
#[derive(Debug)]
pub struct InObserver {
    depth: u8,
    worked_on: Last,
    refused_on: Last,
}

impl InObserver {
    /// Marks this thread; `None` if it is marked twice already.
    pub fn enter() -> Option<InObserver> {
        let t = this();
        let depth = t.observing.get();
        (depth < 2).then(|| {
            t.observing.set(depth + 1);
            InObserver { depth, worked_on: t.worked_on.get(), refused_on: t.refused_on.get() }
        })
    }

    /// Whether the thread was marked before.
    pub fn nested(&self) -> bool {
        self.depth > 0
    }
}

impl Drop for InObserver {
    fn drop(&mut self) {
        let t = this();
        t.observing.set(self.depth);
        t.worked_on.set(self.worked_on);
        t.refused_on.set(self.refused_on);
    }
}

/// Notes that this thread is inside a call of a VFS of ours about this file. Returns the file of the call it was inside of before. The pointer is
/// only a value here, and is not read through.
#[inline(always)]
pub fn go_inside(of: *const c_char) -> *const c_char {
    this().inside.replace(of)
}

/// The file of the call that this thread is inside of; null where it is in none.
#[inline(always)]
pub fn inside() -> *const c_char {
    this().inside.get()
}
