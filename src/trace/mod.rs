//! Reading: a trace directory, or its export as JSON lines, as one stream of records in time order.
//!
//! Input: a path ([`Trace::open`]) or a reader of JSON lines ([`Trace::from_lines`]). Output: the [`Log`]s (one for each process
//! that wrote), the [`Problem`]s met, and [`Trace::events`]: every record of every log, merged by time, at a memory cost that does not depend on
//! the length of the trace. `analysis`, `cat` and the exports read this and nothing else.
//!
//! Nothing that is lost, torn or unknown is hidden: [`Events::finish`] accounts for every record number of every log.
#![forbid(unsafe_code)]

mod alive;
pub mod clock;
mod collect;
mod directory;
mod error;
pub mod follow;
mod holdback;
pub mod jsonl;
pub mod losses;
mod merge;
mod names;
mod outside;
mod ring;
pub(crate) mod tail;
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

/// What one process recorded: everything but the records.
#[derive(Clone, Debug)]
pub struct Log {
    /// `<pid>-<start>`, the name its files have in the trace directory.
    pub id: String,
    /// The process.
    pub pid: u32,
    /// What its ticks count.
    pub clock_kind: ClockKind,
    /// The boot of its host; all 0 where unknown.
    pub boot_id: [u8; 16],
    /// How many records its ring holds.
    pub capacity: u64,
    /// The three clocks at one instant near its start.
    pub first: Anchor,
    /// The same later on; `None` where the process never wrote it or died while it did.
    pub last: Option<Anchor>,
    /// Records claimed when the trace was opened.
    pub head: u64,
    /// Of those, never written for want of disk space, or before the log was open.
    pub lost_space: u64,
    /// Lines of names that could not be written.
    pub lost_names: u64,
    /// Paths, threads, SQL.
    pub names: Names,
    /// Which of the trace's clocks its ticks belong to.
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

    /// One that says nothing but these names.
    #[cfg(test)]
    pub(crate) fn with_names(names: Names) -> Log {
        let header = Header::new(ClockKind::Monotonic, 1, 1, [1; 16], Anchor::default());
        Log::new("1-1".to_owned(), PathBuf::new(), &header, names)
    }
}

/// One record, and where it came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// Its log.
    pub log: LogId,
    /// Its number there: the order of claims.
    pub number: u64,
    /// The record.
    pub record: Record,
}

/// Whether a call gives locks up: it then counts from its start in the merged order, and every other call from its end. So a release
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
    Lines(RefCell<Option<Box<jsonl::Lines>>>),
}

/// A trace that was opened: its logs, names and problems. The records are read by [`Trace::events`].
pub struct Trace {
    logs: Vec<Log>,
    clocks: Vec<Clock>,
    problems: Vec<Problem>,
    source: Source,
}

