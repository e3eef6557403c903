//! The results of `doctor`: SQLites, ways in with their verdicts, and findings. [`super::show`] prints them.
#![forbid(unsafe_code)]

use std::path::PathBuf;

/// The weight of a finding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FindingLevel {
    /// Nothing to do.
    Ok,
    /// Worth knowing.
    Note,
    /// Something should be changed.
    Warning,
    /// It prevents tracing.
    Problem,
}

impl FindingLevel {
    pub(super) fn name(self) -> &'static str {
        match self {
            FindingLevel::Ok => "ok",
            FindingLevel::Note => "note",
            FindingLevel::Warning => "warning",
            FindingLevel::Problem => "problem",
        }
    }
}

/// A finding.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    /// Its stable id.
    pub id: &'static str,
    pub level: FindingLevel,
    /// The finding in words, with what to do.
    pub what: String,
    /// The line to type, if there is one.
    pub typed: Option<String>,
}

impl Finding {
    pub(super) fn new(id: &'static str, level: FindingLevel, what: impl Into<String>) -> Finding {
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
pub(super) enum WayVerdict {
    /// It cannot work.
    No,
    /// It may work.
    May,
    /// It was tried, or follows from how the program is linked.
    Works,
}

impl WayVerdict {
    pub(super) fn name(self) -> &'static str {
        match self {
            WayVerdict::No => "no",
            WayVerdict::May => "may work",
            WayVerdict::Works => "works",
        }
    }
}

/// A way into a program.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// `run`, `extension` or `crate`.
    pub name: &'static str,
    pub verdict: WayVerdict,
    /// Whether it was tried: a database was opened and its locks were recorded.
    pub tried: bool,
    pub why: String,
    /// The line to type.
    pub typed: Option<String>,
}

impl Way {
    pub(super) fn new(name: &'static str, verdict: WayVerdict, why: impl Into<String>) -> Way {
        Way { name, verdict, tried: false, why: why.into(), typed: None }
    }

    /// Adds the line to type, if the way can work.
    #[must_use]
    pub(super) fn typed(mut self, line: impl Into<String>) -> Way {
        if self.verdict != WayVerdict::No {
            self.typed = Some(line.into());
        }
        self
    }
}

/// A SQLite that the program uses or contains.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SqliteLibrary {
    /// The file that contains it.
    pub path: PathBuf,
    /// The module that uses it, if that is not the program itself.
    pub module: Option<String>,
    /// Its version, if that can be read.
    pub version: Option<String>,
    /// Its source id (date and hash), if that can be read.
    pub source_id: Option<String>,
    pub symbols: Symbols,
}

/// The place of a SQLite, and whether its functions are exported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Symbols {
    /// In a shared library, exported.
    Shared,
    /// In the program itself, exported.
    Program,
    /// In the program or a library, not exported.
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

/// The whole result.
#[derive(Clone, Debug, Default)]
pub(super) struct Diagnosis {
    /// The examined program: labels and texts.
    pub subject: Vec<(&'static str, String)>,
    pub libraries: Vec<SqliteLibrary>,
    pub ways: Vec<Way>,
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// The best of the ways in.
    pub(super) fn verdict(&self) -> WayVerdict {
        self.ways.iter().map(|way| way.verdict).max().unwrap_or(WayVerdict::No)
    }
}
