//! A recorded call, as subscribers receive it.
//!
//! The locking thread only copies the record, because every nanosecond counts there. Times, paths, names and SQL are looked up on the thread
//! that asks for them.
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
/// It is small and owned: keep it, send it, compare it. [`Display`](fmt::Display) writes the call as `locktrace cat` does:
/// `xShmLock X WRITE = BUSY`.
#[derive(Clone, Copy)]
pub struct Event {
    pub(super) call: Observed,
}

impl Event {
    /// When the call began, by the system's clock. Each call converts it from the log's clock, which takes a few readings of the clocks.
    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(hub().clock.real_ns(self.call.record.start))
    }

    /// How long the call took inside the VFS below ours. `None` if only its start was measured: the release of a
    /// wal-index lock.
    pub fn duration(&self) -> Option<Duration> {
        let record = &self.call.record;
        (!record.flags.has(Flags::ONE_CLOCK)).then(|| Duration::from_nanos(hub().clock.ns(record.duration)))
    }

    /// The connection, counted from 1 in the process that opened it. `None` if SQLite does not pass it.
    pub fn connection(&self) -> Option<u32> {
        (self.call.record.conn != 0).then_some(self.call.record.conn)
    }

    /// The path of the database, as SQLite opened it. `None` if it is unknown: past 4096 databases, or when the trace directory is gone.
    pub fn database(&self) -> Option<PathBuf> {
        let path = hub().names.find(self.call.log, |names| {
            let name = names.file(self.call.record.file)?;
            Some(name.path.as_bytes().to_vec())
        })?;
        Some(OsString::from_vec(path).into())
    }

    /// Which call it was.
    pub fn call(&self) -> Kind {
        self.call.record.kind
    }

    /// The lock that the call requests; `None` for a call that requests none.
    pub fn request(&self) -> Option<Request> {
        Request::of(&self.call.record)
    }

    /// Every lock the connection holds after the call.
    pub fn held(&self) -> Vec<LockId> {
        LockId::held(self.call.record.after, self.call.record.shm_shared, self.call.record.shm_exclusive)
    }

    /// SQLite's result code.
    pub fn result(&self) -> ResultCode {
        self.call.record.rc
    }

    /// Whether a lock was refused (`SQLITE_BUSY` in any of its forms, for a call that takes one).
    pub fn is_refusal(&self) -> bool {
        self.result().is_busy() && self.request().is_some()
    }

    /// The OS's id of the thread that made the call.
    pub fn thread(&self) -> u32 {
        self.call.record.tid
    }

    /// The thread's name at its first call; `None` if it is unknown.
    pub fn thread_name(&self) -> Option<String> {
        hub().names.find(self.call.log, |names| Some(names.thread(self.thread())?.text.clone()))
    }

    /// The hash of the running statement (docs/reading.md says which one if several run); `None` if none was running, or the recorder did not
    /// look for it.
    pub fn sql(&self) -> Option<u64> {
        (self.call.record.sql != 0).then_some(self.call.record.sql)
    }

    /// The text of that statement as it was prepared, without bound values, and at most 4096 bytes of it. `None` if the
    /// [policy](crate::SqlPolicy) keeps no texts.
    pub fn sql_text(&self) -> Option<String> {
        let hash = self.sql().filter(|_| self.call.log.policy() == SqlPolicy::Text)?;
        hub().names.find(self.call.log, |names| Some(names.sql(hash)?.text.text.clone()))
    }

    /// The number of the record in this process's log, and so in the trace.
    pub fn number(&self) -> u64 {
        self.call.number
    }

    /// The record itself, with times in ticks of the log.
    pub fn record(&self) -> &Record {
        &self.call.record
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&call(&self.call.record))
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("number", &self.call.number).field("record", &self.call.record).finish_non_exhaustive()
    }
}
