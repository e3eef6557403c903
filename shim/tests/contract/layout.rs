//! Our FFI structs and constants against `rusqlite::ffi`: every size, every offset, every number.
#![allow(missing_docs)]

use locktrace::ffi as ours;
use rusqlite::ffi as theirs;
use std::mem::{align_of, offset_of, size_of};

macro_rules! same_layout {
    ($name:ident { $($field:ident)* }) => {{
        assert_eq!(size_of::<ours::$name>(), size_of::<theirs::$name>(), stringify!($name));
        assert_eq!(align_of::<ours::$name>(), align_of::<theirs::$name>(), stringify!($name));
        let mut next = 0;
        $(
            let offset = offset_of!(ours::$name, $field);
            assert_eq!(offset, offset_of!(theirs::$name, $field), stringify!($name.$field));
            assert!(offset >= next, "fields are listed in their order");
            next = offset + 1;
        )*
        // The last field is a pointer and ends the struct: none is missing from the list above.
        assert_eq!(next - 1 + size_of::<usize>(), size_of::<theirs::$name>(), "a field is missing from the list");
    }};
}

#[test]
fn sqlite3_file() {
    same_layout!(sqlite3_file { pMethods });
}

#[test]
fn sqlite3_io_methods() {
    same_layout!(sqlite3_io_methods {
        iVersion xClose xRead xWrite xTruncate xSync xFileSize xLock xUnlock xCheckReservedLock xFileControl xSectorSize
        xDeviceCharacteristics xShmMap xShmLock xShmBarrier xShmUnmap xFetch xUnfetch
    });
}

#[test]
fn sqlite3_vfs() {
    same_layout!(sqlite3_vfs {
        iVersion szOsFile mxPathname pNext zName pAppData xOpen xDelete xAccess xFullPathname xDlOpen xDlError xDlSym xDlClose
        xRandomness xSleep xCurrentTime xGetLastError xCurrentTimeInt64 xSetSystemCall xGetSystemCall xNextSystemCall
    });
}

#[test]
fn sqlite3_vtab() {
    same_layout!(sqlite3_vtab { pModule nRef zErrMsg });
    same_layout!(sqlite3_vtab_cursor { pVtab });
}

#[test]
fn sqlite3_module() {
    macro_rules! same {
        ($($field:ident)*) => { $(assert_eq!(offset_of!(ours::sqlite3_module, $field), offset_of!(theirs::sqlite3_module, $field));)* };
    }
    same!(iVersion xCreate xConnect xBestIndex xDisconnect xDestroy xOpen xClose xFilter xNext xEof xColumn xRowid);
    assert_eq!(offset_of!(ours::sqlite3_module, rest), offset_of!(theirs::sqlite3_module, xUpdate));
    assert_eq!(size_of::<ours::sqlite3_module>(), size_of::<theirs::sqlite3_module>());
}

#[test]
fn constants() {
    for (ours, theirs) in [
        (ours::OK, theirs::SQLITE_OK),
        (ours::ERROR, theirs::SQLITE_ERROR),
        (ours::OK_LOAD_PERMANENTLY, theirs::SQLITE_OK_LOAD_PERMANENTLY),
        (ours::OPEN_READONLY, theirs::SQLITE_OPEN_READONLY),
        (ours::OPEN_MAIN_DB, theirs::SQLITE_OPEN_MAIN_DB),
        (ours::OPEN_MAIN_JOURNAL, theirs::SQLITE_OPEN_MAIN_JOURNAL),
        (ours::OPEN_WAL, theirs::SQLITE_OPEN_WAL),
        (ours::SHM_UNLOCK, theirs::SQLITE_SHM_UNLOCK),
        (ours::SHM_EXCLUSIVE, theirs::SQLITE_SHM_EXCLUSIVE),
        (ours::FCNTL_LOCKSTATE, theirs::SQLITE_FCNTL_LOCKSTATE),
        (ours::FCNTL_VFSNAME, theirs::SQLITE_FCNTL_VFSNAME),
        (ours::NOMEM, theirs::SQLITE_NOMEM),
        (ours::FCNTL_PRAGMA, theirs::SQLITE_FCNTL_PRAGMA),
        (ours::FCNTL_PDB, theirs::SQLITE_FCNTL_PDB),
        (ours::FCNTL_CKPT_DONE, theirs::SQLITE_FCNTL_CKPT_DONE),
        (ours::FCNTL_CKPT_START, theirs::SQLITE_FCNTL_CKPT_START),
    ] {
        assert_eq!(ours, theirs);
    }
    use locktrace::event::{Level, ResultCode, Slot};
    for (ours, theirs) in [
        (Level::NONE, theirs::SQLITE_LOCK_NONE),
        (Level::SHARED, theirs::SQLITE_LOCK_SHARED),
        (Level::RESERVED, theirs::SQLITE_LOCK_RESERVED),
        (Level::PENDING, theirs::SQLITE_LOCK_PENDING),
        (Level::EXCLUSIVE, theirs::SQLITE_LOCK_EXCLUSIVE),
    ] {
        assert_eq!(i32::from(ours.0), theirs);
    }
    assert_eq!(i32::from(Slot::COUNT), theirs::SQLITE_SHM_NLOCK);
    assert_eq!(ResultCode::BUSY.0, theirs::SQLITE_BUSY);
    for extended in [theirs::SQLITE_BUSY_RECOVERY, theirs::SQLITE_BUSY_SNAPSHOT, theirs::SQLITE_BUSY_TIMEOUT] {
        assert!(ResultCode(extended).is_busy());
    }
    for (code, name) in [
        (theirs::SQLITE_OK, "OK"),
        (theirs::SQLITE_ERROR, "ERROR"),
        (theirs::SQLITE_INTERNAL, "INTERNAL"),
        (theirs::SQLITE_PERM, "PERM"),
        (theirs::SQLITE_BUSY, "BUSY"),
        (theirs::SQLITE_LOCKED, "LOCKED"),
        (theirs::SQLITE_NOMEM, "NOMEM"),
        (theirs::SQLITE_READONLY, "READONLY"),
        (theirs::SQLITE_IOERR, "IOERR"),
        (theirs::SQLITE_CORRUPT, "CORRUPT"),
        (theirs::SQLITE_NOTFOUND, "NOTFOUND"),
        (theirs::SQLITE_FULL, "FULL"),
        (theirs::SQLITE_CANTOPEN, "CANTOPEN"),
        (theirs::SQLITE_PROTOCOL, "PROTOCOL"),
        (theirs::SQLITE_MISUSE, "MISUSE"),
        (theirs::SQLITE_NOLFS, "NOLFS"),
        (theirs::SQLITE_AUTH, "AUTH"),
    ] {
        assert_eq!(ResultCode(code).name(), Some(name));
    }
}
