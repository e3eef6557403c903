//! The table of functions of the SQLite that the final program links.
//!
//! The functions are declared here. The crate that links SQLite defines them: rusqlite, sqlx, diesel or libsqlite3-sys of any version, bundled
//! or the system's. As a library, this crate depends on none of them, so it can neither fix their version nor switch their linking mode.

use shim::api::Api;
use shim::ffi::{sqlite3, sqlite3_stmt, sqlite3_vfs};
use shim::vfs::{self, UninstallError};
use std::ffi::{CStr, c_char, c_int};

unsafe extern "C" {
    fn sqlite3_libversion() -> *const c_char;
    fn sqlite3_libversion_number() -> c_int;
    fn sqlite3_sourceid() -> *const c_char;
    fn sqlite3_compileoption_get(n: c_int) -> *const c_char;
    fn sqlite3_vfs_find(name: *const c_char) -> *mut sqlite3_vfs;
    fn sqlite3_vfs_register(vfs: *mut sqlite3_vfs, make_default: c_int) -> c_int;
    fn sqlite3_vfs_unregister(vfs: *mut sqlite3_vfs) -> c_int;
    fn sqlite3_mprintf(format: *const c_char, ...) -> *mut c_char;
    fn sqlite3_next_stmt(db: *mut sqlite3, statement: *mut sqlite3_stmt) -> *mut sqlite3_stmt;
    fn sqlite3_stmt_busy(statement: *mut sqlite3_stmt) -> c_int;
    fn sqlite3_stmt_readonly(statement: *mut sqlite3_stmt) -> c_int;
    fn sqlite3_sql(statement: *mut sqlite3_stmt) -> *const c_char;
    fn sqlite3_initialize() -> c_int;
}

/// Initialises the linked SQLite, whose VFS list is empty before, and returns its functions.
pub fn api() -> Api {
    // SAFETY: sqlite3_initialize may be called at any time, by any thread, any number of times. Its result is not needed here:
    // if it failed there is no default VFS, and the installation reports that.
    unsafe { sqlite3_initialize() };
    Api {
        libversion: sqlite3_libversion,
        libversion_number: sqlite3_libversion_number,
        sourceid: Some(sqlite3_sourceid),
        compileoption_get: Some(sqlite3_compileoption_get),
        vfs_find: sqlite3_vfs_find,
        vfs_register: sqlite3_vfs_register,
        vfs_unregister: sqlite3_vfs_unregister,
        mprintf: sqlite3_mprintf,
        next_stmt: sqlite3_next_stmt,
        stmt_busy: sqlite3_stmt_busy,
        stmt_readonly: sqlite3_stmt_readonly,
        sql: sqlite3_sql,
    }
}

/// Removes the VFS of this name from the linked SQLite's list.
pub fn uninstall(name: &'static CStr) -> Result<(), UninstallError> {
    // SAFETY: both are the linked SQLite's.
    unsafe { vfs::uninstall(&api(), sqlite3_vfs_unregister, name) }
}
