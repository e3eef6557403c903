//! The file of a database: how it is opened, and whose file may be replaced.
#![forbid(unsafe_code)]

use rusqlite::{Connection, OpenFlags, Result};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What the file says it is, to whoever asks (`PRAGMA application_id`): `LkTr`.
pub(super) const APPLICATION: i32 = i32::from_be_bytes(*b"LkTr");

/// Where the application's number is in a database file (fileformat2.html, section 1.3).
const APPLICATION_AT: usize = 68;

/// Opens a file that is empty or not there yet.
pub(super) fn open(path: &Path) -> Result<Connection> {
    // No URI, so that a name is a name; and SQLite's own VFS, whatever is the default.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags_and_vfs(path, flags, "unix")
}

/// Whether nothing is lost by writing a database of this name: nothing is there, or what an export has written.
///
/// # Errors
/// When something else is there, or it cannot be read; the error names it.
pub fn may_replace(target: &Path) -> io::Result<()> {
    let said = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", target.display()));
    let mut head = Vec::new();
    match File::open(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(said(error)),
        Ok(file) if file.metadata().is_ok_and(|meta| meta.is_dir()) => return Ok(()),
        Ok(file) => file.take(100).read_to_end(&mut head).map_err(said)?,
    };
    if head.is_empty() || head.get(APPLICATION_AT..APPLICATION_AT + 4) == Some(&APPLICATION.to_be_bytes()) {
        return Ok(());
    }
    let what = format!("{}: there is a file that no export of a trace to SQLite has written; give another name", target.display());
    Err(io::Error::new(io::ErrorKind::AlreadyExists, what))
}
