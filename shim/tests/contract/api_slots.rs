//! The slots of `sqlite3_api_routines`: against the addresses of the linked functions, where SQLite hands the table out, and
//! in tables that are too old or have holes.
#![allow(missing_docs)]
#![allow(clippy::undocumented_unsafe_blocks)] // tests of a C interface

use crate::common;
use locktrace::api::{Api, ApiError, OLDEST, slot};
use locktrace::sql::Functions;
use rusqlite::ffi;
use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

static ROUTINES: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

unsafe extern "C" fn entry(_: *mut ffi::sqlite3, _: *mut *mut c_char, routines: *const ffi::sqlite3_api_routines) -> c_int {
    ROUTINES.store(routines.cast_mut().cast(), Ordering::Relaxed);
    ffi::SQLITE_OK
}

/// The linked SQLite's own table.
fn routines() -> *const c_void {
    assert_eq!(unsafe { ffi::sqlite3_auto_extension(Some(entry)) }, ffi::SQLITE_OK);
    rusqlite::Connection::open_in_memory().unwrap();
    let routines = ROUTINES.load(Ordering::Relaxed);
    assert!(!routines.is_null());
    routines
}

#[test]
fn every_slot_is_the_linked_function() {
    let table = routines().cast::<*const c_void>();
    macro_rules! check {
        ($($slot:ident = $function:ident;)*) => {
            $(assert!(std::ptr::eq(unsafe { *table.add(slot::$slot) }, $function as *const c_void), stringify!($slot));)*
        };
    }
    use crate::common::*;
    check! {
        LIBVERSION = sqlite3_libversion;
        LIBVERSION_NUMBER = sqlite3_libversion_number;
        MPRINTF = sqlite3_mprintf;
        VFS_FIND = sqlite3_vfs_find;
        VFS_REGISTER = sqlite3_vfs_register;
        VFS_UNREGISTER = sqlite3_vfs_unregister;
        NEXT_STMT = sqlite3_next_stmt;
        SQL = sqlite3_sql;
        COMPILEOPTION_GET = sqlite3_compileoption_get;
        SOURCEID = sqlite3_sourceid;
        STMT_BUSY = sqlite3_stmt_busy;
        STMT_READONLY = sqlite3_stmt_readonly;
    }
    use ffi::{sqlite3_auto_extension, sqlite3_create_module_v2, sqlite3_declare_vtab};
    use ffi::{sqlite3_malloc, sqlite3_result_double, sqlite3_result_int64, sqlite3_result_null, sqlite3_result_text};
    check! {
        CREATE_MODULE_V2 = sqlite3_create_module_v2;
        DECLARE_VTAB = sqlite3_declare_vtab;
        RESULT_DOUBLE = sqlite3_result_double;
        RESULT_INT64 = sqlite3_result_int64;
        RESULT_NULL = sqlite3_result_null;
        RESULT_TEXT = sqlite3_result_text;
        AUTO_EXTENSION = sqlite3_auto_extension;
        MALLOC = sqlite3_malloc;
        FREE = sqlite3_free;
    }
    assert_eq!(unsafe { Functions::from_routines(table.cast()) }.unwrap().malloc as *const c_void, sqlite3_malloc as *const c_void);
    let api = unsafe { Api::from_routines(table.cast()) }.unwrap();
    let linked = common::api();
    macro_rules! same {
        ($($field:ident)*) => { $(assert_eq!(api.$field as *const c_void, linked.$field as *const c_void, stringify!($field));)* };
    }
    same!(libversion libversion_number vfs_find vfs_register vfs_unregister mprintf next_stmt stmt_busy stmt_readonly sql);
    assert_eq!(api.sourceid.unwrap() as *const c_void, linked.sourceid.unwrap() as *const c_void);
    assert_eq!(api.compileoption_get.unwrap() as *const c_void, linked.compileoption_get.unwrap() as *const c_void);
    assert_eq!(api.version(), rusqlite::version());
    assert_eq!(api.has_option(c"THREADSAFE=1"), Some(true));
    assert_eq!(api.has_option(c"NO_SUCH_OPTION"), Some(false));
}

/// A table of ours that ends after `len` slots, and there the readable memory ends, too: reading past it kills the test.
struct Table {
    slots: &'static mut [*const c_void],
}

impl Table {
    fn new(len: usize, version: unsafe extern "C" fn() -> c_int) -> Table {
        const PAGE: usize = 4096;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let (read, write) = (libc::PROT_READ, libc::PROT_WRITE);
        let pages = unsafe { libc::mmap(std::ptr::null_mut(), 2 * PAGE, read | write, flags, -1, 0) }.cast::<u8>();
        assert_eq!(unsafe { libc::mprotect(pages.add(PAGE).cast(), PAGE, libc::PROT_NONE) }, 0);
        let start = unsafe { pages.add(PAGE) }.cast::<*const c_void>();
        // Leaked: a few pages a test.
        let slots = unsafe { std::slice::from_raw_parts_mut(start.sub(len), len) };
        slots.fill(common::sqlite3_libversion as *const c_void);
        slots[slot::LIBVERSION_NUMBER] = version as *const c_void;
        Table { slots }
    }

