//! The words of a timeline, and the one who writes it down: rows, slices, arrows, counters; [`Painter`], one for each format.
//!
//! Comes from [`super::timeline`] and [`super::waits`], which know what to draw; goes to `perfetto` and `firefox`, which know how.
#![forbid(unsafe_code)]

use crate::analysis::ConnId;
use crate::trace::{LogId, Trace};
use std::io;

/// What a row shows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Shows {
    /// The connection's life.
    Life,
    Locks,
    Work,
    Waits,
    InTheWay,
}

impl Shows {
    pub(super) const ALL: [Shows; 5] = [Shows::Life, Shows::Locks, Shows::Work, Shows::Waits, Shows::InTheWay];

    pub(super) fn name(self) -> &'static str {
        match self {
            Shows::Life => "life",
            Shows::Locks => "locks",
            Shows::Work => "work",
            Shows::Waits => "waits",
            Shows::InTheWay => "in the way",
        }
    }

    /// What its slices are, in one word.
    pub(super) fn category(self) -> &'static str {
        match self {
            Shows::Life | Shows::Locks => "hold",
            Shows::Work => "work",
            Shows::Waits => "wait",
            Shows::InTheWay => "in-the-way",
        }
    }
}

/// A row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct RowId {
    pub who: ConnId,
    pub shows: Shows,
    /// The further ones of the same kind, from 1.
    pub lane: u8,
}

/// A value of a fact.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Number(u64),
    Yes,
    /// One of few texts.
    Word(&'static str),
    Text(&'a str),
    /// A statement, by the hash that is its own.
    Sql(u64, &'a str),
}

/// Something to know about a slice.
pub(super) type Fact<'a> = (&'static str, Value<'a>);

/// A slice of a row, or, where `instant`, a point.
pub(super) struct Slice<'a> {
    pub row: RowId,
    /// In nanoseconds since 1970.
    pub from: u64,
    pub to: u64,
    pub instant: bool,
    pub name: &'a str,
    pub facts: &'a [Fact<'a>],
    /// Arrows that begin or go on here.
    pub arrows: &'a [Arrow],
}

/// One end of an arrow from a hold to a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Arrow {
    pub id: u64,
    /// It ends here.
    pub ends: bool,
}

/// A counter of a database.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Counter {
    /// Bytes that went into its -wal since that began anew.
    Wal,
    /// 1 while somebody has WRITE or RESERVED.
    Writing,
}

/// Writes one format.
pub(super) trait Painter {
    /// A process: all of them come first.
    fn process(&mut self, trace: &Trace, log: LogId) -> io::Result<()>;
    /// A row, before anything on it. (Now and then a second time, the same.)
    fn row(&mut self, trace: &Trace, row: RowId, database: Option<&str>) -> io::Result<()>;
    fn slice(&mut self, slice: &Slice<'_>) -> io::Result<()>;
    /// A counter, before its values.
    fn counter(&mut self, db: u32, counter: Counter, path: &str) -> io::Result<()>;
    /// It has this value from this nanosecond on.
    fn value(&mut self, db: u32, counter: Counter, path: &str, at: u64, value: u64) -> io::Result<()>;
    /// Something about a process as a whole, or the trace, that must not be missed.
    fn note(&mut self, log: Option<LogId>, at: u64, what: &str) -> io::Result<()>;
    /// That was all.
    fn end(&mut self) -> io::Result<()>;
}

/// What is said of a slice: only what is known.
#[derive(Default)]
pub(super) struct Facts<'a>(pub(super) Vec<Fact<'a>>);

impl<'a> Facts<'a> {
    pub(super) fn sql(&mut self, key: &'static str, hash: u64, text: Option<&'a str>) {
        self.0.extend(text.map(|text| (key, Value::Sql(hash, text))));
    }

    pub(super) fn text(&mut self, key: &'static str, text: &'a str) {
        self.0.push((key, Value::Text(text)));
    }

    pub(super) fn word(&mut self, key: &'static str, word: &'static str) {
        self.0.push((key, Value::Word(word)));
    }

    pub(super) fn number(&mut self, key: &'static str, number: Option<u64>) {
        self.0.extend(number.map(|number| (key, Value::Number(number))));
    }

    pub(super) fn yes(&mut self, key: &'static str, is: bool) {
        if is {
            self.0.push((key, Value::Yes));
        }
    }
}
