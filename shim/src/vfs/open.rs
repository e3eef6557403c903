//! The three calls of a VFS that matter for locks, and their records: a file opens, a journal or WAL is deleted, a thread sleeps.
//!
//! A VFS that is registered over another (`wrapped`) and SQLite's own one (`cover`) both call this.

use super::connection::Opened;
use super::file::{File, Layout, Parts};
use super::outside::KernelLocks;
use super::shim::Shim;
use super::{journal, pool, tables};
use crate::clock;
use crate::errno::SavedErrno;
use crate::event::{FileKind, Flags, Kind, ResultCode};
use crate::ffi::{self, sqlite3_file, sqlite3_vfs};
use crate::format::record::Record;
use crate::format::sql_hash;
use crate::recorder::{self, thread};
use std::ffi::{CStr, c_char, c_int};
use std::sync::atomic::{AtomicU32, Ordering};

/// Connections opened in this process so far.
static CONNECTIONS: AtomicU32 = AtomicU32::new(0);

/// A call of ours that is under way on this thread.
///
/// A program's own VFS can lie between two of ours: over ours, and wrapped itself. Then the outer one records what SQLite sees. The inner
/// one, called on the same thread about the same file, records nothing.
pub(super) struct Inside(*const c_char);

/// While a thread sleeps, its address takes the place of a file's name.
static SLEEP: c_char = 0;

impl Inside {
    /// Whether a call of ours about this file is under way on this thread.
    ///
    /// # Safety
    /// `name` is NUL-terminated.
    #[inline(always)]
    unsafe fn already(name: *const c_char) -> bool {
        let outer = thread::inside();
        // SAFETY: the outer call has not returned, so its name is there; both are NUL-terminated.
        !outer.is_null() && (outer == name || unsafe { libc::strcmp(outer, name) } == 0)
    }

    /// Calls the base about this file.
    #[inline(always)]
    pub(super) fn of<R>(name: *const c_char, call: impl FnOnce() -> R) -> R {
        let _inside = Inside(thread::go_inside(name));
        call()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        thread::go_inside(self.0);
    }
}

/// A file that is about to be opened and is to be traced.
pub(super) struct Wanted {
    kind: FileKind,
    database: Option<&'static File>,
    claim: pool::Claim,
}

impl Wanted {
    /// A main database, or a journal or WAL whose database is known. `None` for any other file, for one that an outer VFS of ours opens, and where
    /// the pool is used up.
    ///
    /// # Safety
    /// `name` and `flags` are SQLite's arguments of `xOpen`.
    pub(super) unsafe fn new(shim: &Shim, name: *const c_char, flags: c_int) -> Option<Wanted> {
        let kind = match flags & (ffi::OPEN_MAIN_DB | ffi::OPEN_MAIN_JOURNAL | ffi::OPEN_WAL) {
            ffi::OPEN_MAIN_DB => FileKind::DATABASE,
            // A journal opened read-only may be another database's, named in a super-journal.
            ffi::OPEN_MAIN_JOURNAL if flags & ffi::OPEN_READONLY == 0 => FileKind::JOURNAL,
            ffi::OPEN_WAL => FileKind::WAL,
            _ => return None,
        };
        // SAFETY: SQLite's own argument, NUL-terminated where it is not null.
        if name.is_null() || unsafe { Inside::already(name) } {
            return None;
        }
        // SAFETY: NUL-terminated.
        let database = if kind == FileKind::DATABASE { None } else { Some(unsafe { journal::owner(shim, kind, name) }?) };
        Some(Wanted { kind, database, claim: pool::claim()? })
    }

    /// The base has opened it: takes the file over, and records that.
    ///
    /// # Safety
    /// As for [`File::open`]; `base` is the VFS that has opened it, and the rest are the arguments and the result of its `xOpen`.
    pub(super) unsafe fn opened(
        self,
        shim: &'static Shim,
        (layout, base): (Layout, *const sqlite3_vfs),
        file: *mut sqlite3_file,
        (name, flags): (*const c_char, c_int),
        (rc, start, end): (c_int, u64, u64),
    ) {
        let is_database = self.kind == FileKind::DATABASE;
        let number = if is_database { CONNECTIONS.fetch_add(1, Ordering::Relaxed).wrapping_add(1) } else { 0 };
        // SAFETY: a VFS that opens files has a NUL-terminated name.
        let kernel_locks = KernelLocks::of(unsafe { CStr::from_ptr((*base).zName) });
        let table = match layout {
            Layout::Wrapped => tables::wrapping,
            Layout::InPlace => tables::watching,
        };
        let parts = Parts { layout, outer: file, kind: self.kind, database: self.database, table };
        // SAFETY: the caller's promise; both functions take the table of an open file.
        let file = unsafe { File::open(self.claim, &parts, &Opened { shim, path: name, is_database, number, kernel_locks }) };
        if self.kind == FileKind::JOURNAL {
            return;
        }
        if let Some(log) = file.owner().log() {
            log.write(&Record { rc: ResultCode(rc), arg: u64::from(flags as u32), ..file.record(Kind::OPEN, start, end) });
            log.anchor(end);
        }
    }

