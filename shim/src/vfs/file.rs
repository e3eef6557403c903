//! An open file of ours: the base's file behind it, what we know of its locks, and the methods SQLite calls.
//!
//! In come SQLite's calls; each goes to the base unchanged, its result comes back unchanged, and what happened to a lock becomes
//! a record. A file that is not a main database, a rollback journal or a WAL is never ours: the base opens it in SQLite's own
//! memory and we are not in its way at all.

use super::Shim;
use super::live::Live;
use super::outside::Run;
use super::statement::{self, IDLE, Look, Running, Texts};
use crate::clock;
use crate::event::{FileKind, Flags, Kind, Level, ResultCode};
use crate::ffi::{self, sqlite3, sqlite3_file, sqlite3_io_methods};
use crate::format::record::{MAX_DURATION, Record};
use crate::format::sql_hash;
use crate::recorder::thread::{self, Last};
use crate::recorder::{self, Log, guarded};
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

/// What follows `pMethods` in the memory SQLite gives us for a file; the base's own file comes after it.
///
/// Cells, because SQLite hands the same file to nested calls; one thread at a time, because SQLite's mutexes (or, with
/// `SQLITE_OPEN_NOMUTEX`, the application) see to that. Only what never changes and [`Live`] may be looked at by other threads.
#[repr(C, align(8))]
#[derive(Debug)]
pub struct File {
    pub(super) head: sqlite3_file,
    pub(super) shim: &'static Shim,
    /// The main database this journal or WAL belongs to; null for a database itself, or where SQLite cannot tell.
    pub(super) database: *const File,
    /// The path SQLite opened; it keeps it valid until `xClose`.
    pub(super) path: *const c_char,
    /// From `SQLITE_FCNTL_PDB`; valid until `xClose`, and to be read only inside a VFS call.
    pub(super) connection: Cell<*const *mut sqlite3>,
    texts: Cell<*mut Texts>,
    /// The run of refusals that the kernel was asked about; none after a write lock was given back.
    pub(super) asked: Cell<Option<Run>>,
    /// Bytes written since the last record of them: database, journal, WAL.
    written: [Cell<u64>; 3],
    path_hash: Cell<u64>,
    pub(super) conn: u32,
    pub(super) opener: u32,
    /// The database's number in the log with this serial number.
    pub(super) number: Cell<u32>,
    log: Cell<u32>,
    pub(super) kind: FileKind,
    /// Its locks, as other threads may see them.
    pub(super) live: Live,
}

/// Longer than this (about half a millisecond, in ticks) and the statement is asked for again when its lock is released.
const LONG: u64 = if cfg!(target_arch = "aarch64") { 1 << 14 } else { 1 << 20 };

impl File {
    /// A file that has just been opened, before anything is known of it.
    pub(super) fn new(
        methods: *const sqlite3_io_methods,
        shim: &'static Shim,
        kind: FileKind,
        path: *const c_char,
        database: *const File,
        conn: u32,
    ) -> File {
        File {
            head: sqlite3_file { pMethods: methods },
            shim,
            database,
            path,
            connection: Cell::new(ptr::null()),
            texts: Cell::new(ptr::null_mut()),
            asked: Cell::new(None),
            written: [const { Cell::new(0) }; 3],
            path_hash: Cell::new(0),
            conn,
            // A journal is opened for every transaction, and asking costs a system call; only a database's opener matters.
            opener: if kind == FileKind::DATABASE { std::process::id() } else { 0 },
            number: Cell::new(0),
            log: Cell::new(0),
            kind,
            live: Live::default(),
        }
    }

    /// Ours, from SQLite's pointer to it.
    ///
    /// # Safety
    /// `file` was opened by this VFS and not closed since.
    #[inline(always)]
    pub(super) unsafe fn of<'a>(file: *mut sqlite3_file) -> &'a File {
        // SAFETY: then a `File` stands at its start, and nobody holds it mutably: its changing fields are cells.
        unsafe { &*file.cast::<File>() }
    }

    /// The base's file behind ours.
    #[inline(always)]
    pub(super) fn inner(&self) -> *mut sqlite3_file {
        // SAFETY: `szOsFile` of our VFS is the size of a `File` and the base's, so this is inside the same allocation.
        unsafe { ptr::from_ref(self).add(1).cast_mut().cast() }
    }

    /// The base's methods for it. Read anew each time: a base may exchange them.
    #[inline(always)]
    pub(super) fn base(&self) -> &sqlite3_io_methods {
        // SAFETY: the base set `pMethods` when it opened the file, and a table outlives its files. A slot that the base's version
        // does not have is not read: our own table has null there, so SQLite does not call us.
        unsafe { &*(*self.inner()).pMethods }
    }

