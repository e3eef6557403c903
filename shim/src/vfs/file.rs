//! An open file: the base's file, what we know of its locks, and the methods SQLite calls.
//!
//! SQLite's calls go to the base unchanged, and its results come back unchanged; what happens to a lock becomes a record. A file that is
//! not a main database, a rollback journal or a WAL is never ours.
//!
//! There are two ways to an open file, and the same code serves both:
//!
//! * **wrapped**: a VFS of ours is registered over another one. SQLite's file is a [`Head`] of ours with the base's file behind it.
//! * **in place**: SQLite's own VFS opened its own file. Only its method table is exchanged, for a copy that leads to us; the base's table is
//!   put back before the file is closed.

use super::live::Live;
use super::outside::{Locks, Run};
use super::statement::{self, IDLE, Look, Running, Texts};
use super::{Shim, slab, tables};
use crate::clock;
use crate::event::{FileKind, Flags, Kind, Level, ResultCode};
use crate::ffi::{self, sqlite3, sqlite3_file, sqlite3_io_methods};
use crate::format::record::{MAX_DURATION, Record};
use crate::format::sql_hash;
use crate::recorder::thread::{self, Last};
use crate::recorder::{self, Log};
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ops::Deref;
use std::ptr;

/// What stands before the base's file in the memory SQLite gives us for a wrapped one. 16 bytes, so that the base's file is aligned as
/// `malloc` would align it.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Head {
    head: sqlite3_file,
    _room: usize,
}

/// An open file, in a place of [`slab`].
#[repr(C)]
pub(super) struct File {
    /// What SQLite calls: `pMethods` points here.
    methods: sqlite3_io_methods,
    mine: Mine,
    /// Its locks, as other threads may see them.
    pub(super) live: Live,
}

/// What only the thread inside a VFS call on the file uses.
///
/// Cells, because SQLite hands the same file to nested calls; one thread at a time, because SQLite's mutexes (or, with
/// `SQLITE_OPEN_NOMUTEX`, the application) see to that.
pub(super) struct Mine {
    /// The base's file.
    inner: *mut sqlite3_file,
    /// Where the base's methods for it stand: in the base's file (wrapped), or in `original` (in place).
    base: *const *const sqlite3_io_methods,
    pub(super) shim: &'static Shim,
    /// From `SQLITE_FCNTL_PDB`; valid until `xClose`, and to be read only inside a VFS call.
    pub(super) connection: Cell<*const *mut sqlite3>,
    /// The main database that this journal or WAL belongs to, and its life then; `None` for a database, or where it is not known.
    database: Option<(&'static File, u32)>,
    /// Bytes written since the last record of them: database, journal, WAL.
    written: [Cell<u64>; 3],
    /// The database's number in the log with this serial number.
    pub(super) number: Cell<u32>,
    log: Cell<u32>,
    pub(super) conn: u32,
    pub(super) kind: FileKind,
    pub(super) locks: Locks,
    path_hash: Cell<u64>,
    /// The path SQLite opened; it keeps it valid until `xClose`.
    pub(super) path: *const c_char,
    /// The run of refusals that the kernel was asked about; none after a write lock was given back.
    pub(super) asked: Cell<Option<Run>>,
    /// In place: the table the base gave its file.
    original: *const sqlite3_io_methods,
    /// The file as SQLite knows it.
    outer: *mut sqlite3_file,
    texts: Texts,
}

impl Deref for File {
    type Target = Mine;
    #[inline(always)]
    fn deref(&self) -> &Mine {
        &self.mine
    }
}

/// How a file was opened; see the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// The base's file lies behind a [`Head`].
    Wrapped,
    /// It is the base's own file.
    InPlace,
}

/// What is known of a file when it has been opened.
pub(super) struct Opened {
    pub(super) way: Way,
    pub(super) shim: &'static Shim,
    pub(super) kind: FileKind,
    /// As SQLite gave it.
    pub(super) path: *const c_char,
    pub(super) database: Option<&'static File>,
    pub(super) conn: u32,
    pub(super) locks: Locks,
}

