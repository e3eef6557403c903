//! The reader of a trace directory to which programs write: new records, merged by time with a bounded delay.
//!
//! The directory need not exist yet. Each [`Follow::poll`] returns a [`Batch`]: records of all logs in time order, and other news (a process began to
//! record or ended, new names, problems). Every record number of every log comes once, or is counted in [`Follow::tally`].
//!
//! # Order
//!
//! A record is written when its call has returned. So a poll reads every call that ended before it, or, if a writer was delayed, a later poll does.
//! Records are held back for [`DELAY`] and sorted among all that came meanwhile. Then those up to the latest instant that was known that long ago are
//! returned. A record that comes even later is returned at once, out of order, and counted ([`Follow::late`]). Two kinds can be that late: records
//! whose thread was not scheduled between the call and the writing, and releases that take longer than the delay, because a release counts from its
//! start.
#![forbid(unsafe_code)]

mod hold_back;
mod names_tail;
mod ring_tail;

pub use hold_back::DELAY;

use super::alive::LogProcess;
use super::names::{Names, Taken};
use super::{Error, Event, Log, LogId, Place, Problem, Source, Tally, Trace, ring};
use hold_back::HoldBack;
use names_tail::NamesTail;
use ring_tail::RingTail;
use shim::format::header::{Anchor, ClockKind};
use shim::format::{NAMES_EXTENSION, RING_EXTENSION};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How often the processes are checked, and quiet logs are read.
const SELDOM: Duration = Duration::from_secs(1);

/// A log whose process cannot be seen counts as ended after this long without a record.
const QUIET: Duration = Duration::from_secs(2);

/// How long a process may take to write the header of a new ring file. After this time, an unreadable header is a problem.
const MAKING: Duration = Duration::from_secs(2);

/// How many quiet logs without a known process are read in one poll, in turn. A directory may have ten thousand of them.
const MOST_LOOKS: usize = 32;

/// Most records of a log that [`Follow::catch_up`] reads, the latest ones.
const MOST_BACK: u64 = 1 << 20;

/// The boot id of this host, as in the headers of logs.
#[cfg(feature = "cli")]
pub(crate) fn boot_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32)?;
    Some(number.to_be_bytes())
}

/// Something other than a record.
#[derive(Clone, PartialEq, Debug)]
pub enum News {
    /// The log is followed from now on.
    Began(LogId),
    /// A line of the log's names, as in its names file.
    Named(LogId, serde_json::Map<String, serde_json::Value>),
    /// The log's process has ended, or its file is gone. All of it was read.
    Ended(LogId),
    /// A problem.
    Problem(Problem),
}

/// The result of one poll.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Batch {
    /// News that come before the records.
    pub news: Vec<News>,
    /// Records, in time order.
    pub events: Vec<Event>,
    /// News that come after the records.
    pub ended: Vec<News>,
}

/// One log that is followed.
struct Followed {
    ring: RingTail,
    names: NamesTail,
    path: PathBuf,
    process: Option<LogProcess>,
    looked: Instant,
    /// When its latest record came.
    active: Instant,
    ended: bool,
    skipped: u64,
    tally: Tally,
}

/// See the module.
pub struct Follow {
    dir: PathBuf,
    from_start: bool,
    /// New records of a log that are read in one poll.
    most: u64,
    trace: Trace,
    logs: Vec<Followed>,
    known: BTreeSet<String>,
    /// Ring files whose header cannot be read yet, and since when.
    making: Vec<(String, Instant)>,
    /// Whether this is the first poll. Logs that it finds existed before; later ones are read from their start.
    first: bool,
    /// When the directory was last read; `None` if it has not existed so far.
    scanned: Option<SystemTime>,
    /// Logs that have ended, with records that are still held back.
    ending: Vec<LogId>,
    held: HoldBack,
    busy: bool,
    /// How many more quiet logs this poll may read, and the first one for the next poll.
    looks: usize,
    turn: usize,
}

impl Follow {
    /// Follows a directory: from its oldest records, or from now on. Logs that appear later are always read from their start.
    pub fn new(dir: &Path, from_start: bool) -> Follow {
        Follow {
            dir: dir.to_owned(),
            from_start,
            most: u64::MAX,
            trace: Trace::new(Vec::new(), Vec::new(), Source::Directory),
            logs: Vec::new(),
            known: BTreeSet::new(),
            making: Vec::new(),
            first: true,
            scanned: None,
            ending: Vec::new(),
            held: HoldBack::default(),
            busy: false,
            looks: 0,
            turn: 0,
        }
    }

    /// Limits the new records of a log in one poll to this many, the latest ones. There are more only if the reader was delayed.
    /// [`Follow::unseen`] counts those left out. This suits a reader that needs the current state and not the history.
    pub fn at_most(mut self, records: u64) -> Follow {
        self.most = records;
        self
    }

    /// The names for the numbers in the records so far.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Whether the directory has existed.
    pub fn found(&self) -> bool {
        self.scanned.is_some()
    }

