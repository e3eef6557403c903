//! The trace a verb reads: a directory, a file of JSON lines, or standard input.
#![forbid(unsafe_code)]

use super::Failure;
use super::quote::quoted;
use crate::trace::{self, Trace};
use shim::format::{NAMES_EXTENSION, RING_EXTENSION};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// The path of the trace: the given one, `-` for JSON lines on standard input, or the default directory.
pub(in crate::cli) fn place(given: Option<&Path>) -> PathBuf {
    given.map_or_else(
        || {
            let dir = std::env::var_os("LOCKTRACE_DIR").filter(|dir| !dir.is_empty());
            dir.map_or_else(|| PathBuf::from("locktrace-trace"), PathBuf::from)
        },
        Path::to_path_buf,
    )
}

/// Opens the trace of a verb, to read it once.
pub(in crate::cli) fn open(given: Option<&Path>) -> Result<Trace, trace::Error> {
    let path = place(given);
    if path == Path::new("-") {
        return Ok(Trace::from_lines(Path::new(STDIN), Box::new(io::BufReader::new(io::stdin())))?.named(word(given)));
    }
    Ok(Trace::open(&path)?.named(word(given)))
}

/// The trace as the next command line names it; empty if it finds the trace by itself.
fn word(given: Option<&Path>) -> String {
    given.map_or_else(String::new, |path| quoted(path.as_os_str()))
}

/// The name of standard input in errors.
const STDIN: &str = "standard input";

/// A trace that can be opened more than once. Standard input is copied to an unnamed temporary file, which ends with this process.
pub(in crate::cli) struct Reopenable {
    path: PathBuf,
    word: String,
    kept: Option<File>,
}

impl Reopenable {
    pub(in crate::cli) fn new(given: Option<&Path>) -> Result<Reopenable, Failure> {
        let path = place(given);
        let kept = if path == Path::new("-") { Some(keep(&mut io::stdin().lock())?) } else { None };
        Ok(Reopenable { path, word: word(given), kept })
    }

    pub(in crate::cli) fn open(&self) -> Result<Trace, Failure> {
        let Some(kept) = &self.kept else { return Ok(Trace::open(&self.path)?.named(self.word.clone())) };
        // A new open file: a duplicate of the descriptor would share its offset.
        let lines = || {
            let lines = File::open(format!("/proc/self/fd/{}", kept.as_raw_fd()));
            lines.map_err(|error| Failure::Other(format!("{STDIN}: its temporary copy cannot be read: {error}")))
        };
        let reader = Box::new(io::BufReader::with_capacity(1 << 20, lines()?));
        Ok(Trace::from_reader(Path::new(STDIN), reader, Some(lines()?))?.named(self.word.clone()))
    }
}

fn keep(stream: &mut impl io::Read) -> Result<File, Failure> {
    let dir = std::env::temp_dir();
    let kept = tempfile::tempfile_in(&dir).and_then(|mut file| io::copy(stream, &mut file).map(|_| file));
    kept.map_err(|error| {
        let why = format!("cannot be copied to {} to be read twice: {error}; give a file or a directory instead", dir.display());
        Failure::Other(format!("{STDIN}: {why}"))
    })
}

/// The names of the log files in a directory; empty if the directory does not exist.
pub(in crate::cli) fn log_files(dir: &Path) -> Result<BTreeSet<OsString>, Failure> {
    let fail = |error: io::Error| Failure::Other(format!("{}: {error}", dir.display()));
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut found = BTreeSet::new();
    for entry in entries {
        let name = entry.map_err(fail)?.file_name();
        if Path::new(&name).extension().is_some_and(|extension| extension == RING_EXTENSION || extension == NAMES_EXTENSION) {
            found.insert(name);
        }
    }
    Ok(found)
}
