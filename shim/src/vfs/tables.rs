//! Method tables that promise exactly what the base promises.
//!
//! SQLite reads capabilities off a table: `iVersion` says which slots exist, and a null slot says a feature does not
//! (`xShmMap == 0`: no WAL). So each distinct shape of base table gets one table of ours with the same version and the same null
//! slots. Tables are never freed, and there are only as many as shapes.

use super::{file, lock, shm};
use crate::ffi::{sqlite3_io_methods, sqlite3_vfs};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

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

#[derive(Debug)]
struct Node {
    shape: u32,
    table: sqlite3_io_methods,
    next: *mut Node,
}

static TABLES: AtomicPtr<Node> = AtomicPtr::new(ptr::null_mut());

/// Our table for a base table: same version (3 at most: what a later one adds is unknown here), same null slots.
///
/// # Safety
/// `base` is the method table of a file the base VFS opened.
pub unsafe fn mirror(base: *const sqlite3_io_methods) -> *const sqlite3_io_methods {
    // SAFETY: every table starts with its version.
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
    let mut shape = 0;
    macro_rules! copy {
        ($($slot:ident)*) => {
            $(
                // SAFETY: the slot belongs to a version the base declares, so it is there.
                let present = unsafe { (&raw const (*base).$slot).read() }.is_some();
                table.$slot = if present { ALL.$slot } else { None };
                shape = shape << 1 | u32::from(present);
            )*
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

    let mut node = TABLES.load(Ordering::Acquire);
    // SAFETY: nodes are leaked, and published whole.
    while let Some(known) = unsafe { node.as_ref() } {
        if known.shape == shape && known.table.iVersion == table.iVersion {
            return &raw const known.table;
        }
        node = known.next;
    }
    // Two threads may both add the same shape the first time; then there are two equal tables, which is harmless.
    let fresh = Box::leak(Box::new(Node { shape, table, next: TABLES.load(Ordering::Acquire) }));
    loop {
        match TABLES.compare_exchange_weak(fresh.next, &raw mut *fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return &raw const fresh.table,
            Err(now) => fresh.next = now,
        }
    }
}

/// Whether a file with these methods was opened by us.
pub fn is_ours(methods: *const sqlite3_io_methods) -> bool {
    let mut node = TABLES.load(Ordering::Acquire);
    // SAFETY: nodes are leaked, and published whole.
    while let Some(known) = unsafe { node.as_ref() } {
        if ptr::eq(&raw const known.table, methods) {
            return true;
        }
        node = known.next;
    }
    false
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
