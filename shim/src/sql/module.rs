//! The methods of a virtual table, as SQLite calls them (<https://sqlite.org/vtab.html>).
//!
//! In come SQLite's calls; out go the columns of a [`Table`] and the cells of its rows. Read-only, without indexes: SQLite filters and
//! sorts. All of it is allocated by us and freed in `xDisconnect` and `xClose`; only an error message is SQLite's memory.

use super::Own;
use super::tables::{Rows, Value};
use crate::ffi::{self, sqlite3, sqlite3_context, sqlite3_module, sqlite3_vtab, sqlite3_vtab_cursor};
use crate::recorder::guarded;
use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;

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
    own: &'static Own,
}

#[repr(C)]
struct Cursor {
    head: sqlite3_vtab_cursor,
    rows: Rows,
    at: usize,
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
    own: *mut c_void,
    _argc: c_int,
    _argv: *const *const c_char,
    vtab: *mut *mut sqlite3_vtab,
    _error: *mut *mut c_char,
) -> c_int {
    // SAFETY: what was given to `create_module_v2`; never freed.
    let own = unsafe { &*own.cast::<Own>() };
    // SAFETY: SQLite's own connection, inside `xConnect`, as `sqlite3_declare_vtab` asks.
    let rc = unsafe { (own.functions.declare_vtab)(db, own.table.schema.as_ptr()) };
    if rc != ffi::OK {
        return rc;
    }
    let head = sqlite3_vtab { pModule: ptr::null(), nRef: 0, zErrMsg: ptr::null_mut() };
    match guarded(|| Some(Box::into_raw(Box::new(Vtab { head, own })))) {
        Some(fresh) => {
            // SAFETY: SQLite's place for it.
            unsafe { *vtab = fresh.cast() };
            ffi::OK
        }
        None => ffi::NOMEM,
    }
}

/// No constraint is used: what SQLite has filled in means a scan of everything.
unsafe extern "C" fn x_best_index(_vtab: *mut sqlite3_vtab, _info: *mut c_void) -> c_int {
    ffi::OK
}

unsafe extern "C" fn x_disconnect(vtab: *mut sqlite3_vtab) -> c_int {
    // SAFETY: from `x_connect`, and SQLite is done with it.
    drop(unsafe { Box::from_raw(vtab.cast::<Vtab>()) });
    ffi::OK
}

unsafe extern "C" fn x_open(_vtab: *mut sqlite3_vtab, out: *mut *mut sqlite3_vtab_cursor) -> c_int {
    let head = sqlite3_vtab_cursor { pVtab: ptr::null_mut() };
    match guarded(|| Some(Box::into_raw(Box::new(Cursor { head, rows: Rows::default(), at: 0 })))) {
        Some(fresh) => {
            // SAFETY: SQLite's place for it; it sets `pVtab` itself.
            unsafe { *out = fresh.cast() };
            ffi::OK
        }
        None => ffi::NOMEM,
    }
}

unsafe extern "C" fn x_close(cursor: *mut sqlite3_vtab_cursor) -> c_int {
    // SAFETY: from `x_open`, and SQLite is done with it.
    drop(unsafe { Box::from_raw(cursor.cast::<Cursor>()) });
    ffi::OK
}

/// The rows as they are now.
unsafe extern "C" fn x_filter(
    this: *mut sqlite3_vtab_cursor,
    _number: c_int,
    _name: *const c_char,
    _argc: c_int,
    _argv: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite calls it on our cursors, one call at a time.
    let cursor = unsafe { cursor(this) };
    // SAFETY: SQLite has set it to one of `x_connect`'s, which outlives its cursors.
    let vtab = unsafe { &mut *cursor.head.pVtab.cast::<Vtab>() };
    let own = vtab.own;
    match guarded(|| Some((own.table.rows)())) {
        Some(Ok(rows)) => {
            (cursor.rows, cursor.at) = (rows, 0);
            ffi::OK
        }
        failed => {
            let why = match failed {
                Some(Err(why)) => why,
                _ => "internal error".to_owned(),
            };
            let message = CString::new(format!("{}: {why}", own.table.name.to_string_lossy())).unwrap_or_default();
            // SAFETY: SQLite takes the message over and clears the place, so it must come from sqlite3_mprintf.
            vtab.head.zErrMsg = unsafe { (own.functions.mprintf)(c"%s".as_ptr(), message.as_ptr()) };
            ffi::ERROR
        }
    }
}

unsafe extern "C" fn x_next(this: *mut sqlite3_vtab_cursor) -> c_int {
    // SAFETY: as in `x_filter`.
    unsafe { cursor(this) }.at += 1;
    ffi::OK
}

unsafe extern "C" fn x_eof(this: *mut sqlite3_vtab_cursor) -> c_int {
    // SAFETY: as in `x_filter`.
    let cursor = unsafe { cursor(this) };
    c_int::from(cursor.at >= cursor.rows.len())
}

unsafe extern "C" fn x_column(this: *mut sqlite3_vtab_cursor, context: *mut sqlite3_context, column: c_int) -> c_int {
    // SAFETY: as in `x_filter`.
    let cursor = unsafe { cursor(this) };
    // SAFETY: as in `x_filter`.
    let functions = unsafe { &(*cursor.head.pVtab.cast::<Vtab>()).own.functions };
    let value = guarded(|| cursor.rows.value(cursor.at, column as usize));
    // SAFETY: SQLite's own context. A text is copied before `result_text` returns (SQLITE_TRANSIENT is a destructor of -1).
    unsafe {
        match value {
            Value::Null => (functions.result_null)(context),
            Value::Integer(value) => (functions.result_int64)(context, value),
            Value::Real(value) => (functions.result_double)(context, value),
            Value::Text(text) => {
                let len = c_int::try_from(text.len()).unwrap_or(0);
                let transient = std::mem::transmute::<isize, Option<unsafe extern "C" fn(*mut c_void)>>(-1);
                (functions.result_text)(context, text.as_ptr().cast(), len, transient);
            }
        }
    }
    ffi::OK
}

unsafe extern "C" fn x_rowid(this: *mut sqlite3_vtab_cursor, rowid: *mut i64) -> c_int {
    // SAFETY: as in `x_filter`; SQLite's place for the number.
    unsafe { *rowid = cursor(this).at as i64 + 1 };
    ffi::OK
}
