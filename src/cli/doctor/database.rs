//! The check of a database file: its file system, journal mode, WAL size and permissions.
//!
//! The file is read as bytes, without SQLite: nothing is locked, created or changed. Opening and closing it here is harmless, because it drops only
//! the POSIX locks of this process.
#![forbid(unsafe_code)]

use super::finding::{Finding, FindingLevel};
use super::sqlite::wal_reset_exposed;
use rustix::fs::Access;
use shim::recorder::file_system;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// File systems on which SQLite's locks depend on another machine: <https://sqlite.org/wal.html>, `network-filesystem` in traces.
const NETWORK: [&str; 9] = ["nfs", "cifs", "smb", "smb2", "9p", "fuse", "ceph", "lustre", "afs"];

/// The header: <https://sqlite.org/fileformat2.html#the_database_header>.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Whether locks on this file system are unreliable.
pub(super) fn is_network(file_system: &str) -> bool {
    NETWORK.contains(&file_system)
}

/// Examines a database. `versions` are those of the SQLites that may open it.
pub(super) fn examine(path: &Path, versions: &[&str]) -> Vec<Finding> {
    let shown = path.display();
    let meta = match path.metadata() {
        Ok(meta) => meta,
        Err(error) => return vec![Finding::new("database", FindingLevel::Problem, format!("{shown}: {error}"))],
    };
    if !meta.is_file() {
        return vec![Finding::new(
            "database",
            FindingLevel::Problem,
            format!("{shown} is not a regular file; expected a database"),
        )];
    }
    let mut found = Vec::new();
    let mut header = [0; 100];
    let length = match File::open(path).and_then(|file| file.read_at(&mut header, 0)) {
        Ok(length) => length,
        Err(error) => return vec![Finding::new("database", FindingLevel::Problem, format!("{shown} cannot be read: {error}"))],
    };
    let wal = match (length, header.starts_with(MAGIC), header[18]) {
        (0, ..) => {
            found.push(Finding::new(
                "journal-mode",
                FindingLevel::Ok,
                format!("{shown} is empty: a new database, in a rollback journal mode"),
            ));
            false
        }
        (100, true, 1) => {
            let what =
                format!("{shown} is in a rollback journal mode: a committing writer blocks readers, and readers block its commit");
            found.push(Finding::new("journal-mode", FindingLevel::Note, what).typed("PRAGMA journal_mode=WAL"));
            false
        }
        (100, true, 2) => {
            found.push(Finding::new("journal-mode", FindingLevel::Ok, format!("{shown} is in WAL mode")));
            true
        }
        (100, true, version) => {
            let what = format!("{shown}: byte 18 (the file format's version) is {version}; expected 1 or 2");
            found.push(Finding::new("database", FindingLevel::Problem, what));
            return found;
        }
        _ => {
            let what = format!("{shown}: byte 0: this is not a SQLite database, or an encrypted one: expected \"SQLite format 3\"");
            found.push(Finding::new("database", FindingLevel::Problem, what));
            return found;
        }
    };
    if wal {
        found.extend(wal_file(path));
    } else if beside(path, "-journal").metadata().is_ok_and(|meta| meta.len() > 0) {
        let what = "it has a journal: a writer is at work, or one died, and the next connection rolls its transaction back";
        found.push(Finding::new("journal", FindingLevel::Note, what));
    }
    found.push(place(path));
    // SQLite creates the journal, the WAL and its index in the same directory.
    let dir = path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned));
    for (place, what) in [(Some(path), "it"), (dir.as_deref(), "its directory, where the journal or the WAL goes")] {
        if place.is_some_and(|place| rustix::fs::access(place, Access::WRITE_OK).is_err()) {
            found.push(Finding::new(
                "read-only",
                FindingLevel::Note,
                format!("you cannot write {what}: you can only read the database, or not open it at all"),
            ));
        }
    }
    let exposed: Vec<&str> = versions.iter().copied().filter(|version| wal_reset_exposed(version)).collect();
    if wal && !exposed.is_empty() {
        let what = format!(
            "{shown} is in WAL mode, and SQLite {} has the WAL-reset bug: several writers can damage it. Upgrade, and set no mmap_size until \
             then",
            exposed.join(" and ")
        );
        found.push(Finding::new("wal-reset-exposure", FindingLevel::Warning, what));
    }
    found
}

/// The finding about the file system.
fn place(path: &Path) -> Finding {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    match file_system(real.as_os_str().as_bytes()) {
        Some(kind) if is_network(&kind) => {
            let what = format!(
                "it is on a file system of type {kind}: locks there depend on another machine or process, and WAL does not work across \
                 hosts. Move it to a local disk"
            );
            Finding::new("network-filesystem", FindingLevel::Warning, what)
        }
        Some(kind) => Finding::new("file-system", FindingLevel::Ok, format!("it is on a file system of type {kind}")),
        None => Finding::new("file-system", FindingLevel::Note, "the type of its file system cannot be read"),
    }
}

/// The finding about the sizes of the WAL and the database.
fn wal_file(path: &Path) -> Option<Finding> {
    let wal = beside(path, "-wal").metadata().ok()?.len();
    let database = path.metadata().ok()?.len();
    let mebibytes = |bytes: u64| bytes as f64 / (1 << 20) as f64;
    // An automatic checkpoint begins at 1000 pages (of 4 KiB).
    let level = if wal > 64 << 20 { FindingLevel::Warning } else { FindingLevel::Ok };
    let more =
        if level == FindingLevel::Warning { ": checkpoints do not reach its end, probably because of a long reader" } else { "" };
    Some(Finding::new(
        "wal-size",
        level,
        format!("the -wal has {:.1} MiB, the database {:.1} MiB{more}", mebibytes(wal), mebibytes(database)),
    ))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
