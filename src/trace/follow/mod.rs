//! A trace directory while programs write to it: new records as they come, merged by time with a bounded delay.
//!
//! Input: a directory, which need not be there yet. Each [`Follow::poll`] gives a [`Batch`]: records of all logs in time order, and
//! what else happened (a process began to record or ended, names became known, something is wrong). Every number of every log comes once or
//! is counted in [`Follow::tally`]. Called by `locktrace follow` and `locktrace top`.
//!
//! # Order
//!
//! A record is written when its call has returned. So everything that ended before a poll has been read by that poll or, where its
//! writer was held up, by one soon after. Records are held back for [`DELAY`], sorted among all that came meanwhile, and given up to the
//! latest instant that was known that long ago. What comes later than that is given at once, out of order, and counted
//! ([`Follow::late`]): records whose thread was not scheduled between call and writing, and the end of a call that gives up a lock and
//! takes longer than the delay (such a call counts from its start).
#![forbid(unsafe_code)]

mod hold_back;
mod names_tail;
mod ring_tail;

pub use hold_back::DELAY;

use super::alive::Process;
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

/// How often a process is looked for, and a log that has been quiet is read.
const SELDOM: Duration = Duration::from_secs(1);

/// A log whose process cannot be seen has ended, as far as that can be told, when nothing came for this long.
const QUIET: Duration = Duration::from_secs(2);

/// A new ring file whose header cannot be read yet is being made; after this time, something is wrong with it.
const MAKING: Duration = Duration::from_secs(2);

/// Logs that nobody is known to write to: so many are looked at in one poll, in turn. A directory may have ten thousand of them.
const MOST_LOOKS: usize = 32;

/// Records of a log that [`Follow::catch_up`] reads at most, the latest ones.
const MOST_BACK: u64 = 1 << 20;

/// This host's boot, as it is in the headers of logs.
pub(crate) fn boot_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32)?;
    Some(number.to_be_bytes())
}

/// Something other than a record.
#[derive(Clone, PartialEq, Debug)]
pub enum News {
    /// A log that is read from now on.
    Began(LogId),
    /// A line of its names, as in its names file.
    Named(LogId, serde_json::Map<String, serde_json::Value>),
    /// Its process has ended, or its file is gone: everything of it was read.
    Ended(LogId),
    /// Something is wrong.
    Problem(Problem),
}

/// What one poll brought.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Batch {
    /// To be told before the records.
    pub news: Vec<News>,
    /// Records, in time order.
    pub events: Vec<Event>,
    /// To be told after the records.
    pub ended: Vec<News>,
}

/// One log that is followed.
struct Followed {
    ring: RingTail,
    names: NamesTail,
    path: PathBuf,
    process: Option<Process>,
    looked: Instant,
    /// When it last brought something.
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
    /// What is there at the first poll was there before; whatever comes later is read from its start.
    first: bool,
    /// The directory was there once, and when it was last read.
    scanned: Option<SystemTime>,
    /// Logs that have ended, with records that are still held back.
    ending: Vec<LogId>,
    held: HoldBack,
    busy: bool,
    /// How many quiet logs may still be looked at in this poll, and the one to begin with.
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

    /// Reads no more than so many new records of a log in one poll: where there are more, because the reader was held up, the latest ones.
    /// How many were left out says [`Follow::unseen`]. For who wants to know how things stand now, and not what happened.
    pub fn at_most(mut self, records: u64) -> Follow {
        self.most = records;
        self
    }

    /// The names for the numbers in the records so far.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Whether the directory was there at some time.
    pub fn found(&self) -> bool {
        self.scanned.is_some()
    }

    /// Whether every log there was has ended; false before there is one. A process that cannot be seen (it ended before, or is in another
    /// container) counts as ended once its log has been quiet for two seconds.
    pub fn all_ended(&self) -> bool {
        let ended = |log: &Followed| log.ended || (log.process.is_none() && log.active.elapsed() >= QUIET);
        !self.logs.is_empty() && self.making.is_empty() && self.logs.iter().all(ended)
    }

