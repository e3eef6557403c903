//! The methods of a virtual table, as SQLite calls them (<https://sqlite.org/vtab.html>).
//!
//! A table has the columns of a [`Table`](super::tables::Table) and the cells of its rows. Read-only, without indexes: SQLite filters and
//! sorts. Tables and cursors are in SQLite's own memory (`sqlite3_malloc`), as SQLite's own virtual tables are; the rows of a query are in a
//! [`Mapping`]. Where there is no memory for either, the answer is `SQLITE_NOMEM`.

use super::cell::Value;
use super::functions::{Functions, Registered};
use super::tables::Rows;
use super::text::Words;
use crate::ffi::{self, sqlite3, sqlite3_context, sqlite3_module, sqlite3_vtab, sqlite3_vtab_cursor};
use crate::memory::Mapping;
use crate::recorder::line::{Fixed, Sink};
use std::ffi::{c_char, c_int, c_void};
use std::ptr::{self, NonNull};

/// Eponymous, since `xCreate` and `xConnect` are the same; `CREATE VIRTUAL TABLE temp.x USING locktrace_locks` works as well.
pub(super) static MODULE: sqlite3_module = sqlite3_module {
    iVersion: 0,
    xCreate: Some(x_connect),
    xConnect: Some(x_connect),
    xBestIndex: Some(x_best_index),
    xDisconnect: Some(x_disconnect),
    xDestroy: Some(x_disconnect),
    xOpen: Some(x_open),
    xClose: Some(x_close),
    xFilter: Some(x_filter),
    xNext: Some(x_next),
    xEof: Some(x_eof),
    xColumn: Some(x_column),
    xRowid: Some(x_rowid),
    rest: [None; 12],
};

#[repr(C)]
struct Vtab {
    head: sqlite3_vtab,
    registered: &'static Registered,
}

#[repr(C)]
struct Cursor {
    head: sqlite3_vtab_cursor,
    registered: &'static Registered,
    rows: Rows,
    at: usize,
}

/// Puts a value into SQLite's memory; `None` where there is none.
fn make<T>(functions: &Functions, value: T) -> Option<NonNull<T>> {
    const { assert!(align_of::<T>() <= 8 && size_of::<T>() <= 4096) };
    // SAFETY: `sqlite3_malloc` takes any size.
    let place = NonNull::new(unsafe { (functions.malloc)(size_of::<T>() as c_int) }.cast::<T>())?;
    // Aligned to 8 bytes (<https://sqlite.org/c3ref/free.html>), except in a build with SQLITE_4_BYTE_ALIGNED_MALLOC.
    if !place.is_aligned() {
        // SAFETY: from `malloc` just now.
        unsafe { (functions.free)(place.as_ptr().cast()) };
        return None;
    }
    // SAFETY: fresh memory, large and aligned enough.
    unsafe { place.write(value) };
    Some(place)
}

/// Drops and frees what [`make`] made.
///
/// # Safety
/// `value` is from [`make`] with these functions, and is not used any more.
unsafe fn end<T>(functions: &Functions, value: *mut T) {
    // SAFETY: the caller's promise.
    unsafe {
        value.drop_in_place();
        (functions.free)(value.cast());
    }
}

/// Ours, from SQLite's pointer to it.
///
/// # Safety
/// The cursor is one of `x_open`'s, not closed, and in no other call.
unsafe fn cursor<'a>(cursor: *mut sqlite3_vtab_cursor) -> &'a mut Cursor {
    // SAFETY: the caller's promise; a cursor's head is its first field.
    unsafe { &mut *cursor.cast::<Cursor>() }
}

unsafe extern "C" fn x_connect(
    db: *mut sqlite3,
    data: *mut c_void,
    _argc: c_int,
    _argv: *const *const c_char,
    vtab: *mut *mut sqlite3_vtab,
    _error: *mut *mut c_char,
) -> c_int {
    // SAFETY: what was given to `create_module_v2`; never freed.
    let registered = unsafe { &*data.cast::<Registered>() };
    // SAFETY: SQLite's own connection, inside `xConnect`, as `sqlite3_declare_vtab` asks.
    let rc = unsafe { (registered.functions.declare_vtab)(db, registered.table.schema.as_ptr()) };
    if rc != ffi::OK {
        return rc;
    }
    let head = sqlite3_vtab { pModule: ptr::null(), nRef: 0, zErrMsg: ptr::null_mut() };
    match make(&registered.functions, Vtab { head, registered }) {
        Some(fresh) => {
            // SAFETY: SQLite's place for it.
            unsafe { *vtab = fresh.as_ptr().cast() };
            ffi::OK
        }
        None => ffi::NOMEM,
    }
}

/// No constraint is used: SQLite's defaults mean a scan of all rows.
unsafe extern "C" fn x_best_index(_vtab: *mut sqlite3_vtab, _info: *mut c_void) -> c_int {
    ffi::OK
}

