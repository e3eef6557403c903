//! Who holds what in this process, now.
//!
//! Input: the shim's live rows, copied without touching a lock of SQLite's. Output: [`LiveLock`]s.
#![forbid(unsafe_code)]

use crate::analysis::locks::lock::{LockId, Request};
use shim::recorder::{texts, thread_name};
use shim::vfs::live::{Connection, Since, connections};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// A lock that a connection of this process holds, or was refused last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LiveLock {
    /// The connection, by its number in the trace. A database attached to another one has a number of its own.
    pub connection: u32,
    /// The path of the database.
    pub database: PathBuf,
    /// The VFS it was opened with, by the name of [`Builder::vfs_name`](crate::Builder::vfs_name).
    pub vfs: String,
    /// What it holds; empty for a connection that is idle. In WAL mode every open connection holds `SHARED`.
    pub held: Vec<LockId>,
    /// Since when it writes: it took RESERVED or more, or a slot of the wal-index exclusively.
    pub writing: Option<LiveHold>,
    /// Since when it reads: SHARED without WAL, or a slot of the wal-index shared.
    pub reading: Option<LiveHold>,
    /// What it was refused last, if it has taken nothing since: it waits for this, or gave up.
    pub refused: Option<(Request, LiveHold)>,
    /// It was opened by another process, and carried over a `fork`.
    pub forked: bool,
    /// More than one connection uses this file handle (`cache=shared`).
    pub shared_cache: bool,
}

/// When something began, and for whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LiveHold {
    /// When, by the system's clock. `None` where it is not known: the lock changed hands while it was looked at.
    pub since: Option<SystemTime>,
    /// How long ago that was.
    pub ago: Option<Duration>,
    /// The OS's id of the thread; 0 where it is not known.
    pub thread: u32,
    /// That thread's name now; `None` when it has ended.
    pub thread_name: Option<String>,
    /// The statement that ran then, as it was prepared; `None` where none did, or no text is kept.
    pub sql: Option<String>,
}

/// What every traced connection of this process holds now, in the order of their numbers.
///
/// It may be called at any time, from any thread, also while all of them are stuck: it waits for no database lock. The rows are copied one
/// after another, so that two of them may be a few microseconds apart.
pub fn current_locks() -> Vec<LiveLock> {
    let rows = connections();
    let since =
        rows.iter().flat_map(|row| row.writing.into_iter().chain(row.reading).chain(row.refused.map(|refused| refused.last)));
    let texts = texts(since.map(|since| since.sql));
    let hold = |since: Since| LiveHold::new(&since, &texts);
    let lock = |row: Connection| LiveLock {
        connection: row.number,
        database: row.path,
        vfs: row.vfs.to_string_lossy().into_owned(),
        held: LockId::held(row.level, row.shared, row.exclusive),
        writing: row.writing.map(hold),
        reading: row.reading.map(hold),
        refused: row.refused.map(|refused| (refused.request, hold(refused.last))),
        forked: row.forked,
        shared_cache: row.shared_cache,
    };
    rows.into_iter().map(lock).collect()
}

impl LiveHold {
    fn new(since: &Since, texts: &HashMap<u64, String>) -> LiveHold {
        LiveHold {
            since: since.real_ns.map(|ns| SystemTime::UNIX_EPOCH + Duration::from_nanos(ns)),
            ago: since.ago_ns.map(Duration::from_nanos),
            thread: since.tid,
            thread_name: thread_name(since.tid),
            sql: texts.get(&since.sql).cloned(),
        }
    }
}
