//! A connection's use of one database file: its locks, its numbers in the log, the bytes it wrote, and the statement it runs.
//!
//! Only the thread inside a VFS call uses a connection, but for its [`LockState`], which any thread may copy. The fields are cells, because SQLite
//! hands the same file to nested calls. One thread at a time uses them: SQLite's mutexes or, with `SQLITE_OPEN_NOMUTEX`, the application see to that.

use super::lock_state::LockState;
use super::outside::{KernelLocks, Outside, Refusal};
use super::shim::Shim;
use super::statement::{self, IDLE, Look, Running, TextCache};
use crate::event::{FileKind, Flags, Kind, Level, Request, ResultCode};
use crate::ffi::sqlite3;
use crate::format::record::{MAX_DURATION, Record};
use crate::format::sql_hash;
use crate::recorder::thread::{self, Last};
use crate::recorder::{self, Log};
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::ptr;

/// See the module. A journal or WAL has one, too, without a number: it serves where the database is not open any more.
pub(super) struct Connection {
    pub(super) shim: &'static Shim,
    /// From `SQLITE_FCNTL_PDB`; valid until `xClose`, and to be read only inside a VFS call.
    pub(super) handle: Cell<*const *mut sqlite3>,
    /// Bytes written since the last record of them: database, journal, WAL.
    pub(super) written: [Cell<u64>; 3],
    /// The database's number in the log with the serial number `log`.
    file: Cell<u32>,
    log: Cell<u32>,
    /// Its number in this process, from 1; 0 = the file is no database.
    number: u32,
    /// The path SQLite opened; it keeps it valid until `xClose`.
    path: *const c_char,
    path_hash: Cell<u64>,
    outside: Outside,
    texts: TextCache,
    /// Its locks, as any thread may copy them.
    pub(super) locks: LockState,
}

/// What is known of a connection when its file has been opened.
#[derive(Clone, Copy)]
pub(super) struct Opened {
    pub(super) shim: &'static Shim,
    /// As SQLite gave it.
    pub(super) path: *const c_char,
    pub(super) is_database: bool,
    /// The connection's number; 0 = the file is no database.
    pub(super) number: u32,
    pub(super) kernel_locks: KernelLocks,
}

/// One lock call, apart from the connection it was made on.
pub(super) struct LockCall {
    pub(super) kind: Kind,
    pub(super) flags: Flags,
    pub(super) start: u64,
    pub(super) duration: u64,
    pub(super) rc: c_int,
    pub(super) sql: u64,
    pub(super) arg: u64,
}

/// A lock held for longer than this (about half a millisecond, in ticks) has its statement looked up again at its release.
const LONG: u64 = if cfg!(target_arch = "aarch64") { 1 << 14 } else { 1 << 20 };

impl Connection {
    /// Makes a connection in this memory.
    ///
    /// # Safety
    /// Memory for one connection, which this thread alone writes. It holds zeros or a connection from before, whose lock state another thread may
    /// still read.
    pub(super) unsafe fn begin(at: *mut Connection, opened: &Opened) {
        // SAFETY: the caller's promise. Addresses of fields are taken without reading them, and the lock state consists of atomics, for which all
        // zeros are a value.
        unsafe {
            (&raw mut (*at).shim).write(opened.shim);
            (&raw mut (*at).handle).write(Cell::new(ptr::null()));
            (&raw mut (*at).written).write([const { Cell::new(0) }; 3]);
            (&raw mut (*at).file).write(Cell::new(0));
            (&raw mut (*at).log).write(Cell::new(0));
            (&raw mut (*at).number).write(opened.number);
            (&raw mut (*at).path).write(opened.path);
            (&raw mut (*at).path_hash).write(Cell::new(0));
            (&raw mut (*at).outside).write(Outside::new(opened.kernel_locks));
            (&raw mut (*at).texts).write(TextCache::default());
            (*at).locks.begin(opened.shim, opened.path, opened.is_database, opened.number);
        }
    }

