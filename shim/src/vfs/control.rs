//! `xFileControl`: every opcode reaches the base and its answer comes back; we look at four of them on the way.

use super::file::{File, forward};
use crate::clock;
use crate::event::{FileKind, Kind, ResultCode};
use crate::ffi::{self, sqlite3, sqlite3_file};
use crate::format::record::Record;
use std::ffi::{c_char, c_int, c_void};

pub(super) unsafe extern "C" fn x_file_control(file: *mut sqlite3_file, op: c_int, argument: *mut c_void) -> c_int {
    // SAFETY: SQLite calls our methods on files we opened.
    let file = unsafe { File::of(file) };
    let rc = forward!(file, xFileControl, op, argument);
    match op {
        ffi::FCNTL_PDB if file.kind == FileKind::DATABASE => file.meet_connection(argument.cast()),
        ffi::FCNTL_VFSNAME if rc == ffi::OK => file.add_name(argument.cast()),
        ffi::FCNTL_CKPT_START => file.checkpoint(Kind::CKPT_START),
        ffi::FCNTL_CKPT_DONE => file.checkpoint(Kind::CKPT_DONE),
        _ => {}
    }
    rc
}

impl File {
    /// `SQLITE_FCNTL_PDB`: which connection this file belongs to. Told once a connection; twice means a shared cache.
    fn meet_connection(&self, connection: *const *mut sqlite3) {
        if !self.connection.replace(connection).is_null() {
            self.share();
        }
        if connection.is_null() {
            return;
        }
        // SAFETY: SQLite passes a `sqlite3**` that stays valid until `xClose`.
        self.live.set_handle(unsafe { *connection } as usize);
        if let Some(log) = self.log() {
            let now = clock::now();
            // SAFETY: SQLite passes a `sqlite3**` that stays valid until `xClose`.
            let arg = unsafe { *connection } as u64;
            log.write(&Record { arg, ..self.record(Kind::HANDLE, now, now) });
        }
    }

    /// `SQLITE_FCNTL_VFSNAME`: the stack of VFS names, ours in front, as SQLite's own shims do it.
    fn add_name(&self, answer: *mut *mut c_char) {
        if answer.is_null() {
            return;
        }
        // SAFETY: the base answered with null or a string from sqlite3_malloc, which %z frees; the format is fixed and has two
        // strings. Null comes back if memory is short: then SQLite has no name, which it allows for.
        unsafe { *answer = (self.shim.api.mprintf)(c"%s/%z".as_ptr(), self.shim.name.as_ptr(), *answer) };
    }

    fn checkpoint(&self, kind: Kind) {
        if let Some(log) = self.owner().log() {
            let now = clock::now();
            log.write(&Record { rc: ResultCode::OK, ..self.record(kind, now, now) });
            log.anchor(now);
        }
    }
}
