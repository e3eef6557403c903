//! One call, as its subscribers get it: what the record says at once, and what its numbers mean when asked.
//!
//! Input: what the observer saw, on the locking thread, where every nanosecond counts: it is only copied. Times, paths, names and SQL are
//! worked out by the one who asks, on the thread that asks.
#![forbid(unsafe_code)]

use super::hub;
use crate::analysis::locks::lock::{LockId, Request};
use crate::report::record::call;
use shim::event::{Flags, Kind, ResultCode};
use shim::format::record::Record;
use shim::recorder::config::SqlPolicy;
use shim::recorder::observer::Observed;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// A call that SQLite made on a traced connection of this process.
///
/// It is small and owned: keep it, send it, compare it. [`Display`](fmt::Display) says what `locktrace cat` says of the call:
/// `xShmLock X WRITE = BUSY`.
#[derive(Clone, Copy)]
pub struct Event {
    pub(super) seen: Observed,
}

impl Event {
    /// When the call began, by the system's clock. Worked out from the log's clock when asked, which takes a few
    /// readings of the clocks.
    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(hub().clock.real_ns(self.seen.record.start))
    }

    /// How long the call took inside the VFS below ours. `None` where only its start was measured: the release of a lock of the
    /// wal-index.
    pub fn duration(&self) -> Option<Duration> {
        let record = &self.seen.record;
        (!record.flags.has(Flags::ONE_CLOCK)).then(|| Duration::from_nanos(hub().clock.ns(record.duration)))
    }

    /// The connection, counted from 1 in the process that opened it. `None` where SQLite does not tell.
    pub fn connection(&self) -> Option<u32> {
        (self.seen.record.conn != 0).then_some(self.seen.record.conn)
    }

    /// The path of the database, as SQLite opened it. `None` where it is not known: past 4096 databases, or when the trace directory is gone.
    pub fn database(&self) -> Option<PathBuf> {
        let path = hub().names.find(self.seen.log, |names| {
            let name = names.file(self.seen.record.file)?;
            Some(name.path.as_bytes().to_vec())
        })?;
        Some(OsString::from_vec(path).into())
    }

    /// Which call it was.
    pub fn call(&self) -> Kind {
        self.seen.record.kind
    }

    /// What the call asked for; `None` when it was not the taking of a lock.
    pub fn request(&self) -> Option<Request> {
        Request::of(&self.seen.record)
    }

    /// Every lock the connection holds after the call.
    pub fn held(&self) -> Vec<LockId> {
        LockId::held(self.seen.record.after, self.seen.record.shm_shared, self.seen.record.shm_exclusive)
    }

    /// SQLite's result code.
    pub fn result(&self) -> ResultCode {
        self.seen.record.rc
    }

    /// Whether a lock was refused (`SQLITE_BUSY` in any of its forms, for a call that takes one).
    pub fn is_refusal(&self) -> bool {
        self.result().is_busy() && self.request().is_some()
    }

    /// The OS's id of the thread that made the call.
    pub fn thread(&self) -> u32 {
        self.seen.record.tid
    }

    /// That thread's name, as it was at its first call; `None` where it is not known.
    pub fn thread_name(&self) -> Option<String> {
        hub().names.find(self.seen.log, |names| Some(names.thread(self.thread())?.text.clone()))
    }

    /// The hash of the statement that was running (see docs/reading.md for which one that is when there are several); `None` where none
    /// was, or it was not looked for.
    pub fn sql(&self) -> Option<u64> {
        (self.seen.record.sql != 0).then_some(self.seen.record.sql)
    }

    /// The text of that statement as it was prepared, never with its bound values, and at most 4096 bytes of it. `None` where the
    /// [policy](crate::SqlPolicy) keeps none.
    pub fn sql_text(&self) -> Option<String> {
        let hash = self.sql().filter(|_| self.seen.log.policy() == SqlPolicy::Text)?;
        hub().names.find(self.seen.log, |names| Some(names.sql(hash)?.text.text.clone()))
    }

    /// Its number in this process's log: the same that the record has in the trace.
    pub fn number(&self) -> u64 {
        self.seen.number
    }

    /// The record itself, times in the log's ticks.
    pub fn record(&self) -> &Record {
        &self.seen.record
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&call(&self.seen.record))
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("number", &self.seen.number).field("record", &self.seen.record).finish_non_exhaustive()
    }
}