    /// The log to write to, which knows this connection's database. `None`: recording is off.
    #[inline(always)]
    pub(super) fn log(&self) -> Option<&'static Log> {
        let log = recorder::get()?;
        if self.log.get() != log.serial() {
            self.introduce(log);
        }
        Some(log)
    }

    /// Names this database in a log that does not know it: when it is opened, and in a forked child.
    #[cold]
    #[inline(never)]
    fn introduce(&self, log: &Log) {
        if self.locks.is_database() && !self.path.is_null() {
            // SAFETY: SQLite keeps the path it opened valid and unchanged until `xClose` (https://sqlite.org/c3ref/vfs.html).
            let path = unsafe { CStr::from_ptr(self.path) }.to_bytes();
            if let Some(sqlite) = self.shim.sqlite() {
                self.file.set(log.file(&sqlite.library, path));
            }
            self.path_hash.set(sql_hash(path));
        }
        // What was written before was written under other locks. The process that opened the file records it, or it is lost.
        self.written.iter().for_each(|bytes| bytes.set(0));
        if self.locks.is_anothers() {
            self.locks.add_flags(Flags::FORKED);
        }
        self.log.set(log.serial());
    }

    /// A record about a file of this connection, with the connection's present state; for calls that are rare enough to be written in full.
    pub(super) fn record(&self, kind: Kind, file_kind: FileKind, start: u64, end: u64) -> Record {
        let locks = &self.locks;
        Record {
            start,
            duration: end.wrapping_sub(start),
            flags: locks.flags(),
            conn: self.number,
            file: self.file.get(),
            before: locks.level(),
            after: locks.level(),
            shm_shared: locks.shared(),
            shm_exclusive: locks.exclusive(),
            file_kind,
            ..Record::new(kind)
        }
    }

    /// The words of a lock record: the fast way of the two calls that happen all the time. The same layout as [`Record::to_words`].
    #[inline(always)]
    pub(super) fn words(&self, call: &LockCall, state: u64) -> [u64; 7] {
        let flags = self.locks.flags().0 | call.flags.0;
        [
            call.start,
            call.duration.min(MAX_DURATION) | u64::from(call.kind.0) << 48 | u64::from(flags) << 56,
            u64::from(self.number) << 32,
            u64::from(self.file.get()) | u64::from(call.rc as u32) << 32,
            state | u64::from(self.locks.shared()) << 40 | u64::from(self.locks.exclusive()) << 48,
            call.sql,
            call.arg,
        ]
    }

    /// Remembers this connection for an `xDelete` on this thread that follows.
    pub(super) fn worked_on(&self) {
        thread::work_on(self.remember());
    }

    /// This connection, for a call on this thread that names none.
    fn remember(&self) -> Last {
        Last {
            conn: self.number,
            file: self.file.get(),
            log: self.log.get(),
            path: self.path_hash.get(),
            flags: self.locks.flags(),
        }
    }

    /// Notes that more than one connection uses this file.
    pub(super) fn share(&self) {
        self.locks.add_flags(Flags::SHARED_CACHE);
    }

    /// The statement that is running.
    #[inline(always)]
    pub(super) fn running(&self, log: &Log, look: Look) -> Running {
        let (handle, api) = (self.handle.get(), self.shim.api());
        let Some(api) = api.filter(|_| !handle.is_null()) else { return IDLE };
        // SAFETY: `handle` is SQLite's until `xClose`, which clears it first; this thread is inside a VFS call on it.
        unsafe { statement::running(api, *handle, &self.texts, log, look) }
    }

    /// The statement at the release of a read lock that was held long, or under which another lock was refused. A reader sees from it whether the
    /// refused statement releases the read lock, or a later one. [`IDLE`] for any other.
    #[inline(always)]
    pub(super) fn running_at_release(&self, log: &Log, now: u64) -> Running {
        let since = self.locks.reading.since();
        let refused = self.locks.refused_at() > since;
        if (refused || now.wrapping_sub(since) > LONG) && !self.shim.armored() {
            self.running(log, if refused { Look::ForWriter } else { Look::Thoroughly })
        } else {
            IDLE
        }
    }

    /// Records the bytes written since this was last called: one record for each file. A write lock is about to be released.
    pub(super) fn flush_written(&self, log: &'static Log, at: u64) {
        self.outside.ask_again();
        for (bytes, file_kind) in self.written.iter().zip([FileKind::DATABASE, FileKind::JOURNAL, FileKind::WAL]) {
            if bytes.get() > 0 {
                log.write(&Record { arg: bytes.replace(0), ..self.record(Kind::WROTE, file_kind, at, at) });
            }
        }
    }

    /// Records a checkpoint's beginning or end.
    pub(super) fn checkpoint(&self, kind: Kind, file_kind: FileKind, now: u64) {
        if let Some(log) = self.log() {
            log.write(&Record { rc: ResultCode::OK, ..self.record(kind, file_kind, now, now) });
            log.anchor(now);
        }
    }

    /// An attempt was refused just now: remembers this connection for an `xSleep` that follows. Returns the `arg` of the attempt's record,
    /// [`crate::event::REFUSED_HERE`] or 0.
    #[cold]
    #[inline(never)]
    pub(super) fn refused(&self) -> u64 {
        let arg = self.outside.refused_here();
        thread::refused_on(self.remember());
        arg
    }

    /// Asks the kernel who holds what was refused, if that is due. `start` is the refused record's, `before` the level before it. Called after that
    /// record was written.
    #[cold]
    #[inline(never)]
    pub(super) fn look_outside(&self, log: &Log, request: Request, before: Level, start: u64, sql: u64) {
        let (conn, file) = (self.number, self.file.get());
        self.outside.look(log, &Refusal { conn, file, path: self.path, locks: &self.locks, request, before, start, sql });
    }
}
