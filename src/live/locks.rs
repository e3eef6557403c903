//! The locks that connections of this process hold now, copied from the shim's live rows without touching a lock of SQLite.
#![forbid(unsafe_code)]

use crate::analysis::locks::lock::{LockId, Request};
use shim::recorder::{texts, thread_name};
use shim::vfs::live::{Connection, Since, connections};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// A connection of this process: the locks that it holds, and the one it was refused last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LiveLock {
    /// The connection, by its number in the trace. An attached database has a number of its own.
    pub connection: u32,
    /// The path of the database.
    pub database: PathBuf,
    /// The VFS that it was opened with, under the name of [`Builder::vfs_name`](crate::Builder::vfs_name).
    pub vfs: String,
    /// The locks that it holds; empty for an idle connection. In WAL mode every open connection holds `SHARED`.
    pub held: Vec<LockId>,
    /// Since when it writes: since it took RESERVED or more, or a slot of the wal-index exclusively.
    pub writing: Option<LiveHold>,
    /// Since when it reads: since it took SHARED without WAL, or a slot of the wal-index shared.
    pub reading: Option<LiveHold>,
    /// The lock that it was refused last, if it has taken none since: it waits for it, or gave up.
    pub refused: Option<(Request, LiveHold)>,
    /// Another process opened it, and a `fork` copied it.
    pub forked: bool,
    /// More than one connection uses this file handle (`cache=shared`).
    pub shared_cache: bool,
}

/// When a hold or a refusal began, on which thread, and by which statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LiveHold {
    /// When, by the system's clock. `None` if it is unknown: the lock changed while it was read.
    pub since: Option<SystemTime>,
    /// How long ago that was.
    pub ago: Option<Duration>,
    /// The OS's id of the thread; 0 if it is unknown.
    pub thread: u32,
    /// That thread's name now; `None` if the thread has ended.
    pub thread_name: Option<String>,
    /// The statement that ran then, as it was prepared; `None` if none ran, or no text is kept.
    pub sql: Option<String>,
}

/// The locks that every traced connection of this process holds now, ordered by the connections' numbers.
///
/// It can be called at any time and from any thread, also while all connections are blocked: it waits for no database lock. The rows are copied
/// one after another, so two of them can be a few microseconds apart.
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
