//! The extension loaded into the linked SQLite, and the rows of a query as text.

use locktrace::recorder::config::Config;
use rusqlite::types::Value;
use rusqlite::{Connection, ffi};
use std::ffi::{c_char, c_int, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

static ROUTINES: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

unsafe extern "C" fn entry(_: *mut ffi::sqlite3, _: *mut *mut c_char, routines: *const ffi::sqlite3_api_routines) -> c_int {
    ROUTINES.store(routines.cast_mut().cast(), Ordering::Relaxed);
    ffi::SQLITE_OK
}

/// A connection on `:memory:` that has loaded the extension, recording into `dir`; by hand, since this SQLite is not built to load it.
pub fn load(dir: &Path) -> Connection {
    locktrace::recorder::configure(Config { dir: dir.join("trace"), ..Config::default() }).unwrap();
    assert_eq!(unsafe { ffi::sqlite3_auto_extension(Some(entry)) }, ffi::SQLITE_OK);
    let loader = Connection::open_in_memory().unwrap();
    let mut error: *mut c_char = std::ptr::null_mut();
    let routines = ROUTINES.load(Ordering::Relaxed);
    let rc = unsafe { locktrace::extension::sqlite3_locktrace_init(loader.handle().cast(), &mut error, routines) };
    assert!(rc == ffi::SQLITE_OK_LOAD_PERMANENTLY && error.is_null());
    loader
}

pub fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::ZERO).unwrap();
    connection
}

/// Every row of a query, a line each.
pub fn ask(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let mut all = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let cell = |i| match row.get_unwrap::<_, Value>(i) {
            Value::Null => "-".to_owned(),
            Value::Integer(value) => value.to_string(),
            Value::Real(value) => value.to_string(),
            Value::Text(value) => value,
            Value::Blob(_) => unreachable!(),
        };
        all.push((0..columns).map(cell).collect::<Vec<_>>().join("|"));
    }
    all
}

pub fn one(connection: &Connection, sql: &str) -> String {
    let mut rows = ask(connection, sql);
    assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
    rows.remove(0)
}