    /// The database whose connection this file belongs to.
    #[inline(always)]
    pub(super) fn owner(&self) -> &File {
        // SAFETY: SQLite closes a connection's journal and WAL before its database file.
        unsafe { self.database.as_ref() }.unwrap_or(self)
    }

    /// The log to write to, with this connection known to it. `None`: recording is off.
    #[inline(always)]
    pub(super) fn log(&self) -> Option<&'static Log> {
        let log = recorder::get()?;
        if self.log.get() != log.serial() {
            self.introduce(log);
        }
        Some(log)
    }

    /// Makes this database known to a log it is new to: when it is opened, and in a forked child.
    #[cold]
    #[inline(never)]
    fn introduce(&self, log: &Log) {
        guarded(|| {
            if self.texts.get().is_null() {
                self.texts.set(Box::into_raw(Box::default()));
            }
            if self.kind == FileKind::DATABASE && !self.path.is_null() {
                // SAFETY: SQLite keeps the path it opened valid and unchanged until `xClose`
                // (https://sqlite.org/c3ref/vfs.html).
                let path = unsafe { CStr::from_ptr(self.path) }.to_bytes();
                self.number.set(log.file(&self.shim.library, path));
                self.path_hash.set(sql_hash(path));
            }
            // What was written before is for the opener to tell that was forked, or is lost: it was written under other locks.
            self.written.iter().for_each(|bytes| bytes.set(0));
            if self.kind == FileKind::DATABASE && self.opener != std::process::id() {
                self.live.add_flags(Flags::FORKED);
            }
        });
        self.log.set(log.serial());
    }

    /// A record of this file's connection as it is now; for what is rare enough to be written in full.
    pub(super) fn record(&self, kind: Kind, start: u64, end: u64) -> Record {
        let owner = self.owner();
        let live = &owner.live;
        Record {
            start,
            duration: end.wrapping_sub(start),
            flags: live.flags(),
            conn: owner.conn,
            file: owner.number.get(),
            before: live.level(),
            after: live.level(),
            shm_shared: live.shared(),
            shm_exclusive: live.exclusive(),
            file_kind: self.kind,
            ..Record::new(kind)
        }
    }

    /// This connection, for a call on this thread that does not name it.
    pub(super) fn remember(&self) -> Last {
        let owner = self.owner();
        Last {
            conn: owner.conn,
            file: owner.number.get(),
            log: owner.log.get(),
            path: owner.path_hash.get(),
            flags: owner.live.flags(),
        }
    }

    /// More than one connection uses this file.
    pub(super) fn share(&self) {
        self.live.add_flags(Flags::SHARED_CACHE);
    }

    /// The statement that is running on this connection.
    #[inline(always)]
    pub(super) fn running(&self, log: &Log, look: Look) -> Running {
        let (connection, texts) = (self.connection.get(), self.texts.get());
        if connection.is_null() || texts.is_null() {
            return IDLE;
        }
        // SAFETY: `connection` is SQLite's until `xClose`, which clears it first; we are inside a VFS call on it. `texts` is ours
        // until `xClose`, and no other reference to it exists during this call.
        unsafe { statement::running(&self.shim.api, *connection, &mut *texts, log, look) }
    }

    /// The statement at the release of a read lock that turned out long, or under which another lock was refused: whether the one that was refused
    /// gives the read lock back, or a later one does, tells what the refusal was. Nothing for any other.
    #[inline(always)]
    pub(super) fn at_release(&self, log: &Log, now: u64) -> Running {
        let since = self.live.reading.since();
        let refused = self.live.refused_at() > since;
        if (refused || now.wrapping_sub(since) > LONG) && !self.shim.armored {
            self.running(log, if refused { Look::ForWriter } else { Look::Thoroughly })
        } else {
            IDLE
        }
    }

    /// Records the bytes this connection wrote since it was last asked: one record for each file it wrote to. A write lock is about to be
    /// given back.
    pub(super) fn flush_written(&self, log: &'static Log, at: u64) {
        self.asked.set(None);
        for (bytes, kind) in self.written.iter().zip([FileKind::DATABASE, FileKind::JOURNAL, FileKind::WAL]) {
            if bytes.get() > 0 {
                let arg = bytes.replace(0);
                log.write(&Record { file_kind: kind, arg, ..self.record(Kind::WROTE, at, at) });
            }
        }
    }

    /// The words of a lock record, packed straight from what this (database) file knows: the way of the two calls that happen all
    /// the time. The same layout as [`Record::to_words`].
    #[inline(always)]
    pub(super) fn words(&self, call: &Call, state: u64) -> [u64; 7] {
        let flags = self.live.flags().0 | call.flags.0;
        [
            call.start,
            call.duration.min(MAX_DURATION) | u64::from(call.kind.0) << 48 | u64::from(flags) << 56,
            u64::from(self.conn) << 32,
            u64::from(self.number.get()) | u64::from(call.rc as u32) << 32,
            state | u64::from(self.live.shared()) << 40 | u64::from(self.live.exclusive()) << 48,
            call.sql,
            call.arg,
        ]
    }
}

