//! The methods of a file that are not about locks: writing, syncing, closing, and those that only go through.

use super::file::{File, forward};
use crate::clock;
use crate::event::{FileKind, Kind, Level, ResultCode};
use crate::ffi::{self, sqlite3_file};
use crate::format::record::Record;
use std::ffi::{c_int, c_void};
use std::ptr;

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
    // From here on SQLite may be freeing its connection.
    file.connection.handle.set(ptr::null());
    let log = file.owner().log();
    let start = clock::now();
    file.restore();
    let rc = forward!(file, xClose);
    let end = clock::now();
    if let Some(log) = log {
        match file.kind {
            FileKind::DATABASE => {
                file.connection.flush_written(log, start);
                let mut record = file.record(Kind::CLOSE, start, end);
                (record.after, record.shm_shared, record.shm_exclusive) = (Level::NONE, 0, 0);
                log.write(&Record { rc: ResultCode(rc), ..record });
                log.anchor(end);
            }
            FileKind::WAL => {
                log.write(&Record { rc: ResultCode(rc), ..file.record(Kind::CLOSE, start, end) });
                file.owner().worked_on();
            }
            _ => file.owner().worked_on(),
        }
    }
    file.end();
    rc
}

/// Methods that have nothing to do with locks: straight to the base.
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