/// Longer than this (about half a millisecond, in ticks) and the statement is asked for again when its lock is released.
const LONG: u64 = if cfg!(target_arch = "aarch64") { 1 << 14 } else { 1 << 20 };

impl File {
    /// Takes an open file over: from here on SQLite calls us.
    ///
    /// # Safety
    /// `outer` is SQLite's file. The base has opened it ([`Way::InPlace`]), or the one behind the [`Head`] that it is ([`Way::Wrapped`]).
    pub(super) unsafe fn open(claim: slab::Claim, outer: *mut sqlite3_file, opened: &Opened) -> &'static File {
        let inner = match opened.way {
            // SAFETY: our `szOsFile` has room for a `Head` and the base's file.
            Way::Wrapped => unsafe { outer.cast::<Head>().add(1).cast::<sqlite3_file>() },
            Way::InPlace => outer,
        };
        // SAFETY: the base opened it.
        let original = unsafe { (*inner).pMethods };
        let file = claim.fill(|file| {
            // SAFETY: the base's table for an open file.
            let methods = unsafe {
                match opened.way {
                    Way::Wrapped => tables::wrapping(original),
                    Way::InPlace => tables::watching(original),
                }
            };
            // SAFETY: memory for one file, which is this thread's alone; addresses of its fields are taken without looking at them.
            unsafe {
                let base = match opened.way {
                    Way::Wrapped => &raw const (*inner).pMethods,
                    Way::InPlace => &raw const (*file).mine.original,
                };
                (&raw mut (*file).methods).write(methods);
                (&raw mut (*file).mine).write(Mine {
                    inner,
                    base,
                    shim: opened.shim,
                    connection: Cell::new(ptr::null()),
                    database: opened.database.map(|database| (database, slab::life(database))),
                    written: [const { Cell::new(0) }; 3],
                    number: Cell::new(0),
                    log: Cell::new(0),
                    conn: opened.conn,
                    kind: opened.kind,
                    locks: opened.locks,
                    path_hash: Cell::new(0),
                    path: opened.path,
                    asked: Cell::new(None),
                    original,
                    outer,
                    texts: Texts::default(),
                });
                // Atomics: another thread may still look at the file that was here before.
                (*file).live.begin(opened);
            }
        });
        // SAFETY: SQLite's own memory for the file.
        unsafe { (*outer).pMethods = &raw const file.methods };
        file
    }

    /// Ours, from SQLite's pointer to it.
    ///
    /// # Safety
    /// `file` is the argument of a method of ours.
    #[inline(always)]
    pub(super) unsafe fn of(file: *mut sqlite3_file) -> Option<&'static File> {
        // SAFETY: SQLite calls methods with open files.
        match slab::at(unsafe { (*file).pMethods }) {
            Some(ours) => Some(ours),
            None => File::by_address(file),
        }
    }

    /// A program may have put a table of its own before ours, with methods of ours in it: then the file is known by its address.
    #[cold]
    #[inline(never)]
    fn by_address(outer: *mut sqlite3_file) -> Option<&'static File> {
        slab::open_files().map(|(file, _)| file).find(|file| file.outer == outer)
    }

    /// How it was opened.
    pub(super) fn way(&self) -> Way {
        if ptr::eq(self.base, &raw const self.mine.original) { Way::InPlace } else { Way::Wrapped }
    }

    /// The base's file behind ours.
    #[inline(always)]
    pub(super) fn inner(&self) -> *mut sqlite3_file {
        self.inner
    }

    /// The base's methods for it. Where its file is its own, they are read each time: a base may exchange them.
    #[inline(always)]
    pub(super) fn base(&self) -> &sqlite3_io_methods {
        // SAFETY: the base set `pMethods` when it opened the file, and a table outlives its files. A slot that the base's version
        // does not have is not read: our own table has null there, so SQLite does not call us.
        unsafe { &**self.base }
    }

    /// The database whose connection this file belongs to.
    #[inline(always)]
    pub(super) fn owner(&self) -> &File {
        match self.database {
            // SQLite closes a connection's journal and WAL before its database file.
            Some((database, life)) if slab::is(database, life) => database,
            _ => self,
        }
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
        {
            if self.kind == FileKind::DATABASE && !self.path.is_null() {
                // SAFETY: SQLite keeps the path it opened valid and unchanged until `xClose`
                // (https://sqlite.org/c3ref/vfs.html).
                let path = unsafe { CStr::from_ptr(self.path) }.to_bytes();
                if let Some(known) = self.shim.known() {
                    self.number.set(log.file(&known.library, path));
                }
                self.path_hash.set(sql_hash(path));
            }
            // What was written before is for the opener to tell that was forked, or is lost: it was written under other locks.
            self.written.iter().for_each(|bytes| bytes.set(0));
            if self.kind == FileKind::DATABASE && self.live.is_anothers() {
                self.live.add_flags(Flags::FORKED);
            }
        }
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
        let (connection, statements) = (self.connection.get(), self.shim.statements());
        let Some(statements) = statements.filter(|_| !connection.is_null()) else { return IDLE };
        // SAFETY: `connection` is SQLite's until `xClose`, which clears it first; we are inside a VFS call on it.
        unsafe { statement::running(statements, *connection, &self.texts, log, look) }
    }

    /// The statement at the release of a read lock that turned out long, or under which another lock was refused: whether the one that was refused
    /// gives the read lock back, or a later one does, tells what the refusal was. Nothing for any other.
    #[inline(always)]
    pub(super) fn at_release(&self, log: &Log, now: u64) -> Running {
        let since = self.live.reading.since();
        let refused = self.live.refused_at() > since;
        if (refused || now.wrapping_sub(since) > LONG) && !self.shim.armored() {
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

pub(super) unsafe extern "C-unwind" fn x_write(file: *mut sqlite3_file, data: *const c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite calls our methods on files we opened.
    let Some(file) = (unsafe { File::of(file) }) else { return ffi::IOERR };
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

pub(super) unsafe extern "C-unwind" fn x_sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: SQLite calls our methods on files we opened.
    let Some(file) = (unsafe { File::of(file) }) else { return ffi::IOERR };
    let start = clock::now();
    let rc = forward!(file, xSync, flags);
    let end = clock::now();
    if let Some(log) = file.owner().log() {
        log.write(&Record { rc: ResultCode(rc), arg: flags as u64, ..file.record(Kind::SYNC, start, end) });
        log.anchor(end);
    }
    rc
}

pub(super) unsafe extern "C-unwind" fn x_close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite calls our methods on files we opened.
    let Some(file) = (unsafe { File::of(file) }) else { return ffi::IOERR };
    // From here on the connection may be going away.
    file.connection.set(ptr::null());
    let log = file.owner().log();
    let start = clock::now();
    if file.way() == Way::InPlace {
        // The base finds its file as it left it.
        // SAFETY: SQLite's own memory for the file.
        unsafe { (*file.inner()).pMethods = file.original };
    }
    let rc = forward!(file, xClose);
    let end = clock::now();
    if let Some(log) = log {
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
    }
    slab::give_back(file);
    rc
}

/// Methods that say nothing about locks: straight through.
macro_rules! pass {
    ($($name:ident => $method:ident($($argument:ident: $type:ty),*);)*) => {
        $(
            pub(super) unsafe extern "C-unwind" fn $name(file: *mut sqlite3_file $(, $argument: $type)*) -> c_int {
                // SAFETY: SQLite calls our methods on files we opened.
                let Some(file) = (unsafe { File::of(file) }) else { return ffi::IOERR };
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
