//! The way in for everything that can load an extension: `.load ./liblocktrace`, `load_extension()`, `sqlite3_load_extension`.
//!
//! Load it once, on any connection, a `:memory:` one will do: from then on every connection that this SQLite library opens in this
//! process is traced. Connections that were open before are not.

use crate::api::{Api, Mprintf};
use crate::ffi::{ERROR, OK_LOAD_PERMANENTLY, sqlite3};
use crate::recorder::config::Config;
use crate::recorder::{configure, guarded};
use crate::sql;
use crate::vfs::{self, Options, install};
use std::ffi::{CString, c_char, c_int, c_void};

/// SQLite's entry point into `liblocktrace.so`: its name comes from the file's
/// (<https://sqlite.org/loadext.html#loading_an_extension>).
///
/// # Safety
/// Called by SQLite, as its documentation of loadable extensions says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_locktrace_init(db: *mut sqlite3, error: *mut *mut c_char, routines: *const c_void) -> c_int {
    if routines.is_null() {
        return ERROR;
    }
    // SAFETY: SQLite passes its own table.
    let api = match unsafe { Api::from_routines(routines) } {
        Ok(api) => api,
        Err(why) => {
            // SAFETY: as above; `mprintf` is there in every SQLite that loads extensions, or its slot is null.
            if let Some(mprintf) = unsafe { Api::mprintf_of(routines) } {
                // SAFETY: SQLite's own `mprintf` and SQLite's own place for the message.
                unsafe { explain(mprintf, error, &why.to_string()) };
            }
            return ERROR;
        }
    };
    let result = guarded(|| {
        Some((|| {
            configure(Config::from_env().map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
            // SAFETY: SQLite's own table; returning SQLITE_OK_LOAD_PERMANENTLY keeps this library loaded.
            unsafe { install(api, &Options::default()) }.map_err(|error| error.to_string())
        })())
    });
    match result {
        Some(Ok(_)) => {
            // Where another copy of this library does the recording, there is nothing to show here.
            // SAFETY: one library's own table.
            if unsafe { vfs::is_here(&api) } {
                // SAFETY: SQLite's own arguments.
                unsafe { sql::register(db, routines) };
            }
            OK_LOAD_PERMANENTLY
        }
        failed => {
            let message = match failed {
                Some(Err(message)) => message,
                _ => "internal error".to_owned(),
            };
            // SAFETY: as above.
            unsafe { explain(api.mprintf, error, &message) };
            ERROR
        }
    }
}

/// Leaves the reason where SQLite looks for it.
///
/// # Safety
/// `error` is null or the entry point's `pzErrMsg`, and `mprintf` is of the same library.
unsafe fn explain(mprintf: Mprintf, error: *mut *mut c_char, message: &str) {
    let message = CString::new(format!("locktrace: {message}")).unwrap_or_default();
    if !error.is_null() {
        // SAFETY: SQLite frees the message with sqlite3_free, so it must come from sqlite3_mprintf; the format is fixed.
        unsafe { *error = mprintf(c"%s".as_ptr(), message.as_ptr()) };
    }
}
