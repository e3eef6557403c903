//! Which database a journal or a WAL belongs to.
//!
//! SQLite opens them by their names: the database's path and `-journal` or `-wal`. The pager keeps these names in one piece of memory with
//! the database's own (pager.c: `sqlite3PagerOpen`), a short way behind it. So among the open databases of that path, the one whose name lies
//! closest before the journal's is its owner. SQLite has a function for this (`sqlite3_database_file_object`), but it must not be called
//! with a name that is not the pager's, and a VFS above us may pass names of its own.
//!
//! Names are compared as texts; where they lie is compared as numbers. No memory is read that a name does not end in.

use super::file::File;
use super::{Shim, slab};
use crate::event::FileKind;
use crate::recorder::thread;
use std::ffi::{CStr, c_char};
use std::ptr;

/// How far behind a database's name the pager's names for its journal and WAL can lie: twice its length, and the parameters of a URI.
const PARAMETERS: usize = 4096;

/// The open database of this SQLite that a journal or WAL of this name belongs to; `None` where that is not certain.
///
/// # Safety
/// `name` is NUL-terminated.
pub(super) unsafe fn owner(shim: &Shim, kind: FileKind, name: *const c_char) -> Option<&'static File> {
    let suffix: &[u8] = if kind == FileKind::WAL { b"-wal" } else { b"-journal" };
    // SAFETY: the caller's promise.
    let database = unsafe { CStr::from_ptr(name) }.to_bytes().strip_suffix(suffix)?;
    let fits = |file: &&File| {
        let live = &file.live;
        live.shim().is_some_and(|theirs| ptr::eq(theirs, shim)) && live.path().is_some_and(|path| path.to_bytes() == database)
    };
    let mut fitting = slab::open_files().map(|(file, _)| file).filter(fits);
    let (mut only, mut closest, mut last) = (fitting.next(), None, None);
    let reach = 2 * database.len() + PARAMETERS;
    let worked_on = thread::worked_on().conn;
    for (n, file) in only.into_iter().chain(fitting).enumerate() {
        if n > 0 {
            only = None;
        }
        let behind = (name as usize).wrapping_sub(file.live.name_at());
        if behind <= reach && closest.is_none_or(|(least, _)| behind < least) {
            closest = Some((behind, file));
        }
        if file.live.conn() == worked_on {
            last = Some(file);
        }
    }
    // A pager that lays its names out in another way leaves the only connection, or the one this thread has just worked on.
    closest.map(|(_, file)| file).or(only).or(last)
}
