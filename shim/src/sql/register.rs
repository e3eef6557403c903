//! The registration of the tables on the connection that loads the extension, and on every later connection of the same SQLite library.

use super::functions::{Functions, Registered};
use super::module;
use super::tables::TABLES;
use crate::ffi::{OK, sqlite3};
use crate::memory;
use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// One SQLite library, known by its table of functions. Kept for the life of the process.
#[derive(Debug)]
struct Library {
    routines: *const c_void,
    functions: Functions,
    tables: [Registered; TABLES.len()],
    next: *mut Library,
}

/// A list of the SQLite libraries in this process.
static LIBRARIES: AtomicPtr<Library> = AtomicPtr::new(ptr::null_mut());

/// # Safety
/// As [`Functions::from_routines`].
unsafe fn library(routines: *const c_void) -> Option<&'static Library> {
    let mut head = LIBRARIES.load(Ordering::Acquire);
    let mut at = head;
    // SAFETY: never freed, and published whole with Release.
    while let Some(library) = unsafe { at.as_ref() } {
        if library.routines == routines {
            return Some(library);
        }
        at = library.next;
    }
    // SAFETY: the caller's promise.
    let functions = unsafe { Functions::from_routines(routines) }?;
    // Two threads may both add the same library. Two equal entries are harmless.
    let tables = TABLES.each_ref().map(|table| Registered { table, functions });
    let fresh: *mut Library = memory::keep(Library { routines, functions, tables, next: head })?;
    while let Err(now) = LIBRARIES.compare_exchange_weak(head, fresh, Ordering::AcqRel, Ordering::Acquire) {
        head = now;
        // SAFETY: no other thread has it yet.
        unsafe { (*fresh).next = now };
    }
    // SAFETY: kept for the life of the process.
    Some(unsafe { &*fresh })
}

/// Adds the tables to this connection, and to every one that this SQLite opens from now on. A failure leaves a connection without tables.
///
/// # Safety
/// `db` and `routines` are what SQLite passes to an extension's entry point; the code of this library stays loaded.
pub unsafe fn register(db: *mut sqlite3, routines: *const c_void) {
    // SAFETY: the caller's promise.
    if let Some(library) = unsafe { library(routines) } {
        // SAFETY: as above. Registering it again changes nothing.
        unsafe {
            add_tables(db, library);
            (library.functions.auto_extension)(entry);
        }
    }
}

/// SQLite calls this for every new connection. It always returns success: an error would fail the open.
unsafe extern "C" fn entry(db: *mut sqlite3, _error: *mut *mut c_char, routines: *const c_void) -> c_int {
    if !routines.is_null() {
        // SAFETY: SQLite's own arguments, to the entry point of an extension.
        if let Some(library) = unsafe { library(routines) } {
            // SAFETY: as above.
            unsafe { add_tables(db, library) };
        }
    }
    OK
}

/// # Safety
/// `db` is null or an open connection of this library.
unsafe fn add_tables(db: *mut sqlite3, library: &'static Library) {
    if db.is_null() {
        return;
    }
    for registered in &library.tables {
        let data = ptr::from_ref(registered).cast_mut().cast();
        // SAFETY: the module is static, and `registered` is never freed.
        unsafe { (library.functions.create_module_v2)(db, registered.table.name.as_ptr(), &module::MODULE, data, None) };
    }
}
