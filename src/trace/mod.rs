//! The reader of traces: a trace directory, or its JSON lines, as one stream of records in time order.
//!
//! [`Trace::open`] reads the [`Log`]s (one for each process that recorded) and the [`Problem`]s. [`Trace::events`] merges the records of all logs by
//! time, in memory that does not depend on the length of the trace. `analysis`, `cat` and the exports read nothing else.
//!
//! [`Events::finish`] accounts for every record number of every log, so no loss stays hidden.
#![forbid(unsafe_code)]

mod alive;
pub mod clock;
mod collect;
mod directory;
mod error;
pub mod follow;
pub(crate) mod growing_lines;
pub mod jsonl;
pub mod losses;
mod merge;
mod names;
mod outside;
mod ring;
pub mod text;

pub use clock::{Clock, ClockId};
pub use collect::collect;
pub use error::{Error, Place, Problem, Severity};
pub(crate) use merge::WINDOW;
pub(crate) use names::object;
pub use names::{FileName, Names, SqlText};
pub use outside::{Outside, OutsideHolder};
pub use ring::Tally;
pub(crate) use ring::total;

use shim::event::{Flags, Kind, KnownKind as Known};
use shim::format::header::{Anchor, ClockKind, Header, MAGIC};
use shim::format::record::Record;
use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// An index into [`Trace::logs`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LogId(pub u32);

/// The log of one process, without its records.
#[derive(Clone, Debug)]
pub struct Log {
    /// `<pid>-<start>`, the name of its files in the trace directory.
    pub id: String,
    /// The process.
    pub pid: u32,
    /// The clock of its ticks.
    pub clock_kind: ClockKind,
    /// The boot of its host; all 0 if unknown.
    pub boot_id: [u8; 16],
    /// How many records its ring holds.
    pub capacity: u64,
    /// The three clocks, read at one instant near its start.
    pub first: Anchor,
    /// A later reading; `None` if the process never wrote one, or died while it did.
    pub last: Option<Anchor>,
    /// Records claimed when the trace was opened.
    pub head: u64,
    /// The number of these that were never written, for want of disk space or because the log was not open yet.
    pub lost_space: u64,
    /// Lines of names that could not be written.
    pub lost_names: u64,
    /// Paths, threads, SQL.
    pub names: Names,
    /// The clock of the trace to which its ticks belong.
    pub clock: ClockId,
    path: PathBuf,
}

impl Log {
    fn new(id: String, path: PathBuf, header: &Header, names: Names) -> Log {
        Log {
            id,
            pid: header.pid,
            clock_kind: header.clock,
            boot_id: header.boot_id,
            capacity: header.capacity,
            first: header.first,
            last: header.last,
            head: header.head,
            lost_space: header.lost_space,
            lost_names: header.lost_names,
            names,
            clock: ClockId(0),
            path,
        }
    }

    /// A log with these names and nothing else.
    #[cfg(test)]
    pub(crate) fn with_names(names: Names) -> Log {
        let header = Header::new(ClockKind::Monotonic, 1, 1, [1; 16], Anchor::default());
        Log::new("1-1".to_owned(), PathBuf::new(), &header, names)
    }
}

/// A record, with its log and number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// Its log.
    pub log: LogId,
    /// Its number in the log, in the order of claims.
    pub number: u64,
    /// The record.
    pub record: Record,
}

/// Whether a call releases locks. In the merged order a release has the instant of its start, and every other call that of its end. So a release
/// always comes before the acquisition that it made possible.
pub fn is_release(record: &Record) -> bool {
    match record.kind.known() {
        Some(Known::Unlock | Known::Close | Known::ShmUnmap) => true,
        Some(Known::ShmLock) => record.flags.has(Flags::SHM_UNLOCK),
        Some(Known::Open | Known::Lock | Known::CheckReserved | Known::ShmMap | Known::Sync | Known::Sleep | Known::Delete) => {
            false
        }
        Some(Known::CkptStart | Known::CkptDone | Known::Wrote | Known::Handle) | None => false,
    }
}

/// The instant, in ticks of its log, that places a record in the merged order.
#[inline]
pub fn instant(record: &Record) -> u64 {
    if is_release(record) { record.start } else { record.end() }
}

enum Source {
    Directory,
    Lines(RefCell<Option<Box<jsonl::JsonLines>>>),
}

/// An opened trace: its logs, names and problems. [`Trace::events`] reads the records.
pub struct Trace {
    logs: Vec<Log>,
    clocks: Vec<Clock>,
    problems: Vec<Problem>,
    source: Source,
    /// How a command line names it; empty if a command finds it by itself.
    word: String,
}

impl Trace {
    /// The trace with the word by which a command line names it, as a shell takes it: `traces/monday`. The reports put it into the commands that
    /// they print.
    #[must_use]
    pub fn named(self, word: String) -> Trace {
        Trace { word, ..self }
    }

