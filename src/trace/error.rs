//! The errors of reading a trace: [`Error`] if nothing can be read, [`Problem`] if the rest can.
//!
//! Both have the file, the place in it, what was expected and, where possible, what to do next.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::Path;

/// A place in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Place {
    /// The file as a whole.
    #[default]
    Whole,
    /// A byte offset, counted from 0.
    Byte(u64),
    /// A line, counted from 1.
    Line(u64),
}

/// The weight of a [`Problem`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The result stands; this helps to read it.
    Notice,
    /// Part of the trace could not be used.
    Problem,
}

/// Something wrong with one part of a trace while the rest could be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Notice or problem.
    pub severity: Severity,
    /// The file, as text; empty if it is about the whole trace.
    pub path: String,
    /// Where in the file.
    pub place: Place,
    /// What was found, what was expected, what to do next.
    pub what: String,
}

impl Problem {
    /// Part of this file could not be used.
    #[cold]
    pub(crate) fn unusable(path: &Path, place: Place, what: impl Into<String>) -> Problem {
        Problem { severity: Severity::Problem, path: path.to_string_lossy().into_owned(), place, what: what.into() }
    }

    /// A notice about this file.
    #[cold]
    pub(crate) fn notice(path: &Path, place: Place, what: impl Into<String>) -> Problem {
        Problem { severity: Severity::Notice, ..Problem::unusable(path, place, what) }
    }

    /// A notice about the whole trace.
    #[cold]
    pub(crate) fn general(what: impl Into<String>) -> Problem {
        Problem { severity: Severity::Notice, path: String::new(), place: Place::Whole, what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, &self.path, self.place, &self.what)
    }
}

fn show(f: &mut fmt::Formatter<'_>, path: &str, place: Place, what: &str) -> fmt::Result {
    if !path.is_empty() {
        write!(f, "{}: ", super::text::Clean(path))?;
    }
    match place {
        Place::Whole => {}
        Place::Byte(byte) => write!(f, "byte {byte}: ")?,
        Place::Line(line) => write!(f, "line {line}: ")?,
    }
    write!(f, "{}", super::text::Clean(what))
}

/// Why a trace cannot be read at all.
#[derive(Debug)]
pub struct Error(Box<ErrorContents>);

#[derive(Debug)]
struct ErrorContents {
    path: String,
    place: Place,
    what: String,
    source: Option<std::io::Error>,
}

impl Error {
    #[cold]
    pub(crate) fn new(path: &Path, place: Place, what: impl Into<String>) -> Error {
        Error(Box::new(ErrorContents { path: path.to_string_lossy().into_owned(), place, what: what.into(), source: None }))
    }

    #[cold]
    pub(crate) fn io(path: &Path, place: Place, doing: &str, source: std::io::Error) -> Error {
        let what = format!("cannot {doing}: {source}");
        Error(Box::new(ErrorContents { path: path.to_string_lossy().into_owned(), place, what, source: Some(source) }))
    }

    /// The file in question, as text.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Where in that file.
    pub fn place(&self) -> Place {
        self.0.place
    }

    /// What was found, what was expected, what to do next.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// This error as a problem, if other files can still be used.
    pub(crate) fn into_problem(self) -> Problem {
        Problem { severity: Severity::Problem, path: self.0.path, place: self.0.place, what: self.0.what }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, &self.0.path, self.0.place, &self.0.what)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}
