//! The file of a database export: opening it, and the check whether an existing file may be replaced.
#![forbid(unsafe_code)]

use rusqlite::{Connection, OpenFlags, Result};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The application id of the file (`PRAGMA application_id`): `LkTr`.
pub(super) const APPLICATION: i32 = i32::from_be_bytes(*b"LkTr");

/// Where the application id is in a database file (fileformat2.html, section 1.3).
const APPLICATION_AT: usize = 68;

/// Opens a file that is empty or not there yet.
pub(super) fn open(path: &Path) -> Result<Connection> {
    // Without URIs, so that a name is only a name, and with SQLite's own VFS even if another one is the default.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags_and_vfs(path, flags, "unix")
}

/// Checks that writing a database of this name loses nothing: there is no such file, or an export has written it.
///
/// # Errors
/// If another file is there, or it cannot be read. The error names it.
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