    /// The word by which a command line names this trace; empty if a command finds it by itself.
    pub fn word(&self) -> &str {
        &self.word
    }

    /// Opens a trace directory, or a file of JSON lines written by `locktrace cat --json`.
    ///
    /// # Errors
    /// If nothing can be read. Parts that cannot be read are in [`Trace::problems`].
    pub fn open(path: &Path) -> Result<Trace, Error> {
        let meta = std::fs::metadata(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::new(path, Place::Whole, MISSING),
            _ => Error::io(path, Place::Whole, "look at it", error),
        })?;
        if meta.is_dir() {
            let (logs, problems) = directory::read(path)?;
            return Ok(Trace::new(logs, problems, Source::Directory));
        }
        let file = std::fs::File::open(path).map_err(|error| Error::io(path, Place::Whole, "open the file", error))?;
        let mut file = BufReader::with_capacity(1 << 20, file);
        let start = file.fill_buf().map_err(|error| Error::io(path, Place::Byte(0), "read the file", error))?;
        if start.starts_with(&MAGIC) {
            return Err(Error::new(path, Place::Byte(0), "this is one ring file of a trace: give the directory it is in"));
        }
        if start.starts_with(SQLITE_MAGIC) {
            return Err(Error::new(path, Place::Whole, DATABASE));
        }
        let ahead = if meta.is_file() {
            Some(std::fs::File::open(path).map_err(|error| Error::io(path, Place::Whole, "open the file", error))?)
        } else {
            None
        };
        Trace::from_reader(path, Box::new(file), ahead)
    }

    /// Reads JSON lines, as `locktrace cat --json` writes them, from any reader. Errors call it `name`.
    ///
    /// # Errors
    /// If it describes no log.
    pub fn from_lines(name: &Path, reader: Box<dyn BufRead>) -> Result<Trace, Error> {
        Trace::from_reader(name, reader, None)
    }

    /// Reads JSON lines, and with `ahead` (the same file, opened a second time) also logs and names that come after records, as
    /// `locktrace follow --json` writes them.
    pub(crate) fn from_reader(name: &Path, reader: Box<dyn BufRead>, ahead: Option<std::fs::File>) -> Result<Trace, Error> {
        let ahead = ahead.map(|file| Box::new(BufReader::with_capacity(1 << 20, file)) as Box<dyn BufRead>);
        let (logs, problems, lines) = jsonl::JsonLines::open(name, reader, ahead)?;
        Ok(Trace::new(logs, problems, Source::Lines(RefCell::new(Some(Box::new(lines))))))
    }

    fn new(mut logs: Vec<Log>, problems: Vec<Problem>, source: Source) -> Trace {
        let clocks = clock::assign(&mut logs, None);
        Trace { logs, clocks, problems, source, word: String::new() }
    }

    /// Adds a log that has just appeared.
    fn add(&mut self, log: Log) {
        self.logs.push(log);
        self.reckon(None);
    }

    /// Computes the clocks again from the anchors of the logs and, if the reader is on their host, an anchor of its own.
    fn reckon(&mut self, here: Option<(ClockKind, [u8; 16], Anchor)>) {
        self.clocks = clock::assign(&mut self.logs, here);
    }

    /// Every log of the trace; a [`LogId`] is an index into it.
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// Whether a process with this id wrote one of the logs.
    pub fn has_process(&self, pid: i64) -> bool {
        self.logs.iter().any(|log| i64::from(log.pid) == pid)
    }

    /// The log with this id.
    pub fn log(&self, id: LogId) -> &Log {
        &self.logs[id.0 as usize]
    }

    /// The clocks of the trace; a [`ClockId`] is an index into it. Ticks compare only within one.
    pub fn clocks(&self) -> &[Clock] {
        &self.clocks
    }

    /// The clock of this log.
    pub fn clock(&self, id: LogId) -> &Clock {
        &self.clocks[self.log(id).clock.0 as usize]
    }

    /// The problems found when the trace was opened. [`Summary::problems`] also has those found while its records are read.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The wall-clock time at these ticks of a log, in nanoseconds since 1970; `None` if the length of a tick is unknown.
    pub fn real_ns(&self, log: LogId, ticks: u64) -> Option<u64> {
        clock::real_ns(self.clock(log), &self.log(log).first, ticks)
    }

    /// The key that orders records across logs: raw ticks if all logs share one clock, wall-clock nanoseconds otherwise.
    #[inline]
    pub(crate) fn key(&self, log: LogId, record: &Record) -> u64 {
        let ticks = instant(record);
        if self.clocks.len() <= 1 { ticks } else { self.real_key(log, ticks) }
    }

    fn real_key(&self, log: LogId, ticks: u64) -> u64 {
        // Without a tick length, all records of the log get the time of its start and keep their own order.
        self.real_ns(log, ticks).unwrap_or(self.log(log).first.real_ns)
    }

    /// The last record of this log, read ahead of the others; `None` if it is unknown.
    pub(crate) fn last_record(&self, log: LogId) -> Option<Record> {
        let log = self.log(log);
        match self.source {
            Source::Directory => ring::last_record(&log.path, log.capacity.max(1), log.head),
            Source::Lines(_) => None,
        }
    }

    /// Whether [`Trace::events`] works only once: for a stream of JSON lines.
    pub fn is_read_once(&self) -> bool {
        matches!(self.source, Source::Lines(_))
    }

    /// Every record, in time order.
    ///
    /// # Errors
    /// If the records of JSON lines were read before: they can be read only once.
    pub fn events(&self) -> Result<Events<'_>, Error> {
        let inner = match &self.source {
            Source::Directory => EventSource::Merge(merge::Merge::new(self)),
            Source::Lines(lines) => match lines.borrow_mut().take() {
                Some(lines) => EventSource::Lines(lines),
                None => return Err(Error::new(Path::new(""), Place::Whole, "these JSON lines were already read to their end")),
            },
        };
        let event = Event { log: LogId(0), number: 0, record: Record::new(Kind(0)) };
        Ok(Events { trace: self, inner, event, latest: 0, late: 0 })
    }
}

