//! The methods of the VFS itself. Three of them tell something about locks: a file opens, a journal or WAL goes away, somebody
//! sleeps. The others go straight to the base. Every one of them hands the base *its own* VFS object.

use super::file::File;
use super::{SIGNATURE, Shim, tables};
use crate::clock;
use crate::event::{FileKind, Flags, Kind, ResultCode};
use crate::ffi::{self, DlSymbol, sqlite3_file, sqlite3_vfs};
use crate::format::record::Record;
use crate::format::sql_hash;
use crate::recorder::{self, guarded, thread};
use std::ffi::{CStr, c_char, c_double, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

/// Connections opened in this process so far.
static CONNECTIONS: AtomicU32 = AtomicU32::new(0);

/// A program's own VFS can lie between two of ours: over ours, and wrapped itself. Then the outer one tells what SQLite sees, and the inner
/// one, called on the same thread about the same file, is silent.
struct Inside(*const c_char);

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
    fn of<R>(name: *const c_char, call: impl FnOnce() -> R) -> R {
        let _inside = Inside(thread::go_inside(name));
        call()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        thread::go_inside(self.0);
    }
}

pub(super) unsafe extern "C" fn x_open(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls this method, on our VFS.
    let shim = unsafe { Shim::behind(vfs) };
    // SAFETY: we are only here because the base has an xOpen.
    let Some(open) = (unsafe { (*shim.base).xOpen }) else { return ffi::ERROR };
    let kind = match flags & (ffi::OPEN_MAIN_DB | ffi::OPEN_MAIN_JOURNAL | ffi::OPEN_WAL) {
        ffi::OPEN_MAIN_DB => FileKind::DATABASE,
        ffi::OPEN_MAIN_JOURNAL => FileKind::JOURNAL,
        ffi::OPEN_WAL => FileKind::WAL,
        _ => FileKind::NONE,
    };
    // SAFETY: SQLite's own argument, NUL-terminated where it is not null.
    if kind == FileKind::NONE || name.is_null() || unsafe { Inside::already(name) } {
        // SAFETY: SQLite's own arguments; the memory is at least as large as the base asks for.
        return unsafe { open(shim.base, name, file, flags, out_flags) };
    }
    // SAFETY: our `szOsFile` is the size of a `File` and the base's.
    let inner = unsafe { file.cast::<File>().add(1).cast::<sqlite3_file>() };
    // SAFETY: as above. The memory holds anything; the base may leave `pMethods` alone when it fails.
    unsafe { (*inner).pMethods = ptr::null() };
    let start = clock::now();
    // SAFETY: the base's own method with its own object; the memory behind `inner` is as large as it asks for.
    let rc = Inside::of(name, || unsafe { open(shim.base, name, inner, flags, out_flags) });
    let end = clock::now();
    // SAFETY: `inner` is initialised above or by the base.
    let methods = unsafe { (*inner).pMethods };
    if methods.is_null() {
        // SAFETY: SQLite's memory for this file. Null: it is not open, and must not be closed.
        unsafe { (*file).pMethods = ptr::null() };
    } else {
        // A journal opened read-only may be another database's, by a name out of a super-journal (SQLite has called these
        // SQLITE_OPEN_SUPER_JOURNAL for some versions only). The pager knows no such name, and nothing of it is recorded anyway.
        let foreign = kind == FileKind::JOURNAL && flags & ffi::OPEN_READONLY != 0;
        let database = if kind == FileKind::DATABASE || foreign {
            ptr::null()
        } else {
            // SAFETY: SQLite opened its own journal or WAL, so `name` is one of the pager's own names.
            unsafe { owner(shim, name) }
        };
        let conn = if kind == FileKind::DATABASE { CONNECTIONS.fetch_add(1, Ordering::Relaxed).wrapping_add(1) } else { 0 };
        // SAFETY: the base opened the file with this table; the memory is ours to write.
        unsafe {
            let ours = File::new(tables::mirror(methods), shim, kind, name, database, conn);
            file.cast::<File>().write(ours);
        }
    }
    if kind == FileKind::JOURNAL {
        return rc;
    }
    if methods.is_null() {
        if kind == FileKind::DATABASE
            && let Some(log) = recorder::get()
        {
            let _errno = recorder::Errno::save();
            // SAFETY: SQLite's path, NUL-terminated.
            let number = guarded(|| log.file(&shim.library, unsafe { CStr::from_ptr(name) }.to_bytes()));
            log.write(&Record {
                start,
                duration: end.wrapping_sub(start),
                file: number,
                file_kind: kind,
                rc: ResultCode(rc),
                arg: u64::from(flags as u32),
                ..Record::new(Kind::OPEN)
            });
        }
        return rc;
    }
    // SAFETY: written above.
    let file = unsafe { File::of(file) };
    if kind == FileKind::DATABASE {
        file.enter();
    }
    if let Some(log) = file.owner().log() {
        log.write(&Record { rc: ResultCode(rc), arg: u64::from(flags as u32), ..file.record(Kind::OPEN, start, end) });
        log.anchor(end);
    }
    rc
}

