//! What every traced connection of this process holds right now.
//!
//! The threads that make transitions write them into the connection's file (`state`: a few plain stores each). Any thread may look at all
//! open files ([`each`], [`connections`]). Neither side waits for the other, or for a database lock: a row is copied, and the copy is shown if its
//! file is still open.

mod state;

use super::file::File;
use super::slab;
use crate::clock;
use crate::event::{Flags, Level};
use crate::format::header::{Anchor, ClockKind};
use crate::memory;
use state::EXCLUSIVE_SLOTS;
pub(super) use state::Live;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A traced connection's file of one database, as it is while it is looked at.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Row<'a> {
    /// Its number in the process that opened it: the number in traces.
    pub number: u32,
    /// The path of the database file.
    pub path: &'a [u8],
    /// The VFS it was opened with.
    pub vfs: &'static CStr,
    /// The version of its SQLite.
    pub sqlite: &'static str,
    /// The address of its `sqlite3`; 0 before SQLite has told it. Databases attached to one connection share it.
    pub handle: usize,
    /// The lock on the database file.
    pub level: Level,
    /// The slots of the wal-index held shared: bit *i* is slot *i*.
    pub shared: u8,
    /// Those held exclusive.
    pub exclusive: u8,
    /// It uses a wal-index. Then SHARED on the database file is held as long as it is open, and is no transaction.
    pub wal: bool,
    /// Since when, and for whom, it keeps others from writing (or reading).
    pub writing: Option<Since>,
    /// Since when, and for whom, it reads.
    pub reading: Option<Since>,
    /// The lock it was refused last, if it has taken none since.
    pub refused: Option<Refused>,
    /// It was opened by another process, and came here by a `fork()`.
    pub forked: bool,
    /// More than one connection uses this file (`cache=shared`).
    pub shared_cache: bool,
}

/// A traced connection's file of one database, as it was when it was looked at; see [`Row`] for its fields.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs)]
pub struct Connection {
    pub number: u32,
    pub path: PathBuf,
    pub vfs: &'static CStr,
    pub sqlite: &'static str,
    pub handle: usize,
    pub level: Level,
    pub shared: u8,
    pub exclusive: u8,
    pub wal: bool,
    pub writing: Option<Since>,
    pub reading: Option<Since>,
    pub refused: Option<Refused>,
    pub forked: bool,
    pub shared_cache: bool,
}

impl From<&Row<'_>> for Connection {
    fn from(row: &Row<'_>) -> Connection {
        let Row { number, path, vfs, sqlite, handle, level, shared, exclusive, wal, .. } = *row;
        let Row { writing, reading, refused, forked, shared_cache, .. } = *row;
        let path = OsStr::from_bytes(path).into();
        Connection {
            number,
            path,
            vfs,
            sqlite,
            handle,
            level,
            shared,
            exclusive,
            wal,
            writing,
            reading,
            refused,
            forked,
            shared_cache,
        }
    }
}

/// An instant of the past, and who was there.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Since {
    /// Nanoseconds ago; `None` where it is not known: the lock changed hands while it was looked at, or was taken while nothing
    /// was recorded.
    pub ago_ns: Option<u64>,
    /// The wall-clock time, in nanoseconds since 1970.
    pub real_ns: Option<u64>,
    /// The OS thread; 0 = not known.
    pub tid: u32,
    /// The hash of the statement that ran then; 0 = none did, or it is not known. [`crate::recorder::texts()`] has the text.
    pub sql: u64,
}

/// A refused attempt.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Refused {
    /// The level asked for, or [`Level::NONE`] for an attempt on the wal-index.
    pub level: Level,
    /// The slots asked for.
    pub slots: u8,
    /// They were asked for exclusively.
    pub exclusive: bool,
    /// The newest such attempt.
    pub last: Since,
}