unsafe extern "C" fn x_disconnect(vtab: *mut sqlite3_vtab) -> c_int {
    let vtab = vtab.cast::<Vtab>();
    // SAFETY: from `x_connect`, and SQLite is done with it.
    unsafe { end(&(*vtab).registered.functions, vtab) };
    ffi::OK
}

unsafe extern "C" fn x_open(vtab: *mut sqlite3_vtab, out: *mut *mut sqlite3_vtab_cursor) -> c_int {
    // SAFETY: one of `x_connect`'s, not disconnected.
    let registered = unsafe { (*vtab.cast::<Vtab>()).registered };
    let head = sqlite3_vtab_cursor { pVtab: ptr::null_mut() };
    match make(&registered.functions, Cursor { head, registered, rows: Rows::None, at: 0 }) {
        Some(fresh) => {
            // SAFETY: SQLite's place for it; it sets `pVtab` itself.
            unsafe { *out = fresh.as_ptr().cast() };
            ffi::OK
        }
        None => ffi::NOMEM,
    }
}

unsafe extern "C" fn x_close(cursor: *mut sqlite3_vtab_cursor) -> c_int {
    let cursor = cursor.cast::<Cursor>();
    // SAFETY: from `x_open`, and SQLite is done with it.
    unsafe { end(&(*cursor).registered.functions, cursor) };
    ffi::OK
}

/// Copies the rows as they are now.
unsafe extern "C" fn x_filter(
    this: *mut sqlite3_vtab_cursor,
    _index: c_int,
    _name: *const c_char,
    _argc: c_int,
    _argv: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite calls it on our cursors, one call at a time.
    let cursor = unsafe { cursor(this) };
    // The rows of the query before are freed first: the next ones may need their memory.
    (cursor.rows, cursor.at) = (Rows::None, 0);
    match (cursor.registered.table.rows)() {
        Some(rows) => {
            cursor.rows = rows;
            ffi::OK
        }
        None => ffi::NOMEM,
    }
}

unsafe extern "C" fn x_next(this: *mut sqlite3_vtab_cursor) -> c_int {
    // SAFETY: as in `x_filter`.
    let cursor = unsafe { cursor(this) };
    cursor.at = cursor.at.saturating_add(1);
    ffi::OK
}

unsafe extern "C" fn x_eof(this: *mut sqlite3_vtab_cursor) -> c_int {
    // SAFETY: as in `x_filter`.
    let cursor = unsafe { cursor(this) };
    c_int::from(cursor.at >= cursor.rows.len())
}

unsafe extern "C" fn x_column(this: *mut sqlite3_vtab_cursor, context: *mut sqlite3_context, column: c_int) -> c_int {
    // SAFETY: as in `x_filter`.
    let Cursor { registered, rows, at, .. } = unsafe { cursor(this) };
    let functions = &registered.functions;
    let mut words = Words::new();
    let value = rows.value(*at, column as usize, &mut words);
    // SAFETY: SQLite's own context.
    unsafe {
        match value {
            Value::Null => (functions.result_null)(context),
            Value::Integer(value) => (functions.result_int64)(context, value),
            Value::Real(value) => (functions.result_double)(context, value),
            Value::Text(text) => return answer(functions, context, text),
        }
    }
    ffi::OK
}

/// Answers with a text. Bytes that are not UTF-8 become U+FFFD.
///
/// # Safety
/// `context` is the one of the call that is being answered.
unsafe fn answer(functions: &Functions, context: *mut sqlite3_context, text: &[u8]) -> c_int {
    let mut replaced;
    let mut whole;
    let text = if std::str::from_utf8(text).is_ok() {
        text
    } else {
        // U+FFFD takes three bytes.
        let Some(memory) = Mapping::new(text.len().saturating_mul(3)) else { return ffi::NOMEM };
        replaced = memory;
        whole = Fixed::new(replaced.bytes());
        for chunk in text.utf8_chunks() {
            whole.put(chunk.valid().as_bytes());
            whole.put(if chunk.invalid().is_empty() { b"" } else { "\u{fffd}".as_bytes() });
        }
        whole.bytes()
    };
    let len = c_int::try_from(text.len()).unwrap_or(0);
    // SAFETY: the caller's context. The text is copied before this returns: SQLITE_TRANSIENT is a destructor of -1, which is never called.
    unsafe {
        let transient = std::mem::transmute::<isize, Option<unsafe extern "C" fn(*mut c_void)>>(-1);
        (functions.result_text)(context, text.as_ptr().cast(), len, transient);
    }
    ffi::OK
}

unsafe extern "C" fn x_rowid(this: *mut sqlite3_vtab_cursor, rowid: *mut i64) -> c_int {
    // SAFETY: as in `x_filter`; SQLite's place for the number.
    unsafe { *rowid = (cursor(this).at as i64).saturating_add(1) };
    ffi::OK
}