    fn read(&self) -> Result<Api, ApiError> {
        unsafe { Api::from_routines(self.slots.as_ptr().cast()) }
    }
}

unsafe extern "C" fn v3_16_2() -> c_int {
    3_016_002
}
unsafe extern "C" fn oldest() -> c_int {
    OLDEST
}
unsafe extern "C" fn v3_31_1() -> c_int {
    3_031_001
}
unsafe extern "C" fn v3_32_0() -> c_int {
    3_032_000
}

#[test]
fn too_old_a_library_is_refused() {
    // Only the slots up to the version may be read: the table ends there.
    let table = Table::new(slot::LIBVERSION_NUMBER + 1, v3_16_2);
    let error = table.read().unwrap_err();
    assert_eq!(error, ApiError::TooOld(3_016_002));
    assert_eq!(error.to_string(), "SQLite 3.16.2 is too old: 3.17.0 or later is needed");
}

#[test]
fn a_hole_is_named() {
    for (hole, name) in [
        (slot::LIBVERSION, "sqlite3_libversion"),
        (slot::LIBVERSION_NUMBER, "sqlite3_libversion_number"),
        (slot::MPRINTF, "sqlite3_mprintf"),
        (slot::VFS_FIND, "sqlite3_vfs_find"),
        (slot::VFS_REGISTER, "sqlite3_vfs_register"),
        (slot::VFS_UNREGISTER, "sqlite3_vfs_unregister"),
        (slot::NEXT_STMT, "sqlite3_next_stmt"),
        (slot::SQL, "sqlite3_sql"),
        (slot::STMT_BUSY, "sqlite3_stmt_busy"),
        (slot::STMT_READONLY, "sqlite3_stmt_readonly"),
    ] {
        let table = Table::new(slot::AUTO_EXTENSION + 1, v3_32_0);
        table.slots[hole] = std::ptr::null();
        let error = table.read().unwrap_err();
        assert_eq!(error, ApiError::Missing(name));
        assert_eq!(error.to_string(), format!("this SQLite was built without {name}"));
    }
}

#[test]
fn nothing_is_read_past_what_the_oldest_has() {
    for version in [oldest as unsafe extern "C" fn() -> c_int, v3_31_1] {
        let table = Table::new(slot::STMT_READONLY + 1, version);
        let api = table.read().unwrap();
        assert!(api.compileoption_get.is_some());
    }
}

/// What the extension's entry point answers, and the message it leaves.
fn load(table: *const c_void) -> (c_int, Option<String>) {
    let mut message: *mut c_char = std::ptr::null_mut();
    let rc = unsafe { locktrace::extension::sqlite3_locktrace_init(std::ptr::null_mut(), &mut message, table) };
    if message.is_null() {
        return (rc, None);
    }
    let text = unsafe { std::ffi::CStr::from_ptr(message) }.to_str().unwrap().to_owned();
    unsafe { common::sqlite3_free(message) };
    (rc, Some(text))
}

#[test]
fn the_extension_says_why_it_does_not_load() {
    assert_eq!(load(std::ptr::null()), (ffi::SQLITE_ERROR, None));
    let table = Table::new(slot::AUTO_EXTENSION + 1, v3_16_2);
    table.slots[slot::MPRINTF] = common::sqlite3_mprintf as *const c_void;
    let message = "locktrace: SQLite 3.16.2 is too old: 3.17.0 or later is needed";
    assert_eq!(load(table.slots.as_ptr().cast()), (ffi::SQLITE_ERROR, Some(message.to_owned())));
    let table = Table::new(slot::AUTO_EXTENSION + 1, v3_32_0);
    (table.slots[slot::MPRINTF], table.slots[slot::VFS_FIND]) = (common::sqlite3_mprintf as *const c_void, std::ptr::null());
    let message = "locktrace: this SQLite was built without sqlite3_vfs_find";
    assert_eq!(load(table.slots.as_ptr().cast()), (ffi::SQLITE_ERROR, Some(message.to_owned())));
    table.slots[slot::MPRINTF] = std::ptr::null();
    assert_eq!(load(table.slots.as_ptr().cast()), (ffi::SQLITE_ERROR, None));
}

#[test]
fn without_virtual_tables_there_are_no_tables() {
    let table = Table::new(slot::AUTO_EXTENSION + 1, v3_32_0);
    assert!(unsafe { Functions::from_routines(table.slots.as_ptr().cast()) }.is_some());
    table.slots[slot::CREATE_MODULE_V2] = std::ptr::null();
    assert!(unsafe { Functions::from_routines(table.slots.as_ptr().cast()) }.is_none());
}

#[test]
fn optional_functions_may_be_missing() {
    let table = Table::new(slot::AUTO_EXTENSION + 1, v3_32_0);
    for slot in [slot::COMPILEOPTION_GET, slot::SOURCEID] {
        table.slots[slot] = std::ptr::null();
    }
    let api = table.read().unwrap();
    assert_eq!(api.source_id(), "");
    assert_eq!(api.has_option(c"THREADSAFE=1"), None);
}
