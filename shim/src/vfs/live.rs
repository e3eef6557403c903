//! The present locks of every traced connection of this process.
//!
//! Each thread writes its transitions into the connection's lock state, a few plain stores each. Any thread may read the state of all open files
//! ([`each`], [`connections`]). Neither side waits for the other, or for a database lock: a row is copied, and the copy is shown if its
//! file is still open.

use super::file::File;
use super::lock_state::LockState;
use crate::clock::TickScale;
use crate::event::{Flags, Level, Request};
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A traced connection's file of one database, at the moment of the call.
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
    /// The address of its `sqlite3`; 0 before SQLite has passed it. Databases attached to one connection share it.
    pub handle: usize,
    /// The lock on the database file.
    pub level: Level,
    /// The slots of the wal-index held shared: bit *i* is slot *i*.
    pub shared: u8,
    /// Those held exclusive.
    pub exclusive: u8,
    /// It uses a wal-index. Then it holds SHARED on the database file as long as it is open, in or out of a transaction.
    pub wal: bool,
    /// Since when, and for which thread and statement, it blocks writers (or readers).
    pub writing: Option<Since>,
    /// Since when, and for which thread and statement, it reads.
    pub reading: Option<Since>,
    /// The lock it was refused last, if it has taken none since.
    pub refused: Option<Refused>,
    /// Another process opened it, and this one inherited it by a `fork()`.
    pub forked: bool,
    /// More than one connection uses this file (`cache=shared`).
    pub shared_cache: bool,
}

/// The same on the heap; see [`Row`] for its fields.
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

/// An instant of the past, with its thread and statement.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Since {
    /// Nanoseconds ago; `None` where it is not known: the lock changed hands while the state was copied, or was taken while nothing
    /// was recorded.
    pub ago_ns: Option<u64>,
    /// The wall-clock time, in nanoseconds since 1970.
    pub real_ns: Option<u64>,
    /// The OS thread; 0 = not known.
    pub tid: u32,
    /// The hash of the statement that ran then; 0 = none did, or it is not known. [`crate::recorder::texts()`] gives its text.
    pub sql: u64,
}

/// A refused attempt.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Refused {
    /// What it asked for.
    pub request: Request,
    /// The newest such attempt.
    pub last: Since,
}

/// Calls `look` with every traced database file that is open in this process, in no order. Each row is whole. No lock is taken, and SQLite is not
/// called.
pub fn each(look: &mut dyn FnMut(&Row<'_>)) {
    let now = TickScale::now();
    for (file, generation) in File::open_files() {
        // While it is copied, the file may be closed and another one opened in its memory.
        if let Some(row) = row(&file.connection.locks, now).filter(|_| file.is_still(generation)) {
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
    File::open_files().filter(|(file, _)| file.connection.locks.is_database()).count()
}

/// The row of a file, if it is a database.
fn row(locks: &LockState, now: TickScale) -> Option<Row<'static>> {
    let shim = locks.shim().filter(|_| locks.is_database())?;
    let held = locks.snapshot();
    let since = |(ticks, tid, sql): (u64, u32, u64)| {
        let known = ticks != 0;
        Since { ago_ns: known.then(|| now.ago_ns(ticks)).flatten(), real_ns: known.then(|| now.real_ns(ticks)).flatten(), tid, sql }
    };
    let wal = locks.mapped();
    let level = Level(held.level);
    // In WAL mode SHARED does not mean that it reads.
    let reads = held.shared != 0 || (level >= Level::SHARED && !wal);
    let writes = held.exclusive != 0 || level > Level::SHARED;
    let (taken, refused) = (held.reading.0.max(held.writing.0), held.refused);
    Some(Row {
        number: locks.conn(),
        path: locks.path().map_or(&[], CStr::to_bytes),
        vfs: shim.name,
        sqlite: shim.version(),
        handle: locks.handle(),
        level,
        shared: held.shared,
        exclusive: held.exclusive,
        wal,
        writing: writes.then(|| since(held.writing)),
        reading: reads.then(|| since(held.reading)),
        // A refused EXCLUSIVE that leaves PENDING was granted one and refused the other at the same instant.
        refused: (refused.0 != 0 && refused.0 >= taken).then(|| Refused { request: held.request(), last: since(refused) }),
        forked: locks.is_anothers(),
        shared_cache: locks.flags().has(Flags::SHARED_CACHE),
    })
}