    /// The base has not opened it.
    ///
    /// # Safety
    /// `name` is SQLite's.
    pub(super) unsafe fn failed(self, shim: &Shim, (name, flags): (*const c_char, c_int), (rc, start, end): (c_int, u64, u64)) {
        if self.kind != FileKind::DATABASE {
            return;
        }
        let (Some(log), Some(sqlite)) = (recorder::get(), shim.sqlite()) else { return };
        let _errno = SavedErrno::save();
        // SAFETY: SQLite's path, NUL-terminated.
        let number = log.file(&sqlite.library, unsafe { CStr::from_ptr(name) }.to_bytes());
        log.write(&Record {
            start,
            duration: end.wrapping_sub(start),
            file: number,
            file_kind: self.kind,
            rc: ResultCode(rc),
            arg: u64::from(flags as u32),
            ..Record::new(Kind::OPEN)
        });
    }
}

/// Calls the base's `xDelete`, and records it if it deletes a journal or a WAL.
///
/// # Safety
/// `name` is SQLite's argument.
#[inline(always)]
pub(super) unsafe fn deleting(shim: &Shim, name: *const c_char, delete: impl FnOnce() -> c_int) -> c_int {
    let start = clock::now();
    let rc = Inside::of(name, delete);
    let end = clock::now();
    // SAFETY: SQLite's path, NUL-terminated.
    if name.is_null() || unsafe { Inside::already(name) } {
        return rc;
    }
    // SAFETY: SQLite's path, NUL-terminated.
    let path = unsafe { CStr::from_ptr(name) }.to_bytes();
    let suffixes = [(&b"-journal"[..], FileKind::JOURNAL), (&b"-wal"[..], FileKind::WAL)];
    let Some((database, kind)) = suffixes.iter().find_map(|(suffix, kind)| Some((path.strip_suffix(*suffix)?, *kind))) else {
        return rc;
    };
    // `current`: a process that has opened no database yet gets no log by this.
    if let (Some(log), Some(sqlite)) = (recorder::current(), shim.sqlite()) {
        let last = thread::worked_on();
        // The pager deletes its own journal, on the thread that has just closed or locked it; the path must agree.
        let (conn, number, flags) = if last.log == log.serial() && last.path == sql_hash(database) {
            (last.conn, last.file, last.flags.with(Flags::ASSUMED))
        } else {
            let _errno = SavedErrno::save();
            (0, log.file(&sqlite.library, database), Flags(0))
        };
        log.write(&Record {
            start,
            duration: end.wrapping_sub(start),
            conn,
            file: number,
            file_kind: kind,
            rc: ResultCode(rc),
            flags,
            ..Record::new(Kind::DELETE)
        });
    }
    rc
}

/// Calls the base's `xSleep`, and records it for the connection that was refused on this thread.
#[inline(always)]
pub(super) fn sleeping(microseconds: c_int, sleep: impl FnOnce() -> c_int) -> c_int {
    let start = clock::now();
    let slept = Inside::of(&raw const SLEEP, sleep);
    let end = clock::now();
    if thread::inside() == &raw const SLEEP {
        return slept;
    }
    if let Some(log) = recorder::current() {
        let last = thread::take_refused();
        let (conn, file, flags) = if last.log == log.serial() && last.conn != 0 {
            (last.conn, last.file, last.flags.with(Flags::ASSUMED))
        } else {
            (0, 0, Flags(0))
        };
        log.write(&Record {
            start,
            duration: end.wrapping_sub(start),
            conn,
            file,
            arg: u64::from(microseconds as u32),
            flags,
            ..Record::new(Kind::SLEEP)
        });
        log.anchor(end);
    }
    slept
}
