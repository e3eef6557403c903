//! A table of the few functions of SQLite that we call.
//!
//! Each SQLite library in a process has its own VFS list and its own functions, and a process can have two. So a table belongs to one library, and is
//! filled from it alone: from the `sqlite3_api_routines` that an extension gets, from the symbols that a Rust program links, or by [`crate::locate`].
//!
//! `sqlite3_api_routines` is append-only, so a function is known by its slot number. An older library's table is shorter: late slots are read only
//! where `sqlite3_libversion_number()` shows that they exist.

use crate::ffi::{sqlite3, sqlite3_stmt, sqlite3_vfs};
use std::ffi::{CStr, c_char, c_int, c_void};

/// `sqlite3_vfs_find`.
pub type VfsFind = unsafe extern "C" fn(*const c_char) -> *mut sqlite3_vfs;
/// `sqlite3_vfs_register`.
pub type VfsRegister = unsafe extern "C" fn(*mut sqlite3_vfs, c_int) -> c_int;
/// `sqlite3_mprintf`.
pub type Mprintf = unsafe extern "C" fn(*const c_char, ...) -> *mut c_char;

/// One SQLite library's functions. Those it may not have are optional.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // Each field is the SQLite function of that name: https://sqlite.org/c3ref/funclist.html
pub struct Api {
    pub libversion: unsafe extern "C" fn() -> *const c_char,
    pub libversion_number: unsafe extern "C" fn() -> c_int,
    pub sourceid: Option<unsafe extern "C" fn() -> *const c_char>,
    pub compileoption_get: Option<unsafe extern "C" fn(c_int) -> *const c_char>,
    pub vfs_find: VfsFind,
    pub vfs_register: VfsRegister,
    pub vfs_unregister: unsafe extern "C" fn(*mut sqlite3_vfs) -> c_int,
    pub mprintf: Mprintf,
    pub next_stmt: unsafe extern "C" fn(*mut sqlite3, *mut sqlite3_stmt) -> *mut sqlite3_stmt,
    pub stmt_busy: unsafe extern "C" fn(*mut sqlite3_stmt) -> c_int,
    pub stmt_readonly: unsafe extern "C" fn(*mut sqlite3_stmt) -> c_int,
    pub sql: unsafe extern "C" fn(*mut sqlite3_stmt) -> *const c_char,
}

/// The oldest SQLite we install into: `sqlite3_stmt_busy` is from 3.7.12, `SQLITE_FCNTL_PDB` from 3.15, and
/// `SQLITE_OK_LOAD_PERMANENTLY`, without which our code would be unloaded under an open file, from 3.14. 3.17.0 has them all.
pub const OLDEST: c_int = 3_017_000;

/// Slot numbers in `sqlite3_api_routines` (sqlite3ext.h), checked against linked symbols by `tests/contract/api_slots.rs`.
pub mod slot {
    #![allow(missing_docs)]
    pub const DECLARE_VTAB: usize = 50;
    pub const FREE: usize = 58;
    pub const LIBVERSION: usize = 66;
    pub const LIBVERSION_NUMBER: usize = 67;
    pub const MALLOC: usize = 68;
    pub const MPRINTF: usize = 69;
    pub const RESULT_DOUBLE: usize = 79;
    pub const RESULT_INT64: usize = 83;
    pub const RESULT_NULL: usize = 84;
    pub const RESULT_TEXT: usize = 85;
    pub const CREATE_MODULE_V2: usize = 119;
    pub const VFS_FIND: usize = 141;
    pub const VFS_REGISTER: usize = 142;
    pub const VFS_UNREGISTER: usize = 143;
    pub const NEXT_STMT: usize = 152;
    pub const SQL: usize = 153;
    pub const COMPILEOPTION_GET: usize = 160;
    pub const SOURCEID: usize = 169;
    pub const STMT_BUSY: usize = 184;
    pub const STMT_READONLY: usize = 185;
    pub const AUTO_EXTENSION: usize = 192;
}

/// Why a SQLite library cannot be traced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ApiError {
    /// Its version is older than [`OLDEST`].
    TooOld(c_int),
    /// It was built without a function we need (the slot is null).
    Missing(&'static str),
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            ApiError::TooOld(v) => {
                write!(f, "SQLite {}.{}.{} is too old: 3.17.0 or later is needed", v / 1_000_000, v / 1000 % 1000, v % 1000)
            }
            ApiError::Missing(name) => write!(f, "this SQLite was built without {name}"),
        }
    }
}

impl std::error::Error for ApiError {}

impl Api {
    /// From the table that an extension's entry point gets.
    ///
    /// # Safety
    /// `routines` is the `pApi` argument SQLite passes to an extension's entry point.
    pub unsafe fn from_routines(routines: *const c_void) -> Result<Api, ApiError> {
        let table = routines.cast::<*const c_void>();
        // SAFETY: every SQLite that can load an extension has the slots up to LIBVERSION_NUMBER (they are from 3.0), and the
        // caller vouches for the table; `from_slots` reads later ones only where the version has them.
        unsafe { Api::from_slots(|slot| *table.add(slot)) }
    }