/// What a SQLite database begins with (its file format, 1.3).
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

const DATABASE: &str = "this is a SQLite database. Give the trace directory (the LOCKTRACE_DIR of the traced process, ./locktrace-trace by default); \
                        `locktrace doctor --db` looks at a database";

const MISSING: &str = "there is nothing here. Give a trace directory (the LOCKTRACE_DIR of the traced process, ./locktrace-trace by \
                       default) or a file written by `locktrace cat --json`";

enum EventSource<'t> {
    Merge(merge::Merge<'t>),
    Lines(Box<jsonl::JsonLines>),
}

/// The records of a trace in time order; see [`Trace::events`].
pub struct Events<'t> {
    trace: &'t Trace,
    inner: EventSource<'t>,
    /// The latest record.
    event: Event,
    latest: u64,
    late: u64,
}

impl Events<'_> {
    /// The next record. It stays in place until the following one, so that each of many millions is copied only once.
    #[inline]
    pub(crate) fn advance(&mut self) -> Option<&Event> {
        let key = match &mut self.inner {
            EventSource::Merge(merge) => merge.next(&mut self.event)?,
            EventSource::Lines(lines) => {
                self.event = lines.next(self.trace)?;
                self.trace.key(self.event.log, &self.event.record)
            }
        };
        self.late += u64::from(key < self.latest);
        self.latest = self.latest.max(key);
        Some(&self.event)
    }

    /// Reads to the end, and returns the account of all records.
    pub fn finish(mut self) -> Summary {
        while self.next().is_some() {}
        self.stop()
    }

    /// The account of the records so far. The rest counts as missing.
    pub(crate) fn stop(self) -> Summary {
        let mut summary = match self.inner {
            EventSource::Merge(merge) => merge.finish(),
            EventSource::Lines(lines) => lines.finish(self.trace),
        };
        summary.late = self.late;
        if self.late > 0 {
            let what = match self.late {
                1 => "1 record came too late to be sorted by its time".to_owned(),
                late => format!("{late} records came too late to be sorted by their times"),
            };
            let what = format!("{what}: the order around there is not certain");
            summary.add(Problem::general(what));
        }
        if self.trace.clocks.len() > 1 {
            let what = "the logs do not share one clock (different boots, hosts or kinds of clock): they are ordered by wall-clock time, \
                        and nothing is concluded from that order";
            summary.add(Problem::general(what));
        }
        for (index, clock) in self.trace.clocks.iter().enumerate() {
            let logs = self.trace.logs.iter().filter(|log| log.clock.0 as usize == index).count();
            if clock.ns_per_tick().is_none() && self.trace.logs.iter().any(|log| log.clock.0 as usize == index && log.head > 0) {
                let logs = if logs == 1 { "1 log has".to_owned() } else { format!("{logs} logs have") };
                let what = format!(
                    "{logs} no usable pair of clock anchors: durations and times in them are unknown, only their order is known"
                );
                summary.add(Problem::general(what));
            }
            if clock.boot_unknown() && logs > 1 {
                let what = format!(
                    "the boot of {logs} logs is unknown: they are taken to be of one host, and nothing between them is called certain"
                );
                summary.add(Problem::general(what));
            }
        }
        summary
    }
}

impl Iterator for Events<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.advance().copied()
    }
}

/// The account of every record of a trace, and its problems.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Summary {
    /// For each log, in the order of [`Trace::logs`].
    pub tallies: Vec<Tally>,
    /// All problems, found on opening and while reading.
    pub problems: Vec<Problem>,
    /// Records that came too late to be sorted by time.
    pub late: u64,
}

impl Summary {
    /// Adds a problem unless it is there already: JSON lines contain those found when they were written.
    fn add(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}
