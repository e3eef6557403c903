//! The functions of SQLite that virtual tables need.

use super::tables::Table;
use crate::api::slot;
use crate::ffi::{sqlite3, sqlite3_context, sqlite3_module};
use std::ffi::{c_char, c_double, c_int, c_void};

type Destructor = Option<unsafe extern "C" fn(*mut c_void)>;
/// What `sqlite3_auto_extension` takes: an extension's entry point.
type Entry = unsafe extern "C" fn(*mut sqlite3, *mut *mut c_char, *const c_void) -> c_int;

/// The functions of one SQLite library that virtual tables need.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // Each field is the SQLite function of that name: https://sqlite.org/c3ref/funclist.html
pub struct Functions {
    pub create_module_v2:
        unsafe extern "C" fn(*mut sqlite3, *const c_char, *const sqlite3_module, *mut c_void, Destructor) -> c_int,
    pub declare_vtab: unsafe extern "C" fn(*mut sqlite3, *const c_char) -> c_int,
    pub result_double: unsafe extern "C" fn(*mut sqlite3_context, c_double),
    pub result_int64: unsafe extern "C" fn(*mut sqlite3_context, i64),
    pub result_null: unsafe extern "C" fn(*mut sqlite3_context),
    pub result_text: unsafe extern "C" fn(*mut sqlite3_context, *const c_char, c_int, Destructor),
    pub auto_extension: unsafe extern "C" fn(Entry) -> c_int,
    pub malloc: unsafe extern "C" fn(c_int) -> *mut c_void,
    pub free: unsafe extern "C" fn(*mut c_void),
}

impl Functions {
    /// From the table that an extension's entry point gets; `None` where the library was built without virtual tables.
    ///
    /// # Safety
    /// `routines` is the `pApi` argument that a SQLite of 3.17 or later passes to an extension's entry point.
    pub unsafe fn from_routines(routines: *const c_void) -> Option<Functions> {
        let table = routines.cast::<*const c_void>();
        /// A function of the type at hand, from a slot of `sqlite3_api_routines`.
        macro_rules! function {
            ($slot:expr) => {
                // SAFETY: all these slots are older than 3.17; one holds null or a function of the type that sqlite3ext.h gives it,
                // and `Option<fn>` has the same layout as a nullable pointer.
                unsafe { std::mem::transmute::<*const c_void, Option<_>>(*table.add($slot)) }?
            };
        }
        Some(Functions {
            create_module_v2: function!(slot::CREATE_MODULE_V2),
            declare_vtab: function!(slot::DECLARE_VTAB),
            result_double: function!(slot::RESULT_DOUBLE),
            result_int64: function!(slot::RESULT_INT64),
            result_null: function!(slot::RESULT_NULL),
            result_text: function!(slot::RESULT_TEXT),
            auto_extension: function!(slot::AUTO_EXTENSION),
            malloc: function!(slot::MALLOC),
            free: function!(slot::FREE),
        })
    }
}

/// A table of a library: what SQLite hands back to the methods of that table.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) table: &'static Table,
    pub(super) functions: Functions,
}