    /// Whether every log has ended; false if there is none yet. A process that cannot be seen (it ended before, or is in another container) counts as
    /// ended after its log has been quiet for two seconds.
    pub fn all_ended(&self) -> bool {
        let ended = |log: &Followed| log.ended || (log.process.is_none() && log.active.elapsed() >= QUIET);
        !self.logs.is_empty() && self.making.is_empty() && self.logs.iter().all(ended)
    }

    /// Whether a ring fills so fast that the next poll should not wait.
    pub fn hurries(&self) -> bool {
        self.busy
    }

    /// Records that came too late to be sorted.
    pub fn late(&self) -> u64 {
        self.held.late()
    }

    /// What became of the records of a log so far, and how many there were before it was followed.
    pub fn tally(&self, log: LogId) -> (Tally, u64) {
        self.logs.get(log.0 as usize).map_or_else(Default::default, |log| (log.tally, log.skipped))
    }

    /// Records of this log that were not returned: lost, overwritten, or left out ([`Follow::at_most`]).
    pub fn unseen(&self, log: LogId) -> u64 {
        self.logs.get(log.0 as usize).map_or(0, |log| log.tally.unread() + log.ring.passed_over())
    }

    /// All records that are missing since this log is followed have numbers below this.
    pub fn lost_below(&self, log: LogId) -> u64 {
        self.logs.get(log.0 as usize).map_or(0, |log| log.ring.lost_below())
    }

    /// Replaces the first [`Follow::poll`] for a reader that needs the current state. Passes the kept records of living processes to `each`, log by
    /// log in the order of their numbers, at most a million of each. They are neither held back nor merged. Logs whose process cannot be seen are
    /// followed from now on.
    ///
    /// # Errors
    /// Those of [`Follow::poll`].
    pub fn catch_up(
        &mut self,
        here: Option<(ClockKind, [u8; 16], Anchor)>,
        each: &mut dyn FnMut(&Trace, &Event),
    ) -> Result<Batch, Error> {
        let now = Instant::now();
        let mut batch = Batch::default();
        self.from_start = false;
        self.scan(now, &mut batch)?;
        self.first = false;
        self.trace.reckon(here);
        for index in 0..self.logs.len() {
            let log = &mut self.logs[index];
            if log.process.is_none() {
                // A quiet log: no records are expected.
                log.active = now.checked_sub(SELDOM).unwrap_or(now);
                continue;
            }
            log.skipped = log.skipped.saturating_sub(MOST_BACK.min(self.trace.logs[index].capacity));
            log.ring.begin_at(log.skipped);
            log.ring.at_most(u64::MAX);
            self.read(index, now, &mut batch);
            self.logs[index].ring.at_most(self.most);
            self.held.take_all().iter().for_each(|event| each(&self.trace, event));
        }
        Ok(batch)
    }

    /// Reads new records. `here` is this host's clock, boot and an anchor. With it, the length of a tick is known from the first record on.
    ///
    /// # Errors
    /// If the directory exists and cannot be read.
    pub fn poll(&mut self, here: Option<(ClockKind, [u8; 16], Anchor)>) -> Result<Batch, Error> {
        let now = Instant::now();
        let mut batch = Batch::default();
        self.scan(now, &mut batch)?;
        self.first = false;
        self.busy = false;
        self.looks = MOST_LOOKS;
        let (count, turn) = (self.logs.len(), self.turn);
        for index in (turn..count).chain(0..turn.min(count)) {
            self.read(index, now, &mut batch);
        }
        let clocks = self.trace.clocks.len();
        self.trace.reckon(here);
        // With more than one clock, the keys are of another kind than with one, and cannot be compared with earlier ones.
        let up_to = self.held.polled(now, clocks != self.trace.clocks.len() && clocks > 0);
        self.give(up_to, &mut batch);
        Ok(batch)
    }

    /// Returns everything that is held back, and ends all logs.
    pub fn finish(&mut self) -> Batch {
        let mut batch = Batch::default();
        for index in 0..self.logs.len() {
            self.end(index);
        }
        self.give(Some(u64::MAX), &mut batch);
        batch
    }

