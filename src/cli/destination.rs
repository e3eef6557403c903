//! The destination of a verb's output: standard output, a file, or the directory of a dataset.
//!
//! A format writes to a stream ([`Destination::stream`]) or at a path ([`Destination::place`]). Until [`Destination::done`] a file is
//! `NAME.partial`. If it is dropped before that, or Ctrl-C is pressed, it is removed, and an earlier file of that name stays unchanged. The files of
//! a dataset are treated in the same way. A pipe or a device is written directly.
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

/// The kind of output that a format writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// Text, which can go to a terminal.
    Text,
    /// One stream of bytes that a terminal cannot show.
    Binary,
    /// One file that its writer opens by path ([`Destination::place`]).
    File,
    /// A directory to which files are added. The writer renames them when all are complete ([`Destination::unfinished`]).
    Dataset,
}

/// See the module.
pub(super) struct Destination {
    /// The path as the user gave it; `-` for standard output.
    given: PathBuf,
    target: OutputTarget,
    unfinished: Unfinished,
    written: Rc<Cell<u64>>,
}

enum OutputTarget {
    Stdout,
    /// Not a regular file: opened and written in place.
    Stream(PathBuf),
    /// A directory, which is created if it is missing.
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
        if matches!(target, OutputTarget::Whole { .. } | OutputTarget::Dataset(_)) {
            removed_when_interrupted(path.to_owned(), unfinished.clone())
                .map_err(|error| Failure::Other(format!("cannot watch for signals: {error}")))?;
        }
        if let OutputTarget::Whole { partial, .. } = &target {
            unfinished.create(partial).map_err(|error| Failure::Other(error.to_string()))?;
        }
        Ok(Destination { given: path.to_owned(), target, unfinished, written: Rc::default() })
    }

    /// Opens the stream to write to. Called once.
    pub(super) fn stream(&self) -> io::Result<Box<dyn Write>> {
        let out: Box<dyn Write> = match &self.target {
            OutputTarget::Stdout => Box::new(io::stdout()),
            OutputTarget::Stream(path) | OutputTarget::Dataset(path) => Box::new(File::options().write(true).open(path)?),
            OutputTarget::Whole { partial, .. } => Box::new(File::options().write(true).open(partial)?),
        };
        Ok(Box::new(BufWriter::with_capacity(1 << 18, Counted { out, written: Rc::clone(&self.written) })))
    }

    /// The path of an output that is opened by path: an empty file, or a directory.
    pub(super) fn place(&self) -> &Path {
        match &self.target {
            OutputTarget::Stdout => &self.given,
            OutputTarget::Stream(path) | OutputTarget::Dataset(path) | OutputTarget::Whole { partial: path, .. } => path,
        }
    }

    /// The unfinished files of a dataset, for its writer.
    pub(super) fn unfinished(&self) -> Unfinished {
        self.unfinished.clone()
    }

    /// The failure for an error of the output.
    pub(super) fn failed(&self, error: io::Error) -> Failure {
        match &self.target {
            OutputTarget::Stdout => Failure::Output(error),
            _ if error.kind() == io::ErrorKind::Interrupted => {
                Failure::Other(format!("{}: not written: {error}", self.given.display()))
            }
            OutputTarget::Stream(path) | OutputTarget::Dataset(path) => {
                Failure::Other(format!("{}: cannot be written: {error}", path.display()))
            }
            OutputTarget::Whole { partial, .. } => {
                Failure::Other(format!("{}: cannot be written: {error}; {} is removed", self.given.display(), partial.display()))
            }
        }
    }

    /// Renames the complete output, and returns its size in bytes.
    pub(super) fn done(self) -> Result<u64, Failure> {
        match &self.target {
            OutputTarget::Stdout | OutputTarget::Stream(_) => Ok(self.written.get()),
            OutputTarget::Dataset(_) => Ok(self.unfinished.written()),
            OutputTarget::Whole { partial, path } => {
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

/// Removes unfinished files when a signal interrupts this process.
fn removed_when_interrupted(given: PathBuf, unfinished: Unfinished) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::Builder::new().name("interrupted".to_owned()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let what = match unfinished.abandon().as_slice() {
                [] => String::new(),
                [one] => format!("; {} is removed", one.display()),
                files => format!("; {}: the {} unfinished files are removed", given.display(), files.len()),
            };
            let _ = writeln!(io::stderr(), "\nlocktrace: interrupted{what}");
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}

const NOT_SHOWN: &str = "a terminal cannot show this format: give a file with -o FILE, or pipe it on";

fn target(given: &Path, shape: Shape) -> Result<OutputTarget, String> {
    if given == Path::new("-") {
        return match shape {
            Shape::Text => Ok(OutputTarget::Stdout),
            Shape::Binary if !io::stdout().is_terminal() => Ok(OutputTarget::Stdout),
            Shape::Binary => Err(NOT_SHOWN.to_owned()),
            Shape::File | Shape::Dataset => Err("this format cannot go to standard output: give a file with -o FILE".to_owned()),
        };
    }
    // A symbolic link stays: the file that it leads to is replaced.
    let path = fs::canonicalize(given).unwrap_or_else(|_| given.to_owned());
    let there = fs::metadata(&path).ok();
    match (&there, shape) {
        (Some(meta), Shape::Dataset) if !meta.is_dir() => {
            return Err(format!("{}: is a file, but this format writes a directory", given.display()));
        }
        (Some(meta), Shape::Text | Shape::Binary | Shape::File) if meta.is_dir() => {
            return Err(format!("{}: is a directory, but this format writes a file", given.display()));
        }
        (Some(meta), Shape::Binary)
            if meta.file_type().is_char_device() && File::open(&path).is_ok_and(|file| file.is_terminal()) =>
        {
            return Err(format!("{}: {NOT_SHOWN}", given.display()));
        }
        (Some(meta), Shape::Text | Shape::Binary) if !meta.is_file() => return Ok(OutputTarget::Stream(path)),
        _ => {}
    }
    if shape == Shape::Dataset {
        return Ok(OutputTarget::Dataset(path));
    }
    let mut name = path.file_name().ok_or_else(|| format!("{}: is not the name of a file", given.display()))?.to_owned();
    name.push(".partial");
    Ok(OutputTarget::Whole { partial: path.with_file_name(name), path })
}

/// A stream that counts its bytes.
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
