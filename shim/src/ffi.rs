//! The layout of SQLite's VFS objects.
//!
//! Taken from <https://sqlite.org/c3ref/vfs.html>, <https://sqlite.org/c3ref/file.html> and
//! <https://sqlite.org/c3ref/io_methods.html>; both structures only ever grow at their end, announced by `iVersion`. Ours, rather
//! than libsqlite3-sys's, so that the shim links no SQLite and switches no other crate's linking mode. `tests/contract/layout.rs` compares
//! every size and offset with `rusqlite::ffi`.

use std::ffi::{c_char, c_double, c_int, c_void};

/// An open file. Only its first field is SQLite's; the VFS that opened it owns what follows.
#[repr(C)]
#[derive(Debug)]
pub struct sqlite3_file {
    /// The methods of an open file, or null for one that is not open.
    pub pMethods: *const sqlite3_io_methods,
}

/// A connection; opaque.
#[repr(C)]
pub struct sqlite3 {
    _opaque: [u8; 0],
}

/// A prepared statement; opaque.
#[repr(C)]
pub struct sqlite3_stmt {
    _opaque: [u8; 0],
}

/// The target for the result of a SQL function or column; opaque.
#[repr(C)]
pub struct sqlite3_context {
    _opaque: [u8; 0],
}

/// A virtual table. Only these fields are SQLite's (<https://sqlite.org/c3ref/vtab.html>). The module that made it owns what follows.
#[repr(C)]
#[derive(Debug)]
#[allow(missing_docs)]
pub struct sqlite3_vtab {
    pub pModule: *const sqlite3_module,
    pub nRef: c_int,
    pub zErrMsg: *mut c_char,
}

/// A cursor on a virtual table (<https://sqlite.org/c3ref/vtab_cursor.html>).
#[repr(C)]
#[derive(Debug)]
#[allow(missing_docs)]
pub struct sqlite3_vtab_cursor {
    pub pVtab: *mut sqlite3_vtab,
}

/// The methods of a virtual table, as far as a read-only one has them; an `iVersion` of 0 or 1 ends with `xRename`.
#[repr(C)]
#[derive(Debug)]
#[allow(missing_docs)] // SQLite documents each at vtab.html.
pub struct sqlite3_module {
    pub iVersion: c_int,
    pub xCreate: Option<VtabConnect>,
    pub xConnect: Option<VtabConnect>,
    pub xBestIndex: Option<unsafe extern "C" fn(*mut sqlite3_vtab, *mut c_void) -> c_int>,
    pub xDisconnect: Option<unsafe extern "C" fn(*mut sqlite3_vtab) -> c_int>,
    pub xDestroy: Option<unsafe extern "C" fn(*mut sqlite3_vtab) -> c_int>,
    pub xOpen: Option<unsafe extern "C" fn(*mut sqlite3_vtab, *mut *mut sqlite3_vtab_cursor) -> c_int>,
    pub xClose: Option<unsafe extern "C" fn(*mut sqlite3_vtab_cursor) -> c_int>,
    pub xFilter: Option<unsafe extern "C" fn(*mut sqlite3_vtab_cursor, c_int, *const c_char, c_int, *mut *mut c_void) -> c_int>,
    pub xNext: Option<unsafe extern "C" fn(*mut sqlite3_vtab_cursor) -> c_int>,
    pub xEof: Option<unsafe extern "C" fn(*mut sqlite3_vtab_cursor) -> c_int>,
    pub xColumn: Option<unsafe extern "C" fn(*mut sqlite3_vtab_cursor, *mut sqlite3_context, c_int) -> c_int>,
    pub xRowid: Option<unsafe extern "C" fn(*mut sqlite3_vtab_cursor, *mut i64) -> c_int>,
    /// `xUpdate` to `xIntegrity`: none of them, ever.
    pub rest: [Option<unsafe extern "C" fn()>; 12],
}

type VtabConnect =
    unsafe extern "C" fn(*mut sqlite3, *mut c_void, c_int, *const *const c_char, *mut *mut sqlite3_vtab, *mut *mut c_char) -> c_int;

/// What `xDlSym` returns.
pub type DlSymbol = Option<unsafe extern "C" fn()>;

type File = *mut sqlite3_file;
type Vfs = *mut sqlite3_vfs;

/// The methods of a file. A thread that is cancelled inside one (`pthread_cancel`) unwinds through it. Version 1 ends with `xDeviceCharacteristics`,
/// version 2 with `xShmUnmap`, version 3 with `xUnfetch`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // SQLite documents each at c3ref/io_methods.html.
pub struct sqlite3_io_methods {
    pub iVersion: c_int,
    pub xClose: Option<unsafe extern "C-unwind" fn(File) -> c_int>,
    pub xRead: Option<unsafe extern "C-unwind" fn(File, *mut c_void, c_int, i64) -> c_int>,
    pub xWrite: Option<unsafe extern "C-unwind" fn(File, *const c_void, c_int, i64) -> c_int>,
    pub xTruncate: Option<unsafe extern "C-unwind" fn(File, i64) -> c_int>,
    pub xSync: Option<unsafe extern "C-unwind" fn(File, c_int) -> c_int>,
    pub xFileSize: Option<unsafe extern "C-unwind" fn(File, *mut i64) -> c_int>,
    pub xLock: Option<unsafe extern "C-unwind" fn(File, c_int) -> c_int>,
    pub xUnlock: Option<unsafe extern "C-unwind" fn(File, c_int) -> c_int>,
    pub xCheckReservedLock: Option<unsafe extern "C-unwind" fn(File, *mut c_int) -> c_int>,
    pub xFileControl: Option<unsafe extern "C-unwind" fn(File, c_int, *mut c_void) -> c_int>,
    pub xSectorSize: Option<unsafe extern "C-unwind" fn(File) -> c_int>,
    pub xDeviceCharacteristics: Option<unsafe extern "C-unwind" fn(File) -> c_int>,
    pub xShmMap: Option<unsafe extern "C-unwind" fn(File, c_int, c_int, c_int, *mut *mut c_void) -> c_int>,
    pub xShmLock: Option<unsafe extern "C-unwind" fn(File, c_int, c_int, c_int) -> c_int>,
    pub xShmBarrier: Option<unsafe extern "C-unwind" fn(File)>,
    pub xShmUnmap: Option<unsafe extern "C-unwind" fn(File, c_int) -> c_int>,
    pub xFetch: Option<unsafe extern "C-unwind" fn(File, i64, c_int, *mut *mut c_void) -> c_int>,
    pub xUnfetch: Option<unsafe extern "C-unwind" fn(File, i64, *mut c_void) -> c_int>,
}

