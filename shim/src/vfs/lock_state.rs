//! The locks of one connection, in a form that one thread writes and any other may copy.
//!
//! A transition is a few plain stores, on the thread that makes it. [`LockState::snapshot`] reads everything at one moment.
//!
//! A [`Hold`] is a small sequence lock whose sequence is the instant of the acquisition, which never repeats. It is 0 from before
//! the lock is entered in the masks until the thread and the statement that took it are written. A copy whose masks and instants
//! are the same before and after is whole. After a few changes in between a reader gives up, and the beginnings are unknown. So a
//! statement of one hold is never shown with another.

use super::paths;
use super::shim::Shim;
use crate::event::{Flags, Level, Request};
use std::ffi::{CStr, c_char};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// A request in a form that fits an atomic: the level in the low byte, or the slots' mask in the high one with [`EXCLUSIVE_SLOTS`].
const fn encode(request: Request) -> u16 {
    match request {
        Request::File(level) => level.0 as u16,
        Request::Shm { mask, exclusive } => (mask as u16) << 8 | if exclusive { EXCLUSIVE_SLOTS } else { 0 },
    }
}

/// The reverse.
const fn decode(wanted: u16) -> Request {
    match (wanted >> 8) as u8 {
        0 => Request::File(Level(wanted as u8)),
        mask => Request::Shm { mask, exclusive: wanted & EXCLUSIVE_SLOTS != 0 },
    }
}

/// Marks an exclusive attempt on slots.
const EXCLUSIVE_SLOTS: u16 = 0x80;

/// The locks of one connection, written by the thread inside a VFS call of it and read by any.
#[derive(Debug, Default)]
pub(super) struct LockState {
    /// The strongest of what only reads: SHARED, or a slot held shared.
    pub(super) reading: Hold,
    /// What keeps others from writing or reading: RESERVED and above, or slots held exclusive (the first of them).
    pub(super) writing: Hold,
    refused: Hold,
    handle: AtomicUsize,
    shim: AtomicPtr<Shim>,
    /// Kept for the life of the process; null = it is not kept.
    path: AtomicPtr<c_char>,
    /// Where SQLite has that path.
    name_at: AtomicUsize,
    conn: AtomicU32,
    /// The process that opened it; 0 = the file is no database.
    opener: AtomicU32,
    wanted: AtomicU16,
    level: AtomicU8,
    shared: AtomicU8,
    exclusive: AtomicU8,
    flags: AtomicU8,
    mapped: AtomicBool,
}

/// Who took a lock, and when.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// In ticks; 0 = it is being written, or not known.
    since: AtomicU64,
    sql: AtomicU64,
    tid: AtomicU32,
}

