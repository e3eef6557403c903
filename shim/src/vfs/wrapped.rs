//! The methods of a VFS of ours that is registered over another one. Each passes the base *its own* VFS object.

use super::copies::{SIGNATURE, x_get_system_call_here};
use super::file::{Head, Layout};
use super::open::{Inside, Wanted, deleting, sleeping};
use super::shim::Shim;
use crate::clock;
use crate::ffi::{self, DlSymbol, sqlite3_file, sqlite3_vfs};
use std::ffi::{CStr, c_char, c_double, c_int, c_void};
use std::ptr;

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
        // The base's own file, in memory that has room for a `Head`, too.
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
    // SAFETY: `inner` is initialised above or by the base, and `file` is SQLite's memory. SQLite closes no file whose `pMethods` is null.
    unsafe {
        if (*inner).pMethods.is_null() {
            (*file).pMethods = ptr::null();
            wanted.failed(shim, (name, flags), (rc, start, end));
        } else {
            wanted.opened(shim, (Layout::Wrapped, shim.base), file, (name, flags), (rc, start, end));
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

pub(super) unsafe extern "C-unwind" fn x_sleep(vfs: *mut sqlite3_vfs, microseconds: c_int) -> c_int {
    // SAFETY: SQLite calls this method, on our VFS.
    let Some(shim) = (unsafe { Shim::behind(vfs) }) else { return 0 };
    // SAFETY: the base's own method; we are only here because it has one.
    let Some(sleep) = (unsafe { (*shim.base).xSleep }) else { return 0 };
    // SAFETY: SQLite's own argument.
    sleeping(microseconds, || unsafe { sleep(shim.base, microseconds) })
}

/// System calls are the base's, except for the name by which another copy of this library recognises us.
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

/// Methods that have nothing to do with locks: straight to the base, or a neutral answer if the base took the method away since.
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

/// A VFS with our methods for this base: of the same version (3 at most), with the same null slots.
///
/// # Safety
/// `base` is a registered VFS.
pub(super) unsafe fn mirror(base: *const sqlite3_vfs) -> sqlite3_vfs {
    // SAFETY: a registered VFS has the fields of version 1.
    let version = unsafe { (*base).iVersion };
    let mut vfs = sqlite3_vfs {
        iVersion: version.min(3),
        szOsFile: 0,
        mxPathname: 0,
        pNext: ptr::null_mut(),
        zName: ptr::null(),
        pAppData: ptr::null_mut(),
        xOpen: None,
        xDelete: None,
        xAccess: None,
        xFullPathname: None,
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: None,
        xSleep: None,
        xCurrentTime: None,
        xGetLastError: None,
        xCurrentTimeInt64: None,
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    };
    macro_rules! copy {
        ($slot:ident, $ours:path) => {
            // SAFETY: the slot belongs to a version the base declares, so it is there.
            if unsafe { (&raw const (*base).$slot).read() }.is_some() {
                vfs.$slot = Some($ours);
            }
        };
    }
    // SAFETY: as above.
    unsafe {
        vfs.szOsFile = (*base).szOsFile;
        vfs.mxPathname = (*base).mxPathname;
    }
    copy!(xOpen, x_open);
    copy!(xDelete, x_delete);
    copy!(xAccess, x_access);
    copy!(xFullPathname, x_full_pathname);
    copy!(xDlOpen, x_dl_open);
    copy!(xDlError, x_dl_error);
    copy!(xDlSym, x_dl_sym);
    copy!(xDlClose, x_dl_close);
    copy!(xRandomness, x_randomness);
    copy!(xSleep, x_sleep);
    copy!(xCurrentTime, x_current_time);
    copy!(xGetLastError, x_get_last_error);
    if version >= 2 {
        copy!(xCurrentTimeInt64, x_current_time_int64);
    }
    if version >= 3 {
        copy!(xSetSystemCall, x_set_system_call);
        copy!(xGetSystemCall, x_get_system_call);
        copy!(xNextSystemCall, x_next_system_call);
    }
    vfs
}
