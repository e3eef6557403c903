//! The loadable extension: `.load ./liblocktrace`, `load_extension()`, `sqlite3_load_extension`.
//!
//! It is loaded once, on any connection, also a `:memory:` one. From then on every connection that this SQLite library opens in this
//! process is traced. Connections that were open before are not.

use crate::api::{Api, Mprintf};
use crate::ffi::{ERROR, OK_LOAD_PERMANENTLY, sqlite3};
use crate::recorder::configure_from_env;
use crate::recorder::line::{Fixed, Sink};
use crate::sql;
use crate::vfs::{self, Options, install};
use std::ffi::{c_char, c_int, c_void};
use std::fmt::{self, Write};

/// SQLite's entry point into `liblocktrace.so`: its name comes from the file's
/// (<https://sqlite.org/loadext.html#loading_an_extension>).
///
/// # Safety
/// Called by SQLite, by its documentation of loadable extensions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_locktrace_init(db: *mut sqlite3, error: *mut *mut c_char, routines: *const c_void) -> c_int {
    if routines.is_null() {
        return ERROR;
    }
    #[cfg(feature = "preload")]
    crate::preload::silence();
    // SAFETY: SQLite passes its own table.
    let api = match unsafe { Api::from_routines(routines) } {
        Ok(api) => api,
        Err(why) => {
            // SAFETY: as above; `mprintf` is there in every SQLite that loads extensions, or its slot is null.
            if let Some(mprintf) = unsafe { Api::mprintf_of(routines) } {
                // SAFETY: SQLite's own `mprintf` and SQLite's own place for the message.
                unsafe { explain(mprintf, error, format_args!("{why}")) };
            }
            return ERROR;
        }
    };
    if let Err(why) = configure_from_env() {
        // SAFETY: as above.
        unsafe { explain(api.mprintf, error, format_args!("{why}")) };
        return ERROR;
    }
    // SAFETY: SQLite's own table; returning SQLITE_OK_LOAD_PERMANENTLY keeps this library loaded.
    if let Err(why) = unsafe { install(api, &Options::default()) } {
        // SAFETY: as above.
        unsafe { explain(api.mprintf, error, format_args!("{why}")) };
        return ERROR;
    }
    // Where another copy of this library records, this one has nothing to show.
    // SAFETY: one library's own table.
    if unsafe { vfs::is_here(&api) } {
        // SAFETY: SQLite's own arguments.
        unsafe { sql::register(db, routines) };
    }
    OK_LOAD_PERMANENTLY
}

/// Stores the reason where SQLite reads it.
///
/// # Safety
/// `error` is null or the entry point's `pzErrMsg`, and `mprintf` is of the same library.
unsafe fn explain(mprintf: Mprintf, error: *mut *mut c_char, why: fmt::Arguments<'_>) {
    struct Text<'a>(Fixed<'a>);

    impl Write for Text<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.put(text.as_bytes());
            Ok(())
        }
    }

    // The last byte stays a NUL.
    let mut message = [0; 1024];
    let Some((_, room)) = message.split_last_mut() else { return };
    let _ = write!(Text(Fixed::new(room)), "locktrace: {why}");
    if !error.is_null() {
        // SAFETY: SQLite frees the message with sqlite3_free, so it must come from sqlite3_mprintf; the format is fixed.
        unsafe { *error = mprintf(c"%s".as_ptr(), message.as_ptr().cast::<c_char>()) };
    }
}