impl Hold {
    /// Before the lock is entered in the masks.
    #[inline(always)]
    pub(super) fn begin(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    fn clear(&self) {
        self.begin();
        self.sql.store(0, Ordering::Relaxed);
        self.tid.store(0, Ordering::Relaxed);
    }

    /// After that: when the base had granted it, to which thread (0 = not known), for which statement.
    #[inline(always)]
    pub(super) fn finish(&self, since: u64, tid: u32, sql: u64) {
        // No thread may see these before the 0 of `begin`. No instruction on x86-64.
        fence(Ordering::Release);
        self.sql.store(sql, Ordering::Relaxed);
        self.tid.store(tid, Ordering::Relaxed);
        self.since.store(since, Ordering::Release);
    }

    /// When it began, for the thread that writes it.
    #[inline(always)]
    pub(super) fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    /// A copy of what belongs together; `since` 0 where it is being written.
    fn read(&self) -> (u64, u32, u64) {
        let since = self.since.load(Ordering::Acquire);
        let copy = (since, self.tid.load(Ordering::Relaxed), self.sql.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        if self.since.load(Ordering::Relaxed) == since { copy } else { (0, 0, 0) }
    }
}

impl LockState {
    /// A file of this SQLite is opened in memory where another one may have been. `conn` is 0 for what is no database. All by atomic stores: a
    /// thread may still read the state of that other one.
    pub(super) fn begin(&self, shim: &'static Shim, opened_as: *const c_char, is_database: bool, conn: u32) {
        [&self.reading, &self.writing, &self.refused].into_iter().for_each(Hold::clear);
        self.handle.store(0, Ordering::Relaxed);
        self.shim.store(ptr::from_ref(shim).cast_mut(), Ordering::Relaxed);
        // SAFETY: SQLite's path, NUL-terminated.
        let path = if is_database { paths::keep(unsafe { CStr::from_ptr(opened_as) }) } else { None };
        self.path.store(path.map_or(ptr::null_mut(), |path| path.as_ptr().cast_mut()), Ordering::Relaxed);
        self.name_at.store(opened_as as usize, Ordering::Relaxed);
        self.conn.store(conn, Ordering::Relaxed);
        // A journal is opened for every transaction, and asking for the pid costs a system call. Only a database's opener matters.
        self.opener.store(if is_database { crate::recorder::pid() } else { 0 }, Ordering::Relaxed);
        self.wanted.store(0, Ordering::Relaxed);
        [&self.level, &self.shared, &self.exclusive, &self.flags].into_iter().for_each(|byte| byte.store(0, Ordering::Relaxed));
        self.mapped.store(false, Ordering::Relaxed);
    }

    /// The SQLite whose file it is; `None` before the first.
    pub(super) fn shim(&self) -> Option<&'static Shim> {
        // SAFETY: null, or kept for the life of the process.
        unsafe { self.shim.load(Ordering::Relaxed).as_ref() }
    }

    /// The path of a database, where it is kept.
    pub(super) fn path(&self) -> Option<&'static CStr> {
        let path = self.path.load(Ordering::Relaxed);
        // SAFETY: a kept string.
        (!path.is_null()).then(|| unsafe { CStr::from_ptr(path) })
    }

    /// Where SQLite has that path: a number, not to be read.
    pub(super) fn name_at(&self) -> usize {
        self.name_at.load(Ordering::Relaxed)
    }

    /// The connection's number.
    pub(super) fn conn(&self) -> u32 {
        self.conn.load(Ordering::Relaxed)
    }

    /// Whether the file is a database.
    pub(super) fn is_database(&self) -> bool {
        self.opener.load(Ordering::Relaxed) != 0
    }

    /// Whether it is a database that another process opened, from which this one was forked.
    pub(super) fn is_anothers(&self) -> bool {
        self.is_database() && self.opener.load(Ordering::Relaxed) != crate::recorder::pid()
    }

    #[inline(always)]
    pub(super) fn level(&self) -> Level {
        Level(self.level.load(Ordering::Relaxed))
    }

    /// Release: a thread that sees the new level sees its hold begun. A plain store on x86-64, as below.
    #[inline(always)]
    pub(super) fn set_level(&self, level: Level) {
        self.level.store(level.0, Ordering::Release);
    }

