//! `xFileControl`: the base gets every opcode, and its answer is returned. Four of them concern us. A `PRAGMA` of ours is answered here, and the base
//! does not see it.

use super::connection::Connection;
use super::file::{File, Layout, forward};
use super::shim::Shim;
use crate::clock;
use crate::errno::SavedErrno;
use crate::event::{FileKind, Kind};
use crate::ffi::{self, sqlite3, sqlite3_file};
use crate::format::record::Record;
use crate::recorder;
use crate::recorder::line::Fixed;
use std::ffi::{CStr, c_char, c_int, c_void};

pub(super) unsafe extern "C-unwind" fn x_file_control(file: *mut sqlite3_file, op: c_int, argument: *mut c_void) -> c_int {
    // SAFETY: SQLite calls our methods on files we opened.
    let Some(file) = (unsafe { File::of(file) }) else { return ffi::IOERR };
    if op == ffi::FCNTL_PRAGMA
        && let Some(rc) = pragma(file.connection.shim, argument.cast())
    {
        return rc;
    }
    let rc = forward!(file, xFileControl, op, argument);
    match op {
        ffi::FCNTL_PDB if file.kind == FileKind::DATABASE => meet_connection(&file.connection, argument.cast()),
        ffi::FCNTL_VFSNAME if rc == ffi::OK && file.layout() == Layout::Wrapped => add_name(file.connection.shim, argument.cast()),
        ffi::FCNTL_CKPT_START => file.owner().checkpoint(Kind::CKPT_START, file.kind, clock::now()),
        ffi::FCNTL_CKPT_DONE => file.owner().checkpoint(Kind::CKPT_DONE, file.kind, clock::now()),
        _ => {}
    }
    rc
}

/// `SQLITE_FCNTL_PDB`: the `sqlite3` that this file belongs to. SQLite sends it once for each; twice means a shared cache.
fn meet_connection(connection: &Connection, handle: *const *mut sqlite3) {
    if !connection.handle.replace(handle).is_null() {
        connection.share();
    }
    if handle.is_null() {
        return;
    }
    // SAFETY: SQLite passes a `sqlite3**` that stays valid until `xClose`.
    let address = unsafe { *handle } as usize;
    connection.locks.set_handle(address);
    if let Some(log) = connection.log() {
        let now = clock::now();
        log.write(&Record { arg: address as u64, ..connection.record(Kind::HANDLE, FileKind::DATABASE, now, now) });
    }
}

/// `SQLITE_FCNTL_PRAGMA`: an array of strings. The name is in the second and the value, or null, in the third; the answer goes into the
/// first (<https://sqlite.org/c3ref/c_fcntl_begin_atomic_write.html#sqlitefcntlpragma>). `None`: it is none of ours.
fn pragma(shim: &Shim, strings: *mut *mut c_char) -> Option<c_int> {
    if strings.is_null() {
        return None;
    }
    // SAFETY: SQLite passes an array of at least three strings, the second of them NUL-terminated.
    let (name, value) = unsafe { (*strings.add(1), *strings.add(2)) };
    // SAFETY: as above.
    let ours = !name.is_null() && unsafe { libc::strncasecmp(name, c"locktrace".as_ptr(), 9) } == 0;
    if !ours {
        return None;
    }
    let mprintf = shim.api()?.mprintf;
    let _errno = SavedErrno::save();
    // The last byte stays a NUL.
    let mut text = [0; 2048];
    let (room, _) = text.split_last_mut().map(|(nul, room)| (room, nul))?;
    // SAFETY: as above; the value is null or NUL-terminated.
    let value = (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) }.to_bytes());
    // SAFETY: as above.
    let ok = recorder::control::pragma(unsafe { CStr::from_ptr(name) }.to_bytes(), value, &mut Fixed::new(room))?;
    // SAFETY: SQLite frees the answer with sqlite3_free, so it must come from sqlite3_mprintf; the format is fixed.
    unsafe { *strings = mprintf(c"%s".as_ptr(), text.as_ptr().cast::<c_char>()) };
    Some(if ok { ffi::OK } else { ffi::ERROR })
}

/// `SQLITE_FCNTL_VFSNAME`: the stack of VFS names, ours in front, as SQLite's own shims do it.
fn add_name(shim: &Shim, answer: *mut *mut c_char) {
    let Some(api) = shim.api().filter(|_| !answer.is_null()) else { return };
    // SAFETY: the base answered with null or a string from sqlite3_malloc, which %z frees; the format is fixed and has two
    // strings. It returns null if memory is short. Then there is no name, which SQLite allows.
    unsafe { *answer = (api.mprintf)(c"%s/%z".as_ptr(), shim.name.as_ptr(), *answer) };
}