/// Shows every traced database file that is open in this process, one after another, in no order. Each row is whole; no lock is taken, and
/// SQLite is not called.
pub fn each(look: &mut dyn FnMut(&Row<'_>)) {
    let now = Clock::now();
    for (file, life) in slab::open_files() {
        // A file may be closed, and another one opened in its place, while it is copied.
        if let Some(row) = file.row(now).filter(|_| slab::is_still(file, life)) {
            look(&row);
        }
    }
}

/// Every traced database file that is open in this process, in the order of the connections' numbers. For Rust programs: it allocates.
pub fn connections() -> Vec<Connection> {
    let mut all = Vec::new();
    each(&mut |row| all.push(Connection::from(row)));
    all.sort_by_key(|row| row.number);
    all
}

/// How many database files are open through a VFS of ours in this process.
pub fn open_files() -> usize {
    slab::open_files().filter(|(file, _)| file.live.is_database()).count()
}

impl File {
    /// This file's row, if it is a database.
    fn row(&self, now: Clock) -> Option<Row<'static>> {
        let live = &self.live;
        let shim = live.shim().filter(|_| live.is_database())?;
        let copied = live.copy();
        let since = |(ticks, tid, sql): (u64, u32, u64)| {
            let known = ticks != 0;
            Since {
                ago_ns: known.then(|| now.ago_ns(ticks)).flatten(),
                real_ns: known.then(|| now.real_ns(ticks)).flatten(),
                tid,
                sql,
            }
        };
        let wal = live.mapped();
        let level = Level(copied.level);
        // SHARED in WAL mode is no reading.
        let reads = copied.shared != 0 || (level >= Level::SHARED && !wal);
        let writes = copied.exclusive != 0 || level > Level::SHARED;
        let (taken, refused) = (copied.reading.0.max(copied.writing.0), copied.refused);
        let wanted = copied.wanted;
        Some(Row {
            number: live.conn(),
            path: live.path().map_or(&[], CStr::to_bytes),
            vfs: shim.name,
            sqlite: shim.version(),
            handle: live.handle.load(Ordering::Relaxed),
            level,
            shared: copied.shared,
            exclusive: copied.exclusive,
            wal,
            writing: writes.then(|| since(copied.writing)),
            reading: reads.then(|| since(copied.reading)),
            // A refused EXCLUSIVE that leaves PENDING took one and was refused the other at the same instant.
            refused: (refused.0 != 0 && refused.0 >= taken).then(|| Refused {
                level: Level(if wanted >> 8 == 0 { wanted as u8 } else { 0 }),
                slots: (wanted >> 8) as u8,
                exclusive: wanted >> 8 != 0 && wanted & EXCLUSIVE_SLOTS != 0,
                last: since(refused),
            }),
            forked: live.is_anothers(),
            shared_cache: live.flags().has(Flags::SHARED_CACHE),
        })
    }
}

/// An early anchor, to tell how long a tick is.
static EARLY: AtomicPtr<Anchor> = AtomicPtr::new(ptr::null_mut());

/// Called when a SQLite is met. Two threads may both do this: the first one's anchor stays.
pub(super) fn start() {
    if EARLY.load(Ordering::Acquire).is_null()
        && let Some(anchor) = memory::keep(clock::anchor())
    {
        let _ = EARLY.compare_exchange(ptr::null_mut(), anchor, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// A length of a tick, and what time it is: to tell when ticks were.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    now: Anchor,
    /// Ticks, and the nanoseconds they took.
    span: (u64, u64),
}

impl Clock {
    /// As it is known now: the longer this process is traced, the better.
    pub fn now() -> Clock {
        let now = clock::anchor();
        if clock::kind() == ClockKind::Monotonic {
            return Clock { now, span: (1, 1) };
        }
        // SAFETY: null, or an anchor that was kept before it was published with Release.
        let early = unsafe { EARLY.load(Ordering::Acquire).as_ref() };
        let span = |early: &Anchor| Some((now.ticks.checked_sub(early.ticks)?, now.monotonic_ns.checked_sub(early.monotonic_ns)?));
        Clock { now, span: early.and_then(span).unwrap_or_default() }
    }

    /// So many ticks in nanoseconds; `None` where it is not known how long one is.
    pub fn ns(&self, ticks: u64) -> Option<u64> {
        let (span, ns) = self.span;
        (span > 0).then(|| (u128::from(ticks) * u128::from(ns) / u128::from(span)) as u64)
    }

    /// How long ago these ticks were, in nanoseconds.
    pub fn ago_ns(&self, ticks: u64) -> Option<u64> {
        self.ns(self.now.ticks.saturating_sub(ticks))
    }

    /// The wall-clock time of these ticks, in nanoseconds since 1970.
    pub fn real_ns(&self, ticks: u64) -> Option<u64> {
        self.ago_ns(ticks).map(|ago| self.now.real_ns.saturating_sub(ago))
    }
}
