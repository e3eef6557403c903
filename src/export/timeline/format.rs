//! The elements of a timeline (rows, slices, arrows, counters), and [`TimelineFormat`], which writes them in one format.
#![forbid(unsafe_code)]

use crate::analysis::ConnId;
use crate::trace::{LogId, Trace};
use std::io;

/// What a row shows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum RowKind {
    /// The lock that the connection keeps for its whole life.
    Life,
    Locks,
    Work,
    Waits,
    Blocking,
}

impl RowKind {
    pub(super) const ALL: [RowKind; 5] = [RowKind::Life, RowKind::Locks, RowKind::Work, RowKind::Waits, RowKind::Blocking];

    pub(super) fn name(self) -> &'static str {
        match self {
            RowKind::Life => "life",
            RowKind::Locks => "locks",
            RowKind::Work => "work",
            RowKind::Waits => "waits",
            RowKind::Blocking => "blocking",
        }
    }

    /// The category of its slices.
    pub(super) fn category(self) -> &'static str {
        match self {
            RowKind::Life | RowKind::Locks => "hold",
            RowKind::Work => "work",
            RowKind::Waits => "wait",
            RowKind::Blocking => "blocking",
        }
    }
}

/// A row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct RowId {
    pub who: ConnId,
    pub kind: RowKind,
    /// Further rows of the same kind count from 1.
    pub lane: u8,
}

/// The value of an argument.
#[derive(Clone, Copy, Debug)]
pub(super) enum ArgValue<'a> {
    Number(u64),
    Yes,
    /// One of few texts.
    Word(&'static str),
    Text(&'a str),
    /// A statement with its hash.
    Sql(u64, &'a str),
}

/// An argument of a slice: a detail that viewers show with it.
pub(super) type Arg<'a> = (&'static str, ArgValue<'a>);

/// A slice of a row, or, where `instant`, a point.
pub(super) struct Slice<'a> {
    pub row: RowId,
    /// In nanoseconds since 1970.
    pub from: u64,
    pub to: u64,
    pub instant: bool,
    pub name: &'a str,
    pub args: &'a [Arg<'a>],
    /// Arrows that begin or end here.
    pub arrows: &'a [Arrow],
}

/// One end of an arrow from a hold to a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Arrow {
    pub id: u64,
    /// Whether this is its end at the wait.
    pub ends: bool,
}

/// A counter of a database.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Counter {
    /// Bytes written to its -wal since the -wal was last restarted.
    Wal,
    /// 1 while a connection holds WRITE or RESERVED.
    Writing,
}

/// Writes one format.
pub(super) trait TimelineFormat {
    /// Declares a process. All of them come first.
    fn process(&mut self, trace: &Trace, log: LogId) -> io::Result<()>;
    /// Declares a row before its slices. The same row can be declared a second time.
    fn row(&mut self, trace: &Trace, row: RowId, database: Option<&str>) -> io::Result<()>;
    fn slice(&mut self, slice: &Slice<'_>) -> io::Result<()>;
    /// Declares a counter before its values.
    fn counter(&mut self, db: u32, counter: Counter, path: &str) -> io::Result<()>;
    /// Gives a counter this value from this nanosecond on.
    fn value(&mut self, db: u32, counter: Counter, path: &str, at: u64, value: u64) -> io::Result<()>;
    /// Writes a note about a whole process or the trace, such as losses.
    fn note(&mut self, log: Option<LogId>, at: u64, what: &str) -> io::Result<()>;
    /// Ends the output.
    fn end(&mut self) -> io::Result<()>;
}

/// The arguments of a slice. Unknown values are left out.
#[derive(Default)]
pub(super) struct Args<'a>(pub(super) Vec<Arg<'a>>);

impl<'a> Args<'a> {
    pub(super) fn sql(&mut self, key: &'static str, hash: u64, text: Option<&'a str>) {
        self.0.extend(text.map(|text| (key, ArgValue::Sql(hash, text))));
    }

    pub(super) fn text(&mut self, key: &'static str, text: &'a str) {
        self.0.push((key, ArgValue::Text(text)));
    }

    pub(super) fn word(&mut self, key: &'static str, word: &'static str) {
        self.0.push((key, ArgValue::Word(word)));
    }

    pub(super) fn number(&mut self, key: &'static str, number: Option<u64>) {
        self.0.extend(number.map(|number| (key, ArgValue::Number(number))));
    }

    pub(super) fn yes(&mut self, key: &'static str, is: bool) {
        if is {
            self.0.push((key, ArgValue::Yes));
        }
    }
}
