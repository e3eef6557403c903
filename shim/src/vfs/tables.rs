//! Method tables of files, which promise exactly what the base's promise.
//!
//! SQLite reads capabilities off a table: `iVersion` shows which slots exist, and a null slot that a feature does not
//! (`xShmMap == 0`: no WAL). So a table of ours has the base's version and the base's null slots. Each open file has a table of its own
//! ([`super::file`]).

use super::{io, lock, shm};
use crate::ffi::sqlite3_io_methods;

/// The template, with every slot ours.
const ALL: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 3,
    xClose: Some(io::x_close),
    xRead: Some(io::x_read),
    xWrite: Some(io::x_write),
    xTruncate: Some(io::x_truncate),
    xSync: Some(io::x_sync),
    xFileSize: Some(io::x_file_size),
    xLock: Some(lock::x_lock),
    xUnlock: Some(lock::x_unlock),
    xCheckReservedLock: Some(lock::x_check_reserved_lock),
    xFileControl: Some(super::control::x_file_control),
    xSectorSize: Some(io::x_sector_size),
    xDeviceCharacteristics: Some(io::x_device_characteristics),
    xShmMap: Some(shm::x_shm_map),
    xShmLock: Some(shm::x_shm_lock),
    xShmBarrier: Some(shm::x_shm_barrier),
    xShmUnmap: Some(shm::x_shm_unmap),
    xFetch: Some(io::x_fetch),
    xUnfetch: Some(io::x_unfetch),
};

/// A copy of a base's table, as far as its version and ours go.
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
    // A version 1 table ends here. What follows it in memory must not be read.
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

/// Our table for a file with the base's file behind it. Every slot leads to us, and we pass the base its own file.
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

/// The base's table with the slots replaced that concern us, for the base's own file. All other calls go straight to the base.
///
/// # Safety
/// `base` is the method table of an open file.
pub(super) unsafe fn watching(base: *const sqlite3_io_methods) -> sqlite3_io_methods {
    // SAFETY: the caller's promise.
    let mut table = unsafe { copy(base) };
    ours!(table: xClose xWrite xSync xLock xUnlock xCheckReservedLock xFileControl xShmMap xShmLock xShmUnmap);
    table
}