    /// Whether a ring fills so fast that the next poll should not wait.
    pub fn hurries(&self) -> bool {
        self.busy
    }

    /// Records that came later than they could be sorted.
    pub fn late(&self) -> u64 {
        self.held.late()
    }

    /// What became of the records of a log so far, and how many there were before it was followed.
    pub fn tally(&self, log: LogId) -> (Tally, u64) {
        self.logs.get(log.0 as usize).map_or_else(Default::default, |log| (log.tally, log.skipped))
    }

    /// Records of this log that did not come: lost, gone over, or left out ([`Follow::at_most`]).
    pub fn unseen(&self, log: LogId) -> u64 {
        self.logs.get(log.0 as usize).map_or(0, |log| log.tally.unread() + log.ring.passed_over())
    }

    /// Every record of this log that did not come since it is followed has a number below this.
    pub fn lost_below(&self, log: LogId) -> u64 {
        self.logs.get(log.0 as usize).map_or(0, |log| log.ring.lost_below())
    }

    /// Instead of the first [`Follow::poll`], for who wants to know how things stand: hands `each` the records that are kept of the processes
    /// that live, log by log in the order of their numbers, at most a million of each. What it reads is not held back, and not merged. Logs whose process cannot
    /// be seen are followed from now on.
    ///
    /// # Errors
    /// As [`Follow::poll`].
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
                // Nothing is expected of it.
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

    /// Reads what is new. `here` is this host's clock, boot and an instant of it: with it a tick has a length from the first record on.
    ///
    /// # Errors
    /// When the directory is there and cannot be read.
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
        // Instants of one clock do not compare with those of several.
        let up_to = self.held.polled(now, clocks != self.trace.clocks.len() && clocks > 0);
        self.give(up_to, &mut batch);
        Ok(batch)
    }

    /// Everything that is still held back or waited for.
    pub fn finish(&mut self) -> Batch {
        let mut batch = Batch::default();
        for index in 0..self.logs.len() {
            self.end(index);
        }
        self.give(Some(u64::MAX), &mut batch);
        batch
    }

    /// Finds logs that are new.
    fn scan(&mut self, now: Instant, batch: &mut Batch) -> Result<(), Error> {
        let fail = |error| Error::io(&self.dir, Place::Whole, "read the directory", error);
        let changed = match std::fs::metadata(&self.dir).and_then(|meta| meta.modified()) {
            Ok(changed) => changed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(fail(error)),
        };
        // Time stamps of directories are coarse: what changed just before the last look may have changed just after it, too.
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
        let process = Process::of(header.pid, &path);
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

    /// Reads what is new in one log, and sees whether its process lives.
    fn read(&mut self, index: usize, now: Instant, batch: &mut Batch) {
        let Some(log) = self.logs.get_mut(index) else { return };
        let seldom = now.duration_since(log.looked) >= SELDOM;
        // A log that nobody is known to write to, and that has been quiet, is looked at now and then.
        let quiet = now.duration_since(log.active) >= SELDOM;
        if log.ended || (log.process.is_none() && quiet && (!seldom || self.looks == 0)) {
            return;
        }
        if log.process.is_none() && quiet {
            (self.looks, self.turn) = (self.looks - 1, index + 1);
        }
        // Asked before the last records are read, so that none can come after them.
        let mut gone = false;
        if seldom {
            log.looked = now;
            if log.process.is_none() {
                log.process = Process::of(self.trace.logs[index].pid, &log.path);
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
                // At this pace the ring is gone over within a few polls.
                self.busy |= new > header.capacity / 16;
                let known = &mut self.trace.logs[index];
                (known.head, known.last) = (header.head, header.last);
                (known.lost_space, known.lost_names) = (header.lost_space, header.lost_names);
            }
            Err(error) => {
                // Deleted, most likely: its process goes on writing where nobody can read it.
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

    /// Reads what is new in its names.
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

    /// Gives what is held back, and tells of the ends of which nothing is.
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