impl Trace {
    /// Opens a trace directory, or a file of JSON lines written by `locktrace cat --json`.
    ///
    /// # Errors
    /// When nothing at all can be read there. What can only be read in part is in [`Trace::problems`].
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
        let ahead = if meta.is_file() {
            Some(std::fs::File::open(path).map_err(|error| Error::io(path, Place::Whole, "open the file", error))?)
        } else {
            None
        };
        Trace::from_reader(path, Box::new(file), ahead)
    }

    /// Reads JSON lines, as written by `locktrace cat --json`, from anywhere; `name` is what errors call it.
    ///
    /// # Errors
    /// When there is no log in it.
    pub fn from_lines(name: &Path, reader: Box<dyn BufRead>) -> Result<Trace, Error> {
        Trace::from_reader(name, reader, None)
    }

    /// The same, where the lines are in a file and so can be read once more: logs and names may then come behind records, as
    /// `locktrace follow --json` writes them.
    pub(crate) fn from_reader(name: &Path, reader: Box<dyn BufRead>, ahead: Option<std::fs::File>) -> Result<Trace, Error> {
        let ahead = ahead.map(|file| Box::new(BufReader::with_capacity(1 << 20, file)) as Box<dyn BufRead>);
        let (logs, problems, lines) = jsonl::Lines::open(name, reader, ahead)?;
        Ok(Trace::new(logs, problems, Source::Lines(RefCell::new(Some(Box::new(lines))))))
    }

    fn new(mut logs: Vec<Log>, problems: Vec<Problem>, source: Source) -> Trace {
        let clocks = clock::assign(&mut logs, None);
        Trace { logs, clocks, problems, source }
    }

    /// Adds a log that has just appeared.
    fn add(&mut self, log: Log) {
        self.logs.push(log);
        self.reckon(None);
    }

    /// Works out anew what ticks mean, from the anchors of the logs and, where the reader is on their host, one of its own.
    fn reckon(&mut self, here: Option<(ClockKind, [u8; 16], Anchor)>) {
        self.clocks = clock::assign(&mut self.logs, here);
    }

    /// Every log of the trace; a [`LogId`] is an index into it.
    pub fn logs(&self) -> &[Log] {
        &self.logs
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

    /// What was wrong when the trace was opened. What comes to light while its records are read is in [`Summary::problems`].
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The wall-clock time at these ticks of a log, in nanoseconds since 1970; `None` when the length of a tick is unknown.
    pub fn real_ns(&self, log: LogId, ticks: u64) -> Option<u64> {
        clock::real_ns(self.clock(log), &self.log(log).first, ticks)
    }

    /// The instants that order records across logs: raw ticks where all logs share one clock, wall-clock nanoseconds otherwise.
    #[inline]
    pub(crate) fn key(&self, log: LogId, record: &Record) -> u64 {
        let ticks = instant(record);
        if self.clocks.len() <= 1 { ticks } else { self.real_key(log, ticks) }
    }

    fn real_key(&self, log: LogId, ticks: u64) -> u64 {
        // Without a tick length the log's start is the best there is; its records stay in their own order.
        self.real_ns(log, ticks).unwrap_or(self.log(log).first.real_ns)
    }

    /// The last record of this log, before its records are read; `None` where it is not known.
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
    /// When the records of a stream of JSON lines were already read: they can be read only once.
    pub fn events(&self) -> Result<Events<'_>, Error> {
        let inner = match &self.source {
            Source::Directory => Inner::Merge(merge::Merge::new(self)),
            Source::Lines(lines) => match lines.borrow_mut().take() {
                Some(lines) => Inner::Lines(lines),
                None => return Err(Error::new(Path::new(""), Place::Whole, "these JSON lines were already read to their end")),
            },
        };
        let event = Event { log: LogId(0), number: 0, record: Record::new(Kind(0)) };
        Ok(Events { trace: self, inner, event, latest: 0, late: 0 })
    }
}

const MISSING: &str = "there is nothing here. Give a trace directory (the LOCKTRACE_DIR of the traced process, ./locktrace-trace by \
                       default) or a file written by `locktrace cat --json`";

enum Inner<'t> {
    Merge(merge::Merge<'t>),
    Lines(Box<jsonl::Lines>),
}

/// The records of a trace in time order; see [`Trace::events`].
pub struct Events<'t> {
    trace: &'t Trace,
    inner: Inner<'t>,
    /// The record that was given last.
    event: Event,
    latest: u64,
    late: u64,
}

impl Events<'_> {
    /// The next record, which stays here until the one after it: of many millions, each is copied once.
    #[inline]
    pub(crate) fn advance(&mut self) -> Option<&Event> {
        let key = match &mut self.inner {
            Inner::Merge(merge) => merge.next(&mut self.event)?,
            Inner::Lines(lines) => {
                self.event = lines.next(self.trace)?;
                self.trace.key(self.event.log, &self.event.record)
            }
        };
        self.late += u64::from(key < self.latest);
        self.latest = self.latest.max(key);
        Some(&self.event)
    }

    /// The account of what was read and what was not; reads to the end first.
    pub fn finish(mut self) -> Summary {
        while self.next().is_some() {}
        self.stop()
    }

    /// The account of what was read so far; the rest counts as missing.
    pub(crate) fn stop(self) -> Summary {
        let mut summary = match self.inner {
            Inner::Merge(merge) => merge.finish(),
            Inner::Lines(lines) => lines.finish(self.trace),
        };
        summary.late = self.late;
        if self.late > 0 {
            let what = match self.late {
                1 => "1 record came later than the time in it allows to sort it".to_owned(),
                late => format!("{late} records came later than the time in them allows to sort them"),
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

/// What became of every record of a trace, and what was wrong with it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Summary {
    /// For each log, in the order of [`Trace::logs`].
    pub tallies: Vec<Tally>,
    /// Everything that was wrong: found on opening, and found while reading.
    pub problems: Vec<Problem>,
    /// Records that came later than the time in them allows to sort them.
    pub late: u64,
}

impl Summary {
    /// Adds a problem that is not there yet (an export carries those found when it was written).
    fn add(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}