    /// The functions by their slot numbers. `raw` gives null for one that the build left out.
    ///
    /// # Safety
    /// `raw` gives what one SQLite's `sqlite3_api_routines` holds in a slot, for every slot that its version has.
    pub unsafe fn from_slots(raw: impl Fn(usize) -> *const c_void) -> Result<Api, ApiError> {
        /// A function of the type at hand, from a slot of `sqlite3_api_routines`; `None` where the build left it out.
        macro_rules! function {
            ($slot:expr) => {
                // SAFETY: a slot holds null or a function of the type that sqlite3ext.h gives it; `Option<fn>` has the same
                // layout as a nullable pointer.
                unsafe { std::mem::transmute::<*const c_void, Option<_>>(raw($slot)) }
            };
        }
        let libversion_number: unsafe extern "C" fn() -> c_int =
            function!(slot::LIBVERSION_NUMBER).ok_or(ApiError::Missing("sqlite3_libversion_number"))?;
        // SAFETY: it takes nothing and returns a constant.
        let version = unsafe { libversion_number() };
        if version < OLDEST {
            return Err(ApiError::TooOld(version));
        }
        Ok(Api {
            libversion: function!(slot::LIBVERSION).ok_or(ApiError::Missing("sqlite3_libversion"))?,
            libversion_number,
            sourceid: function!(slot::SOURCEID),
            compileoption_get: function!(slot::COMPILEOPTION_GET),
            vfs_find: function!(slot::VFS_FIND).ok_or(ApiError::Missing("sqlite3_vfs_find"))?,
            vfs_register: function!(slot::VFS_REGISTER).ok_or(ApiError::Missing("sqlite3_vfs_register"))?,
            vfs_unregister: function!(slot::VFS_UNREGISTER).ok_or(ApiError::Missing("sqlite3_vfs_unregister"))?,
            mprintf: function!(slot::MPRINTF).ok_or(ApiError::Missing("sqlite3_mprintf"))?,
            next_stmt: function!(slot::NEXT_STMT).ok_or(ApiError::Missing("sqlite3_next_stmt"))?,
            stmt_busy: function!(slot::STMT_BUSY).ok_or(ApiError::Missing("sqlite3_stmt_busy"))?,
            stmt_readonly: function!(slot::STMT_READONLY).ok_or(ApiError::Missing("sqlite3_stmt_readonly"))?,
            sql: function!(slot::SQL).ok_or(ApiError::Missing("sqlite3_sql"))?,
        })
    }

    /// A table of the functions that one loaded SQLite library exports; `find` answers null for one it does not.
    ///
    /// # Safety
    /// `find` gives the functions of these names in one SQLite library, which stays loaded.
    pub unsafe fn from_symbols(find: impl Fn(&CStr) -> *mut c_void) -> Result<Api, ApiError> {
        /// The function of this name, with the type of the field it goes to.
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: null, or the function of that name; `Option<fn>` has the same layout as a nullable pointer.
                unsafe { std::mem::transmute::<*mut c_void, Option<_>>(find($name)) }
            };
        }
        let missing = |name: &'static CStr| ApiError::Missing(name.to_str().unwrap_or("a function we need"));
        macro_rules! needed {
            ($name:literal) => {
                function!($name).ok_or(missing($name))?
            };
        }
        let libversion_number: unsafe extern "C" fn() -> c_int = needed!(c"sqlite3_libversion_number");
        // SAFETY: it takes nothing and returns a constant.
        let version = unsafe { libversion_number() };
        if version < OLDEST {
            return Err(ApiError::TooOld(version));
        }
        Ok(Api {
            libversion: needed!(c"sqlite3_libversion"),
            libversion_number,
            sourceid: function!(c"sqlite3_sourceid"),
            compileoption_get: function!(c"sqlite3_compileoption_get"),
            vfs_find: needed!(c"sqlite3_vfs_find"),
            vfs_register: needed!(c"sqlite3_vfs_register"),
            vfs_unregister: needed!(c"sqlite3_vfs_unregister"),
            mprintf: needed!(c"sqlite3_mprintf"),
            next_stmt: needed!(c"sqlite3_next_stmt"),
            stmt_busy: needed!(c"sqlite3_stmt_busy"),
            stmt_readonly: needed!(c"sqlite3_stmt_readonly"),
            sql: needed!(c"sqlite3_sql"),
        })
    }

    /// `sqlite3_mprintf` alone, for the message where the rest of a table cannot be used.
    ///
    /// # Safety
    /// As for [`Api::from_routines`].
    pub unsafe fn mprintf_of(routines: *const c_void) -> Option<Mprintf> {
        // SAFETY: the caller vouches for the table, which has had this slot since 3.0; it holds null or `sqlite3_mprintf`.
        unsafe { std::mem::transmute::<*const c_void, Option<Mprintf>>(*routines.cast::<*const c_void>().add(slot::MPRINTF)) }
    }

    /// The version, for example `3.40.1`.
    pub fn version(&self) -> &'static str {
        // SAFETY: sqlite3_libversion returns a static NUL-terminated string.
        unsafe { CStr::from_ptr((self.libversion)()) }.to_str().unwrap_or("?")
    }

    /// The source id: date, time and hash of the check-in it was built from; empty where the build has none.
    pub fn source_id(&self) -> &'static str {
        // SAFETY: sqlite3_sourceid returns a static NUL-terminated string.
        self.sourceid.map_or("", |sourceid| unsafe { CStr::from_ptr(sourceid()) }.to_str().unwrap_or("?"))
    }

    /// Whether it was built with this option (without `SQLITE_` before it); `None` where the build does not list its options
    /// (`SQLITE_OMIT_COMPILEOPTION_DIAGS`).
    pub fn has_option(&self, wanted: &CStr) -> Option<bool> {
        let get = self.compileoption_get?;
        // SAFETY: sqlite3_compileoption_get takes any index and returns null or a static NUL-terminated string.
        let option = |n: c_int| unsafe { get(n) };
        // SQLite has fewer than a hundred options. The bound is against a damaged table.
        let mut options = (0..1000).map(option).take_while(|option| !option.is_null());
        // SAFETY: as above.
        Some(options.any(|option| unsafe { CStr::from_ptr(option) } == wanted))
    }
}
