//! What `doctor` says: the SQLites it found, the ways in and whether they work, and whatever else is worth knowing.
//!
//! Everything in this directory makes these; [`super::show`] prints them.
#![forbid(unsafe_code)]

use std::path::PathBuf;

/// How much a finding matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Something to do about.
    Warning,
    /// In the way.
    Problem,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Problem => "problem",
        }
    }
}

/// One thing found.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    /// What it is about; stable.
    pub id: &'static str,
    pub level: Level,
    /// In words, with what to do.
    pub what: String,
    /// The line to type, where there is one.
    pub typed: Option<String>,
}

impl Finding {
    pub(super) fn new(id: &'static str, level: Level, what: impl Into<String>) -> Finding {
        Finding { id, level, what: what.into(), typed: None }
    }

    #[must_use]
    pub(super) fn typed(mut self, line: impl Into<String>) -> Finding {
        self.typed = Some(line.into());
        self
    }
}

/// Whether a way in works.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Verdict {
    /// It cannot.
    No,
    /// Nothing is known against it.
    May,
    /// It was tried, or follows from how the program is linked.
    Works,
}

impl Verdict {
    pub(super) fn name(self) -> &'static str {
        match self {
            Verdict::No => "no",
            Verdict::May => "may work",
            Verdict::Works => "works",
        }
    }
}

/// A way into a program.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// `run`, `extension` or `crate`.
    pub name: &'static str,
    pub verdict: Verdict,
    /// A database was opened and its locks recorded, just now.
    pub tried: bool,
    pub why: String,
    /// The line to type.
    pub typed: Option<String>,
}

impl Way {
    pub(super) fn new(name: &'static str, verdict: Verdict, why: impl Into<String>) -> Way {
        Way { name, verdict, tried: false, why: why.into(), typed: None }
    }

    /// With the line to type, if it can work.
    #[must_use]
    pub(super) fn typed(mut self, line: impl Into<String>) -> Way {
        if self.verdict != Verdict::No {
            self.typed = Some(line.into());
        }
        self
    }
}

/// A SQLite that the program uses or carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Library {
    /// The file it is in.
    pub path: PathBuf,
    /// What uses it, where that is not the program itself: a module's name.
    pub module: Option<String>,
    /// Its version, where that can be read.
    pub version: Option<String>,
    /// Its source id (date and hash), where that can be read.
    pub source_id: Option<String>,
    pub symbols: Symbols,
}

/// Where a SQLite is, and whether its functions are exported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Symbols {
    /// In a shared library, exported.
    Shared,
    /// In the program itself, exported.
    Program,
    /// In the program or a library, and nothing of it is exported.
    Hidden,
}

impl Symbols {
    pub(super) fn name(self) -> &'static str {
        match self {
            Symbols::Shared => "shared, exported",
            Symbols::Program => "in the program, exported",
            Symbols::Hidden => "inside, hidden",
        }
    }
}

/// All that was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Diagnosis {
    /// What was asked about, and what it turned out to be; label and text.
    pub subject: Vec<(&'static str, String)>,
    pub libraries: Vec<Library>,
    pub ways: Vec<Way>,
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// The best of the ways in.
    pub(super) fn verdict(&self) -> Verdict {
        self.ways.iter().map(|way| way.verdict).max().unwrap_or(Verdict::No)
    }
}