    /// Finds new logs.
    fn scan(&mut self, now: Instant, batch: &mut Batch) -> Result<(), Error> {
        let fail = |error| Error::io(&self.dir, Place::Whole, "read the directory", error);
        let changed = match std::fs::metadata(&self.dir).and_then(|meta| meta.modified()) {
            Ok(changed) => changed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(fail(error)),
        };
        // Time stamps of directories are coarse: a change just after the last read can have the time stamp of one just before it.
        let unchanged = self.scanned.is_some_and(|scanned| changed + Duration::from_secs(2) < scanned);
        if unchanged && self.making.is_empty() {
            return Ok(());
        }
        self.scanned = Some(SystemTime::now());
        let mut ids = BTreeSet::new();
        for entry in std::fs::read_dir(&self.dir).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            if path.extension().is_some_and(|extension| extension == RING_EXTENSION)
                && let Some(id) = path.file_stem().and_then(|stem| stem.to_str())
                && !self.known.contains(id)
            {
                ids.insert(id.to_owned());
            }
        }
        self.making.retain(|(id, _)| ids.contains(id));
        for id in ids {
            self.open(id, self.first && !self.from_start, now, batch);
        }
        Ok(())
    }

    /// Begins to follow a log.
    fn open(&mut self, id: String, from_now: bool, now: Instant, batch: &mut Batch) {
        let path = self.dir.join(format!("{id}.{RING_EXTENSION}"));
        let header = match ring::open(&path) {
            Ok((_, header)) => header,
            Err(error) => {
                match self.making.iter().find(|(making, _)| *making == id) {
                    None => self.making.push((id, now)),
                    Some((_, since)) if now.duration_since(*since) < MAKING => {}
                    Some(_) => {
                        self.making.retain(|(making, _)| *making != id);
                        self.known.insert(id);
                        batch.news.push(News::Problem(error.into_problem()));
                    }
                }
                return;
            }
        };
        self.making.retain(|(making, _)| *making != id);
        self.known.insert(id.clone());
        let skipped = if from_now { header.head } else { 0 };
        let process = LogProcess::of(header.pid, &path);
        let names = NamesTail::new(self.dir.join(format!("{id}.{NAMES_EXTENSION}")));
        let mut ring = RingTail::new(&path, &header, skipped);
        ring.at_most(self.most);
        let followed = Followed {
            ring,
            names,
            path: path.clone(),
            process,
            looked: now,
            active: now,
            ended: false,
            skipped,
            tally: Tally::default(),
        };
        batch.news.push(News::Began(LogId(self.logs.len() as u32)));
        self.logs.push(followed);
        self.trace.add(Log::new(id, path, &header, Names::default()));
    }

    /// Reads the new records of one log, and checks its process.
    fn read(&mut self, index: usize, now: Instant, batch: &mut Batch) {
        let Some(log) = self.logs.get_mut(index) else { return };
        let seldom = now.duration_since(log.looked) >= SELDOM;
        // A quiet log without a known process is read less often.
        let quiet = now.duration_since(log.active) >= SELDOM;
        if log.ended || (log.process.is_none() && quiet && (!seldom || self.looks == 0)) {
            return;
        }
        if log.process.is_none() && quiet {
            (self.looks, self.turn) = (self.looks - 1, index + 1);
        }
        // Checked before the last records are read, so that none can come after them.
        let mut gone = false;
        if seldom {
            log.looked = now;
            if log.process.is_none() {
                log.process = LogProcess::of(self.trace.logs[index].pid, &log.path);
            }
            gone = log.process.is_some_and(|process| !process.lives());
        }
        let id = LogId(index as u32);
        let (trace, held) = (&self.trace, &mut self.held);
        let read = log.ring.read(now, &mut |number, record| {
            held.put(trace.key(id, &record), Event { log: id, number, record });
        });
        let mut new = 0;
        match read {
            Ok((header, more)) => {
                new = more;
                log.active = if new > 0 { now } else { log.active };
                // At this pace the ring wraps within a few polls.
                self.busy |= new > header.capacity / 16;
                let known = &mut self.trace.logs[index];
                (known.head, known.last) = (header.head, header.last);
                (known.lost_space, known.lost_names) = (header.lost_space, header.lost_names);
            }
            Err(error) => {
                // Probably deleted: its process writes to a file that has no name.
                batch.news.push(News::Problem(error.into_problem()));
                gone = true;
            }
        }
        log.tally = *log.ring.tally();
        if new > 0 || seldom || gone || log.names.is_waiting() {
            self.name(index, now, batch);
        }
        if gone {
            self.end(index);
        }
    }

    /// Reads the new lines of its names.
    fn name(&mut self, index: usize, now: Instant, batch: &mut Batch) {
        let names = &mut self.trace.logs[index].names;
        self.logs[index].names.read(now, &mut |line| match line {
            Ok(line) => match names.take(line.clone()) {
                Ok(Taken::Yes | Taken::Unknown(_)) => batch.news.push(News::Named(LogId(index as u32), line)),
                Err(what) => batch.news.push(News::Problem(Problem::general(format!("a line of names: {what}; it is skipped")))),
            },
            Err(problem) => batch.news.push(News::Problem(problem)),
        });
    }

    fn end(&mut self, index: usize) {
        let Some(log) = self.logs.get_mut(index).filter(|log| !log.ended) else { return };
        log.tally = log.ring.finish();
        log.ended = true;
        self.ending.push(LogId(index as u32));
    }

    /// Returns held-back records up to this key, and the ends of logs without held-back records.
    fn give(&mut self, up_to: Option<u64>, batch: &mut Batch) {
        self.held.give(up_to, &mut batch.events);
        let held = &self.held;
        self.ending.retain(|&log| {
            let more = held.has(log);
            if !more {
                batch.ended.push(News::Ended(log));
            }
            more
        });
    }
}
