//! Where a verb writes: standard output, or a file or directory that has its name only once it is whole (or a dataset, whose files have).
//!
//! In comes the path a user gave; out go a stream ([`Destination::stream`]) or the path to write at ([`Destination::place`]). Until [`Destination::done`]
//! a file is `NAME.partial`; dropped before that, or with Ctrl-C, it is removed, and what had the name is as it was. A pipe or a device is written as it is.
#![forbid(unsafe_code)]

use super::Failure;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(dead_code, reason = "each format has one of these")]
pub(super) enum Shape {
    /// Text, which may go to a terminal.
    Text,
    /// One stream of bytes that a terminal cannot show.
    Binary,
    /// One file that its writer opens by path ([`Destination::place`]).
    File,
    /// A directory.
    Directory,
    /// A directory that files are added to; their writer gives them their names when all are whole.
    Dataset,
}

/// See the module.
pub(super) struct Destination {
    /// What the user called it; `-` for standard output.
    given: PathBuf,
    target: Target,
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
        /// Keeps the lock on the partial file, so that no two write it.
        _lock: Option<File>,
        finished: Cell<bool>,
    },
}

impl Destination {
    pub(super) fn new(path: &Path, shape: Shape) -> Result<Destination, Failure> {
        let target = target(path, shape).map_err(Failure::Other)?;
        Ok(Destination { given: path.to_owned(), target, written: Rc::default() })
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
    #[allow(dead_code, reason = "for formats that are not one stream")]
    pub(super) fn place(&self) -> &Path {
        match &self.target {
            Target::Stdout => &self.given,
            Target::Stream(path) | Target::Dataset(path) | Target::Whole { partial: path, .. } => path,
        }
    }

    /// Where a writer that has no stream counts its bytes.
    pub(super) fn counter(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.written)
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
        let Target::Whole { partial, path, finished, .. } = &self.target else { return Ok(self.written.get()) };
        let size = size(partial).and_then(|size| fs::rename(partial, path).map(|()| size)).map_err(|error| self.failed(error))?;
        finished.set(true);
        Ok(size)
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if let Target::Whole { partial, finished, .. } = &self.target
            && !finished.get()
        {
            remove(partial);
        }
    }
}

fn remove(partial: &Path) {
    let _ = if partial.is_dir() { fs::remove_dir_all(partial) } else { fs::remove_file(partial) };
}

/// Whoever interrupts us finds no partial file.
fn removed_when_interrupted(partial: PathBuf) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::Builder::new().name("interrupted".to_owned()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            remove(&partial);
            let _ = writeln!(io::stderr(), "\nlocktrace: interrupted; {} is removed", partial.display());
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}

fn target(given: &Path, shape: Shape) -> Result<Target, String> {
    if given == Path::new("-") {
        return match shape {
            Shape::Text => Ok(Target::Stdout),
            Shape::Binary if !io::stdout().is_terminal() => Ok(Target::Stdout),
            Shape::Binary => Err("this format is not for a terminal: give a file with -o FILE, or pipe it on".to_owned()),
            Shape::File | Shape::Directory | Shape::Dataset => {
                Err("this format cannot go to standard output: give a name with -o".to_owned())
            }
        };
    }
    let cannot = |path: &Path, error: io::Error| format!("{}: cannot be written: {error}", path.display());
    // Behind a symbolic link, the file it leads to is replaced, and not the link.
    let path = fs::canonicalize(given).unwrap_or_else(|_| given.to_owned());
    let there = fs::metadata(&path).ok();
    match (&there, shape) {
        (Some(meta), Shape::Directory | Shape::Dataset) if !meta.is_dir() => {
            return Err(format!("{}: is a file, and this format writes a directory", given.display()));
        }
        (Some(_), Shape::Directory) if fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) => {
            return Err(format!("{}: is there and not empty: give another name, or remove it first", given.display()));
        }
        (Some(meta), Shape::Text | Shape::Binary | Shape::File) if meta.is_dir() => {
            return Err(format!("{}: is a directory, and this format writes a file", given.display()));
        }
        (Some(meta), Shape::Text | Shape::Binary) if !meta.is_file() => return Ok(Target::Stream(path)),
        _ => {}
    }
    if shape == Shape::Dataset {
        return Ok(Target::Dataset(path));
    }
    let mut name = path.file_name().ok_or_else(|| format!("{}: is no name for a file", given.display()))?.to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let lock = if shape == Shape::Directory {
        let _ = fs::remove_dir_all(&partial);
        fs::create_dir(&partial).map_err(|error| cannot(&partial, error))?;
        None
    } else {
        // What an export that was killed left there is of no use to anybody; what one writes now is.
        let file =
            File::options().write(true).create(true).truncate(false).open(&partial).map_err(|error| cannot(&partial, error))?;
        if file.try_lock().is_err() {
            return Err(format!("{}: another export is writing it", partial.display()));
        }
        file.set_len(0).map_err(|error| cannot(&partial, error))?;
        Some(file)
    };
    removed_when_interrupted(partial.clone()).map_err(|error| format!("cannot watch for signals: {error}"))?;
    Ok(Target::Whole { partial, path, _lock: lock, finished: Cell::new(false) })
}

/// The bytes of a file, or of all files below a directory.
fn size(path: &Path) -> io::Result<u64> {
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    fs::read_dir(path)?.try_fold(0, |sum, entry| Ok(sum + size(&entry?.path())?))
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