/// The database file whose journal or WAL has this name; null where SQLite is too old to say, or where the file that SQLite
/// knows is not ours (another shim lies on top of us).
///
/// # Safety
/// `name` is the journal or WAL name SQLite passed to `xOpen`.
unsafe fn owner(shim: &Shim, name: *const c_char) -> *const File {
    let Some(database_file_object) = shim.api.database_file_object else { return ptr::null() };
    // SAFETY: the name is of the kind this function asks for (https://sqlite.org/c3ref/database_file_object.html).
    let file = unsafe { database_file_object(name) };
    if file.is_null() {
        return ptr::null();
    }
    // SAFETY: SQLite's file object of an open database.
    let methods = unsafe { (*file).pMethods };
    if tables::is_ours(methods) { file.cast() } else { ptr::null() }
}

pub(super) unsafe extern "C" fn x_delete(vfs: *mut sqlite3_vfs, name: *const c_char, sync_dir: c_int) -> c_int {
    // SAFETY: SQLite calls this method, on our VFS.
    let shim = unsafe { Shim::behind(vfs) };
    // SAFETY: the base's own method; we are only here because it has one.
    let Some(delete) = (unsafe { (*shim.base).xDelete }) else { return ffi::ERROR };
    let start = clock::now();
    // SAFETY: SQLite's own arguments.
    let rc = Inside::of(name, || unsafe { delete(shim.base, name, sync_dir) });
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
    // A process that has opened nothing yet has nothing to tell.
    if let Some(log) = recorder::current() {
        let last = thread::worked_on();
        // The pager deletes its own journal, on the thread that has just closed or locked it; the path must agree.
        let (conn, number, flags) = if last.log == log.serial() && last.path == sql_hash(database) {
            (last.conn, last.file, last.flags.with(Flags::ASSUMED))
        } else {
            (0, guarded(|| log.file(&shim.library, database)), Flags(0))
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

pub(super) unsafe extern "C" fn x_sleep(vfs: *mut sqlite3_vfs, microseconds: c_int) -> c_int {
    // SAFETY: SQLite calls this method, on our VFS.
    let shim = unsafe { Shim::behind(vfs) };
    // SAFETY: the base's own method; we are only here because it has one.
    let Some(sleep) = (unsafe { (*shim.base).xSleep }) else { return 0 };
    let start = clock::now();
    // SAFETY: SQLite's own argument.
    let slept = Inside::of(&raw const SLEEP, || unsafe { sleep(shim.base, microseconds) });
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

/// System calls are the base's, but for one name by which another copy of this library recognises us.
pub(super) unsafe extern "C" fn x_get_system_call(vfs: *mut sqlite3_vfs, name: *const c_char) -> DlSymbol {
    unsafe extern "C" fn here() {}
    // SAFETY: SQLite calls this method, on our VFS.
    let shim = unsafe { Shim::behind(vfs) };
    // SAFETY: a name is NUL-terminated.
    if !name.is_null() && unsafe { CStr::from_ptr(name) } == SIGNATURE {
        return Some(here);
    }
    // SAFETY: the slot belongs to version 3, which the base declared when we mirrored it; its own object and SQLite's argument.
    unsafe { (*shim.base).xGetSystemCall?(shim.base, name) }
}

/// Methods that say nothing about locks: straight to the base, or the neutral answer if it took them away since.
macro_rules! pass {
    ($($name:ident => $method:ident($($argument:ident: $type:ty),*) $(-> $result:ty, $neutral:expr)?;)*) => {
        $(
            pub(super) unsafe extern "C" fn $name(vfs: *mut sqlite3_vfs $(, $argument: $type)*) $(-> $result)? {
                // SAFETY: SQLite calls this method, on our VFS.
                let shim = unsafe { Shim::behind(vfs) };
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