/// What one lock call was, apart from the connection it was made on.
pub(super) struct Call {
    pub(super) kind: Kind,
    pub(super) flags: Flags,
    pub(super) start: u64,
    pub(super) duration: u64,
    pub(super) rc: c_int,
    pub(super) sql: u64,
    pub(super) arg: u64,
}

/// Calls a method of the base that our table has because the base has it; `SQLITE_ERROR` if the base took it away since.
macro_rules! forward {
    ($file:expr, $method:ident $(, $argument:expr)*) => {
        match $file.base().$method {
            // SAFETY: the base's own method on the base's own file, with the arguments SQLite gave.
            Some(method) => unsafe { method($file.inner() $(, $argument)*) },
            None => $crate::ffi::ERROR,
        }
    };
}
pub(super) use forward;

pub(super) unsafe extern "C" fn x_write(file: *mut sqlite3_file, data: *const c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite calls our methods on files we opened.
    let file = unsafe { File::of(file) };
    let rc = forward!(file, xWrite, data, amount, offset);
    if rc == ffi::OK {
        let [database, journal, wal] = &file.owner().written;
        let bytes = match file.kind {
            FileKind::JOURNAL => journal,
            FileKind::WAL => wal,
            _ => database,
        };
        bytes.set(bytes.get().wrapping_add(amount as u64));
    }
    rc
}

pub(super) unsafe extern "C" fn x_sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: SQLite calls our methods on files we opened.
    let file = unsafe { File::of(file) };
    let start = clock::now();
    let rc = forward!(file, xSync, flags);
    let end = clock::now();
    if let Some(log) = file.owner().log() {
        log.write(&Record { rc: ResultCode(rc), arg: flags as u64, ..file.record(Kind::SYNC, start, end) });
        log.anchor(end);
    }
    rc
}

pub(super) unsafe extern "C" fn x_close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite calls our methods on files we opened.
    let file = unsafe { File::of(file) };
    // From here on the connection may be going away.
    file.leave();
    file.connection.set(ptr::null());
    // Before its texts are freed: in a forked child this may be the first that its log hears of the connection.
    let log = file.owner().log();
    let texts = file.texts.replace(ptr::null_mut());
    if !texts.is_null() {
        // SAFETY: it came from `Box::into_raw` in `introduce`, and the cell held the only copy.
        drop(unsafe { Box::from_raw(texts) });
    }
    let start = clock::now();
    let rc = forward!(file, xClose);
    let end = clock::now();
    let Some(log) = log else { return rc };
    match file.kind {
        FileKind::DATABASE => {
            file.flush_written(log, start);
            let mut record = file.record(Kind::CLOSE, start, end);
            (record.after, record.shm_shared, record.shm_exclusive) = (Level::NONE, 0, 0);
            log.write(&Record { rc: ResultCode(rc), ..record });
            log.anchor(end);
        }
        FileKind::WAL => {
            log.write(&Record { rc: ResultCode(rc), ..file.record(Kind::CLOSE, start, end) });
            thread::work_on(file.remember());
        }
        _ => thread::work_on(file.remember()),
    }
    rc
}

/// Methods that say nothing about locks: straight through.
macro_rules! pass {
    ($($name:ident => $method:ident($($argument:ident: $type:ty),*);)*) => {
        $(
            pub(super) unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $argument: $type)*) -> c_int {
                // SAFETY: SQLite calls our methods on files we opened.
                let file = unsafe { File::of(file) };
                forward!(file, $method $(, $argument)*)
            }
        )*
    };
}

pass! {
    x_read => xRead(buffer: *mut c_void, amount: c_int, offset: i64);
    x_truncate => xTruncate(size: i64);
    x_file_size => xFileSize(size: *mut i64);
    x_sector_size => xSectorSize();
    x_device_characteristics => xDeviceCharacteristics();
    x_fetch => xFetch(offset: i64, amount: c_int, page: *mut *mut c_void);
    x_unfetch => xUnfetch(offset: i64, page: *mut c_void);
}
