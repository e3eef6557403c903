//! Where a verb writes: standard output, or a file that has its name only once it is whole (or a dataset, whose files have).
//!
//! Input: the path a user gave. Output: a stream ([`Destination::stream`]) or the path to write at ([`Destination::place`]). Until [`Destination::done`]
//! a file is `NAME.partial`; dropped before that, or with Ctrl-C, it is removed, and what had the name is as it was; a dataset's files likewise. A pipe or a
//! device is written as it is.
#![forbid(unsafe_code)]

use super::io::Failure;
use crate::export::unfinished::Unfinished;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// Text, which may go to a terminal.
    Text,
    /// One stream of bytes that a terminal cannot show.
    Binary,
    /// One file that its writer opens by path ([`Destination::place`]).
    File,
    /// A directory that files are added to; their writer gives them their names when all are whole ([`Destination::unfinished`]).
    Dataset,
}

/// See the module.
pub(super) struct Destination {
    /// What the user called it; `-` for standard output.
    given: PathBuf,
    target: Target,
    unfinished: Unfinished,
    written: Rc<Cell<u64>>,
}

enum Target {
    Stdout,
    /// Not a regular file: opened and written in place.
    Stream(PathBuf),
    /// A directory that is there already, or is made.
    Dataset(PathBuf),
    Whole {
        partial: PathBuf,
        path: PathBuf,
    },
}

impl Destination {
    pub(super) fn new(path: &Path, shape: Shape) -> Result<Destination, Failure> {
        let target = target(path, shape).map_err(Failure::Other)?;
        let unfinished = Unfinished::default();
        if matches!(target, Target::Whole { .. } | Target::Dataset(_)) {
            removed_when_interrupted(path.to_owned(), unfinished.clone())
                .map_err(|error| Failure::Other(format!("cannot watch for signals: {error}")))?;
        }
        if let Target::Whole { partial, .. } = &target {
            unfinished.create(partial).map_err(|error| Failure::Other(error.to_string()))?;
        }
        Ok(Destination { given: path.to_owned(), target, unfinished, written: Rc::default() })
    }

    /// A stream to write it to, once.
    pub(super) fn stream(&self) -> io::Result<Box<dyn Write>> {
        let out: Box<dyn Write> = match &self.target {
            Target::Stdout => Box::new(io::stdout()),
            Target::Stream(path) | Target::Dataset(path) => Box::new(File::options().write(true).open(path)?),
            Target::Whole { partial, .. } => Box::new(File::options().write(true).open(partial)?),
        };
        Ok(Box::new(BufWriter::with_capacity(1 << 18, Counted { out, written: Rc::clone(&self.written) })))
    }

    /// Where to write what is opened by path: an empty file, or a directory.
    pub(super) fn place(&self) -> &Path {
        match &self.target {
            Target::Stdout => &self.given,
            Target::Stream(path) | Target::Dataset(path) | Target::Whole { partial: path, .. } => path,
        }
    }

    /// What whoever writes a dataset makes its files with.
    pub(super) fn unfinished(&self) -> Unfinished {
        self.unfinished.clone()
    }

    /// It could not be written, for this reason.
    pub(super) fn failed(&self, error: io::Error) -> Failure {
        match &self.target {
            Target::Stdout => Failure::Output(error),
            _ if error.kind() == io::ErrorKind::Interrupted => {
                Failure::Other(format!("{}: not written: {error}", self.given.display()))
            }
            Target::Stream(path) | Target::Dataset(path) => {
                Failure::Other(format!("{}: cannot be written: {error}", path.display()))
            }
            Target::Whole { partial, .. } => {
                Failure::Other(format!("{}: cannot be written: {error}; {} is removed", self.given.display(), partial.display()))
            }
        }
    }

    /// It is whole: gives it its name. Its size in bytes.
    pub(super) fn done(self) -> Result<u64, Failure> {
        match &self.target {
            Target::Stdout | Target::Stream(_) => Ok(self.written.get()),
            Target::Dataset(_) => Ok(self.unfinished.written()),
            Target::Whole { partial, path } => {
                let name = || fs::metadata(partial).and_then(|meta| fs::rename(partial, path).map(|()| meta.len()));
                self.unfinished.finish(name).map_err(|error| self.failed(error))
            }
        }
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        self.unfinished.remove();
    }
}

/// Whoever interrupts us finds no partial file.
fn removed_when_interrupted(given: PathBuf, unfinished: Unfinished) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::Builder::new().name("interrupted".to_owned()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let what = match unfinished.abandon().as_slice() {
                [] => String::new(),
                [one] => format!("; {} is removed", one.display()),
                files => format!("; {}: the {} files that were not whole are removed", given.display(), files.len()),
            };
            let _ = writeln!(io::stderr(), "\nlocktrace: interrupted{what}");
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}

const NOT_SHOWN: &str = "this format is not for a terminal: give a file with -o FILE, or pipe it on";

fn target(given: &Path, shape: Shape) -> Result<Target, String> {
    if given == Path::new("-") {
        return match shape {
            Shape::Text => Ok(Target::Stdout),
            Shape::Binary if !io::stdout().is_terminal() => Ok(Target::Stdout),
            Shape::Binary => Err(NOT_SHOWN.to_owned()),
            Shape::File | Shape::Dataset => Err("this format cannot go to standard output: give a name with -o".to_owned()),
        };
    }
    // Behind a symbolic link, the file it leads to is replaced, and not the link.
    let path = fs::canonicalize(given).unwrap_or_else(|_| given.to_owned());
    let there = fs::metadata(&path).ok();
    match (&there, shape) {
        (Some(meta), Shape::Dataset) if !meta.is_dir() => {
            return Err(format!("{}: is a file, and this format writes a directory", given.display()));
        }
        (Some(meta), Shape::Text | Shape::Binary | Shape::File) if meta.is_dir() => {
            return Err(format!("{}: is a directory, and this format writes a file", given.display()));
        }
        (Some(meta), Shape::Binary)
            if meta.file_type().is_char_device() && File::open(&path).is_ok_and(|file| file.is_terminal()) =>
        {
            return Err(format!("{}: {NOT_SHOWN}", given.display()));
        }
        (Some(meta), Shape::Text | Shape::Binary) if !meta.is_file() => return Ok(Target::Stream(path)),
        _ => {}
    }
    if shape == Shape::Dataset {
        return Ok(Target::Dataset(path));
    }
    let mut name = path.file_name().ok_or_else(|| format!("{}: is no name for a file", given.display()))?.to_owned();
    name.push(".partial");
    Ok(Target::Whole { partial: path.with_file_name(name), path })
}

/// Counts what goes through.
struct Counted<W> {
    out: W,
    written: Rc<Cell<u64>>,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.written.set(self.written.get() + count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