/// A VFS. Version 1 ends with `xGetLastError`, version 2 with `xCurrentTimeInt64`, version 3 with `xNextSystemCall`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // SQLite documents each at c3ref/vfs.html.
pub struct sqlite3_vfs {
    pub iVersion: c_int,
    pub szOsFile: c_int,
    pub mxPathname: c_int,
    pub pNext: Vfs,
    pub zName: *const c_char,
    pub pAppData: *mut c_void,
    pub xOpen: Option<unsafe extern "C-unwind" fn(Vfs, *const c_char, File, c_int, *mut c_int) -> c_int>,
    pub xDelete: Option<unsafe extern "C-unwind" fn(Vfs, *const c_char, c_int) -> c_int>,
    pub xAccess: Option<unsafe extern "C-unwind" fn(Vfs, *const c_char, c_int, *mut c_int) -> c_int>,
    pub xFullPathname: Option<unsafe extern "C-unwind" fn(Vfs, *const c_char, c_int, *mut c_char) -> c_int>,
    pub xDlOpen: Option<unsafe extern "C-unwind" fn(Vfs, *const c_char) -> *mut c_void>,
    pub xDlError: Option<unsafe extern "C-unwind" fn(Vfs, c_int, *mut c_char)>,
    pub xDlSym: Option<unsafe extern "C-unwind" fn(Vfs, *mut c_void, *const c_char) -> DlSymbol>,
    pub xDlClose: Option<unsafe extern "C-unwind" fn(Vfs, *mut c_void)>,
    pub xRandomness: Option<unsafe extern "C-unwind" fn(Vfs, c_int, *mut c_char) -> c_int>,
    pub xSleep: Option<unsafe extern "C-unwind" fn(Vfs, c_int) -> c_int>,
    pub xCurrentTime: Option<unsafe extern "C-unwind" fn(Vfs, *mut c_double) -> c_int>,
    pub xGetLastError: Option<unsafe extern "C-unwind" fn(Vfs, c_int, *mut c_char) -> c_int>,
    pub xCurrentTimeInt64: Option<unsafe extern "C-unwind" fn(Vfs, *mut i64) -> c_int>,
    pub xSetSystemCall: Option<unsafe extern "C-unwind" fn(Vfs, *const c_char, DlSymbol) -> c_int>,
    pub xGetSystemCall: Option<unsafe extern "C-unwind" fn(Vfs, *const c_char) -> DlSymbol>,
    pub xNextSystemCall: Option<unsafe extern "C-unwind" fn(Vfs, *const c_char) -> *const c_char>,
}

/// `SQLITE_OK`
pub const OK: c_int = 0;
/// `SQLITE_ERROR`
pub const ERROR: c_int = 1;
/// `SQLITE_IOERR`
pub const IOERR: c_int = 10;
/// `SQLITE_NOMEM`
pub const NOMEM: c_int = 7;
/// `SQLITE_OK_LOAD_PERMANENTLY`: the extension must stay loaded when its connection closes.
pub const OK_LOAD_PERMANENTLY: c_int = 256;

/// `SQLITE_OPEN_READONLY`
pub const OPEN_READONLY: c_int = 1;
/// `SQLITE_OPEN_MAIN_DB`
pub const OPEN_MAIN_DB: c_int = 0x100;
/// `SQLITE_OPEN_MAIN_JOURNAL`
pub const OPEN_MAIN_JOURNAL: c_int = 0x800;
/// `SQLITE_OPEN_WAL`
pub const OPEN_WAL: c_int = 0x80000;

/// `SQLITE_SHM_UNLOCK`
pub const SHM_UNLOCK: c_int = 1;
/// `SQLITE_SHM_EXCLUSIVE`
pub const SHM_EXCLUSIVE: c_int = 8;

/// `SQLITE_FCNTL_LOCKSTATE`: the level the VFS believes it holds, as an int.
pub const FCNTL_LOCKSTATE: c_int = 1;
/// `SQLITE_FCNTL_VFSNAME`: the stack of VFS names, in memory the caller frees.
pub const FCNTL_VFSNAME: c_int = 12;
/// `SQLITE_FCNTL_PRAGMA`: an array of strings: the answer, the name, the value or null.
pub const FCNTL_PRAGMA: c_int = 14;
/// `SQLITE_FCNTL_PDB`: a `sqlite3**`, valid until `xClose`.
pub const FCNTL_PDB: c_int = 30;
/// `SQLITE_FCNTL_CKPT_DONE`
pub const FCNTL_CKPT_DONE: c_int = 37;
/// `SQLITE_FCNTL_CKPT_START`
pub const FCNTL_CKPT_START: c_int = 39;
