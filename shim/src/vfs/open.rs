//! The methods of a VFS of ours. Three of them matter for locks: a file opens, a journal or WAL goes away, a thread sleeps. The others go
//! straight to the base. Each hands the base *its own* VFS object.
//!
//! What those three record is the same where SQLite's own VFS is covered in place (`cover`), which calls it from here.

use super::file::{File, Head, Opened, Way};
use super::outside::Locks;
use super::{SIGNATURE, Shim, journal, slab};
use crate::clock;
use crate::event::{FileKind, Flags, Kind, ResultCode};
use crate::ffi::{self, DlSymbol, sqlite3_file, sqlite3_vfs};
use crate::format::record::Record;
use crate::format::sql_hash;
use crate::recorder::{self, thread};
use std::ffi::{CStr, c_char, c_double, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

/// Connections opened in this process so far.
static CONNECTIONS: AtomicU32 = AtomicU32::new(0);

/// A program's own VFS can lie between two of ours: over ours, and wrapped itself. Then the outer one records what SQLite sees, and the inner
/// one, called on the same thread about the same file, is silent.
pub(super) struct Inside(*const c_char);

/// Its address stands for a file's name while a thread sleeps.
static SLEEP: c_char = 0;

impl Inside {
    /// Whether this thread is inside a call of ours about this file.
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

/// A file that is about to be opened and that we look at.
pub(super) struct Wanted {
    kind: FileKind,
    database: Option<&'static File>,
    claim: slab::Claim,
}

impl Wanted {
    /// Whether this is one: a main database, or a journal or WAL whose database is known. `None` also where there is no place for it, and where
    /// an outer VFS of ours opens it.
    ///
    /// # Safety
    /// `name` and `flags` are SQLite's arguments of `xOpen`.
    pub(super) unsafe fn new(shim: &Shim, name: *const c_char, flags: c_int) -> Option<Wanted> {
        let kind = match flags & (ffi::OPEN_MAIN_DB | ffi::OPEN_MAIN_JOURNAL | ffi::OPEN_WAL) {
            ffi::OPEN_MAIN_DB => FileKind::DATABASE,
            // One opened read-only may be another database's, by a name out of a super-journal.
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
        Some(Wanted { kind, database, claim: slab::claim()? })
    }

    /// The base has opened it: from here on SQLite calls us, and the record says so.
    ///
    /// # Safety
    /// As for [`File::open`]; `base` is the VFS that has opened it, and the rest are the arguments and the result of its `xOpen`.
    pub(super) unsafe fn opened(
        self,
        shim: &'static Shim,
        (way, base): (Way, *const sqlite3_vfs),
        file: *mut sqlite3_file,
        (name, flags): (*const c_char, c_int),
        (rc, start, end): (c_int, u64, u64),
    ) {
        let database = self.kind == FileKind::DATABASE;
        let conn = if database { CONNECTIONS.fetch_add(1, Ordering::Relaxed).wrapping_add(1) } else { 0 };
        // SAFETY: a VFS that opens files has a NUL-terminated name.
        let locks = Locks::of(unsafe { CStr::from_ptr((*base).zName) });
        let opened = Opened { way, shim, kind: self.kind, path: name, database: self.database, conn, locks };
        // SAFETY: the caller's promise.
        let file = unsafe { File::open(self.claim, file, &opened) };
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
        let (Some(log), Some(known)) = (recorder::get(), shim.known()) else { return };
        let _errno = recorder::Errno::save();
        // SAFETY: SQLite's path, NUL-terminated.
        let number = log.file(&known.library, unsafe { CStr::from_ptr(name) }.to_bytes());
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

pub(super) unsafe extern "C-unwind" fn x_open(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls this method, on our VFS.
    let Some(shim) = (unsafe { Shim::behind(vfs) }) else { return ffi::ERROR };
    // SAFETY: we are only here because the base has an xOpen.
    let Some(open) = (unsafe { (*shim.base).xOpen }) else { return ffi::ERROR };
    // SAFETY: SQLite's own arguments.
    let Some(wanted) = (unsafe { Wanted::new(shim, name, flags) }) else {
        // The base's own file, in memory that is a little too large for it.
        // SAFETY: SQLite's own arguments.
        return unsafe { open(shim.base, name, file, flags, out_flags) };
    };
    // SAFETY: our `szOsFile` is the size of a `Head` and the base's file.
    let inner = unsafe { file.cast::<Head>().add(1).cast::<sqlite3_file>() };
    // SAFETY: as above. The memory holds anything; the base may leave `pMethods` alone when it fails.
    unsafe { (*inner).pMethods = ptr::null() };
    let start = clock::now();
    // SAFETY: the base's own method with its own object; the memory behind `inner` is as large as it asks for.
    let rc = Inside::of(name, || unsafe { open(shim.base, name, inner, flags, out_flags) });
    let end = clock::now();
    // SAFETY: `inner` is initialised above or by the base. Ours is SQLite's memory; null: it is not open, and must not be closed.
    unsafe {
        if (*inner).pMethods.is_null() {
            (*file).pMethods = ptr::null();
            wanted.failed(shim, (name, flags), (rc, start, end));
        } else {
            wanted.opened(shim, (Way::Wrapped, shim.base), file, (name, flags), (rc, start, end));
        }
    }
    rc
}

pub(super) unsafe extern "C-unwind" fn x_delete(vfs: *mut sqlite3_vfs, name: *const c_char, sync_dir: c_int) -> c_int {
    // SAFETY: SQLite calls this method, on our VFS.
    let Some(shim) = (unsafe { Shim::behind(vfs) }) else { return ffi::ERROR };
    // SAFETY: the base's own method; we are only here because it has one.
    let Some(delete) = (unsafe { (*shim.base).xDelete }) else { return ffi::ERROR };
    // SAFETY: SQLite's own arguments.
    unsafe { deleting(shim, name, || delete(shim.base, name, sync_dir)) }
}

/// Calls the base's `xDelete`, and records it if what goes away is a journal or a WAL.
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
    // A process that has opened no database yet has nothing to record.
    if let (Some(log), Some(known)) = (recorder::current(), shim.known()) {
        let last = thread::worked_on();
        // The pager deletes its own journal, on the thread that has just closed or locked it; the path must agree.
        let (conn, number, flags) = if last.log == log.serial() && last.path == sql_hash(database) {
            (last.conn, last.file, last.flags.with(Flags::ASSUMED))
        } else {
            let _errno = recorder::Errno::save();
            (0, log.file(&known.library, database), Flags(0))
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

pub(super) unsafe extern "C-unwind" fn x_sleep(vfs: *mut sqlite3_vfs, microseconds: c_int) -> c_int {
    // SAFETY: SQLite calls this method, on our VFS.
    let Some(shim) = (unsafe { Shim::behind(vfs) }) else { return 0 };
    // SAFETY: the base's own method; we are only here because it has one.
    let Some(sleep) = (unsafe { (*shim.base).xSleep }) else { return 0 };
    // SAFETY: SQLite's own argument.
    sleeping(microseconds, || unsafe { sleep(shim.base, microseconds) })
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

/// What stands for the system call by which another copy of this library recognises us. It does nothing.
pub(super) unsafe extern "C" fn x_get_system_call_here() {}

/// System calls are the base's, but for one name by which another copy of this library recognises us.
pub(super) unsafe extern "C-unwind" fn x_get_system_call(vfs: *mut sqlite3_vfs, name: *const c_char) -> DlSymbol {
    // SAFETY: a name is NUL-terminated.
    if !name.is_null() && unsafe { CStr::from_ptr(name) } == SIGNATURE {
        return Some(x_get_system_call_here);
    }
    // SAFETY: SQLite calls this method, on our VFS.
    let shim = unsafe { Shim::behind(vfs) }?;
    // SAFETY: the slot belongs to version 3, which the base declared when we mirrored it; its own object and SQLite's argument.
    unsafe { (*shim.base).xGetSystemCall?(shim.base, name) }
}

/// Methods that have nothing to do with locks: straight to the base, or the neutral answer if it took them away since.
macro_rules! pass {
    ($($name:ident => $method:ident($($argument:ident: $type:ty),*) $(-> $result:ty, $neutral:expr)?;)*) => {
        $(
            #[allow(clippy::question_mark)] // for those that give an `Option` it would do
            pub(super) unsafe extern "C-unwind" fn $name(vfs: *mut sqlite3_vfs $(, $argument: $type)*) $(-> $result)? {
                // SAFETY: SQLite calls this method, on our VFS.
                let Some(shim) = (unsafe { Shim::behind(vfs) }) else { return $($neutral)? };
                // SAFETY: the slot belongs to a version that the base declared when we mirrored it.
                match unsafe { (&raw const (*shim.base).$method).read() } {
                    // SAFETY: the base's own method with its own object and SQLite's arguments.
                    Some(method) => unsafe { method(shim.base $(, $argument)*) },
                    None => { $($neutral)? }
                }
            }
        )*
    };
}

pass! {
    x_access => xAccess(name: *const c_char, flags: c_int, answer: *mut c_int) -> c_int, ffi::ERROR;
    x_full_pathname => xFullPathname(name: *const c_char, size: c_int, out: *mut c_char) -> c_int, ffi::ERROR;
    x_dl_open => xDlOpen(name: *const c_char) -> *mut c_void, ptr::null_mut();
    x_dl_error => xDlError(size: c_int, message: *mut c_char);
    x_dl_sym => xDlSym(handle: *mut c_void, symbol: *const c_char) -> DlSymbol, None;
    x_dl_close => xDlClose(handle: *mut c_void);
    x_randomness => xRandomness(size: c_int, out: *mut c_char) -> c_int, 0;
    x_current_time => xCurrentTime(time: *mut c_double) -> c_int, ffi::ERROR;
    x_get_last_error => xGetLastError(size: c_int, message: *mut c_char) -> c_int, 0;
    x_current_time_int64 => xCurrentTimeInt64(time: *mut i64) -> c_int, ffi::ERROR;
    x_set_system_call => xSetSystemCall(name: *const c_char, call: DlSymbol) -> c_int, ffi::ERROR;
    x_next_system_call => xNextSystemCall(name: *const c_char) -> *const c_char, ptr::null();
}
