//! Method tables that promise exactly what the base promises.
//!
//! SQLite reads capabilities off a table: `iVersion` says which slots exist, and a null slot says a feature does not
//! (`xShmMap == 0`: no WAL). So a table of ours has the base's version and the base's null slots. Each open file has a table of its own,
//! at the beginning of its place ([`super::slab`]).

use super::{file, lock, shm};
use crate::ffi::{sqlite3_io_methods, sqlite3_vfs};
use std::ptr;

/// Every slot ours; the template the others are cut from.
const ALL: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 3,
    xClose: Some(file::x_close),
    xRead: Some(file::x_read),
    xWrite: Some(file::x_write),
    xTruncate: Some(file::x_truncate),
    xSync: Some(file::x_sync),
    xFileSize: Some(file::x_file_size),
    xLock: Some(lock::x_lock),
    xUnlock: Some(lock::x_unlock),
    xCheckReservedLock: Some(lock::x_check_reserved_lock),
    xFileControl: Some(super::control::x_file_control),
    xSectorSize: Some(file::x_sector_size),
    xDeviceCharacteristics: Some(file::x_device_characteristics),
    xShmMap: Some(shm::x_shm_map),
    xShmLock: Some(shm::x_shm_lock),
    xShmBarrier: Some(shm::x_shm_barrier),
    xShmUnmap: Some(shm::x_shm_unmap),
    xFetch: Some(file::x_fetch),
    xUnfetch: Some(file::x_unfetch),
};

/// A copy of a base's table, as far as its version goes; what a later version adds is unknown here.
///
/// # Safety
/// `base` is the method table of an open file.
unsafe fn copy(base: *const sqlite3_io_methods) -> sqlite3_io_methods {
    // SAFETY: every table begins with its version.
    let version = unsafe { (&raw const (*base).iVersion).read() };
    let mut table = sqlite3_io_methods {
        iVersion: version.min(3),
        xShmMap: None,
        xShmLock: None,
        xShmBarrier: None,
        xShmUnmap: None,
        xFetch: None,
        xUnfetch: None,
        ..ALL
    };
    macro_rules! copy {
        ($($slot:ident)*) => {
            // SAFETY: the slots belong to a version the base declares, so they are there.
            $(table.$slot = unsafe { (&raw const (*base).$slot).read() };)*
        };
    }
    copy!(xClose xRead xWrite xTruncate xSync xFileSize xLock xUnlock xCheckReservedLock xFileControl xSectorSize
        xDeviceCharacteristics);
    // A version 1 table ends here; what follows it in memory is not ours to read.
    if version >= 2 {
        copy!(xShmMap xShmLock xShmBarrier xShmUnmap);
    }
    if version >= 3 {
        copy!(xFetch xUnfetch);
    }
    table
}

/// Puts ours into those slots of a table that it has.
macro_rules! ours {
    ($table:ident: $($slot:ident)*) => {
        $(if $table.$slot.is_some() { $table.$slot = ALL.$slot; })*
    };
}

/// Our table over a file of the base's that lies behind ours: every slot leads to us, who pass the base its own file.
///
/// # Safety
/// `base` is the method table of a file the base VFS opened.
pub(super) unsafe fn wrapping(base: *const sqlite3_io_methods) -> sqlite3_io_methods {
    // SAFETY: the caller's promise.
    let mut table = unsafe { copy(base) };
    ours!(table: xClose xRead xWrite xTruncate xSync xFileSize xLock xUnlock xCheckReservedLock xFileControl xSectorSize
        xDeviceCharacteristics xShmMap xShmLock xShmBarrier xShmUnmap xFetch xUnfetch);
    table
}

/// The base's table with the slots replaced that we look at: for the base's own file, to which all others go straight.
///
/// # Safety
/// `base` is the method table of an open file.
pub(super) unsafe fn watching(base: *const sqlite3_io_methods) -> sqlite3_io_methods {
    // SAFETY: the caller's promise.
    let mut table = unsafe { copy(base) };
    ours!(table: xClose xWrite xSync xLock xUnlock xCheckReservedLock xFileControl xShmMap xShmLock xShmUnmap);
    table
}
/// Our VFS methods for a base VFS: same version (3 at most), same null slots.
///
/// # Safety
/// `base` is a registered VFS.
pub unsafe fn mirror_vfs(base: *const sqlite3_vfs) -> sqlite3_vfs {
    use super::open;
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
    copy!(xOpen, open::x_open);
    copy!(xDelete, open::x_delete);
    copy!(xAccess, open::x_access);
    copy!(xFullPathname, open::x_full_pathname);
    copy!(xDlOpen, open::x_dl_open);
    copy!(xDlError, open::x_dl_error);
    copy!(xDlSym, open::x_dl_sym);
    copy!(xDlClose, open::x_dl_close);
    copy!(xRandomness, open::x_randomness);
    copy!(xSleep, open::x_sleep);
    copy!(xCurrentTime, open::x_current_time);
    copy!(xGetLastError, open::x_get_last_error);
    if version >= 2 {
        copy!(xCurrentTimeInt64, open::x_current_time_int64);
    }
    if version >= 3 {
        copy!(xSetSystemCall, open::x_set_system_call);
        copy!(xGetSystemCall, open::x_get_system_call);
        copy!(xNextSystemCall, open::x_next_system_call);
    }
    vfs
}
