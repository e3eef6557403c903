//! The search for the database that a journal or a WAL belongs to.
//!
//! SQLite opens them by their names: the database's path and `-journal` or `-wal`. The pager keeps these names in one piece of memory with
//! the database's own (pager.c: `sqlite3PagerOpen`), a short way behind it. So among the open databases of that path, the one whose name lies
//! closest before the journal's is its owner. SQLite has a function for this (`sqlite3_database_file_object`), but it must only be called
//! with a name of the pager's, and a VFS above us may pass names of its own.
//!
//! Names are compared as texts, and their addresses as numbers. No memory is read past the NUL of the journal's name.

use super::file::File;
use super::shim::Shim;
use crate::event::FileKind;
use crate::recorder::thread;
use std::ffi::{CStr, c_char};
use std::ptr;

/// The pager's names for its journal and WAL can lie this far behind the database's name, and twice its length: the parameters of a URI.
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
        let locks = &file.connection.locks;
        locks.shim().is_some_and(|theirs| ptr::eq(theirs, shim)) && locks.path().is_some_and(|path| path.to_bytes() == database)
    };
    let mut fitting = File::open_files().map(|(file, _)| file).filter(fits);
    let (mut only, mut closest, mut last) = (fitting.next(), None, None);
    let reach = 2 * database.len() + PARAMETERS;
    let worked_on = thread::worked_on().conn;
    for (n, file) in only.into_iter().chain(fitting).enumerate() {
        if n > 0 {
            only = None;
        }
        let behind = (name as usize).wrapping_sub(file.connection.locks.name_at());
        if behind <= reach && closest.is_none_or(|(least, _)| behind < least) {
            closest = Some((behind, file));
        }
        if file.connection.locks.conn() == worked_on {
            last = Some(file);
        }
    }
    // Where a pager lays out its names in another way: the only connection, or the one this thread has just worked on.
    closest.map(|(_, file)| file).or(only).or(last)
}