    #[inline(always)]
    pub(super) fn shared(&self) -> u8 {
        self.shared.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(super) fn exclusive(&self) -> u8 {
        self.exclusive.load(Ordering::Relaxed)
    }

    /// The slots held one way.
    #[inline(always)]
    pub(super) fn set_slots(&self, exclusive: bool, mask: u8) {
        if exclusive { &self.exclusive } else { &self.shared }.store(mask, Ordering::Release);
    }

    #[inline(always)]
    pub(super) fn flags(&self) -> Flags {
        Flags(self.flags.load(Ordering::Relaxed))
    }

    /// Whether the wal-index is mapped.
    pub(super) fn mapped(&self) -> bool {
        self.mapped.load(Ordering::Relaxed)
    }

    pub(super) fn set_mapped(&self, mapped: bool) {
        self.mapped.store(mapped, Ordering::Relaxed);
    }

    pub(super) fn add_flags(&self, flags: Flags) {
        self.flags.fetch_or(flags.0, Ordering::Relaxed);
    }

    /// The address of the `sqlite3` that uses this file, as SQLite gave it last: several may share the file.
    pub(super) fn handle(&self) -> usize {
        self.handle.load(Ordering::Relaxed)
    }

    pub(super) fn set_handle(&self, handle: usize) {
        self.handle.store(handle, Ordering::Relaxed);
    }

    /// When an attempt was refused last; 0 = never.
    #[inline(always)]
    pub(super) fn refused_at(&self) -> u64 {
        self.refused.since()
    }

    /// An attempt was refused.
    #[cold]
    pub(super) fn refuse(&self, request: Request, at: u64, tid: u32, sql: u64) {
        self.refused.begin();
        self.wanted.store(encode(request), Ordering::Release);
        self.refused.finish(at, tid, sql);
    }

    /// Everything at one moment.
    pub(super) fn snapshot(&self) -> Snapshot {
        let masks = || {
            let of = |mask: &AtomicU8| mask.load(Ordering::Acquire);
            (of(&self.level), of(&self.shared), of(&self.exclusive), self.wanted.load(Ordering::Acquire))
        };
        let mut snapshot = Snapshot::default();
        // A connection at work changes its state every few microseconds, and a copy takes some nanoseconds.
        for _ in 0..16 {
            let before = masks();
            let holds = [&self.reading, &self.writing, &self.refused];
            let [reading, writing, refused] = holds.map(Hold::read);
            snapshot =
                Snapshot { level: before.0, shared: before.1, exclusive: before.2, wanted: before.3, reading, writing, refused };
            // The masks first: the next hold but one can have the same masks, and then its instant differs.
            let same = masks() == before;
            if same && holds.map(|hold| hold.since.load(Ordering::Acquire)) == [reading.0, writing.0, refused.0] {
                return snapshot;
            }
            std::hint::spin_loop();
        }
        Snapshot { reading: (0, 0, 0), writing: (0, 0, 0), refused: (0, 0, 0), ..snapshot }
    }
}

/// One connection's locks at one moment. A hold is its instant in ticks (0 = not known), its thread and its statement.
#[derive(Default)]
pub(super) struct Snapshot {
    pub(super) level: u8,
    pub(super) shared: u8,
    pub(super) exclusive: u8,
    wanted: u16,
    pub(super) reading: (u64, u32, u64),
    pub(super) writing: (u64, u32, u64),
    pub(super) refused: (u64, u32, u64),
}

impl Snapshot {
    /// What was refused last, where something was.
    pub(super) fn request(&self) -> Request {
        decode(self.wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    /// Everything in hold number `n` follows from `n`.
    fn of(n: u64) -> (u64, u32, u64) {
        (n, (n as u32).wrapping_mul(7), n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[test]
    fn a_request_reads_back() {
        for request in [
            Request::File(Level::SHARED),
            Request::File(Level::EXCLUSIVE),
            Request::Shm { mask: 0b1, exclusive: true },
            Request::Shm { mask: 0b1111_0000, exclusive: false },
        ] {
            assert_eq!(decode(encode(request)), request);
        }
    }

    #[test]
    fn a_copy_is_of_one_hold_or_says_that_it_is_not_known() {
        const HOLDS: u64 = if cfg!(miri) { 200 } else { 200_000 };
        let (state, done) = (LockState::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut whole = 0;
                while !done.load(Ordering::Relaxed) || whole == 0 {
                    let snapshot = state.snapshot();
                    let hold = snapshot.writing;
                    if hold.0 != 0 {
                        assert_eq!(hold, of(hold.0));
                        // An odd hold is that of slot 0, an even one that of slot 1; afterwards nothing is held.
                        let slot = 1 << (1 - hold.0 % 2);
                        assert!(snapshot.exclusive == slot || snapshot.exclusive == 0, "{hold:?} {}", snapshot.exclusive);
                        whole += 1;
                    }
                }
            });
            for n in 1..=HOLDS {
                state.writing.begin();
                state.set_slots(true, 1 << (1 - n % 2));
                let (since, tid, sql) = of(n);
                state.writing.finish(since, tid, sql);
                // Held about as long as a copy takes: what is most likely to be seen half changed.
                (0..n % 64).for_each(|_| std::hint::spin_loop());
                state.set_slots(true, 0);
            }
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
        assert_eq!(state.snapshot().writing, of(HOLDS));
    }
}
