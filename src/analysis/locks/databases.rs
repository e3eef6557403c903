//! The databases of a trace: which files of which processes are the same database, and what is counted for each.
//!
//! Two files are one database if boot, device and inode agree. If `stat` failed, boot and path must agree. A file without a name is a database of its own,
//! since nothing shows which other one it could be.
#![forbid(unsafe_code)]

use crate::analysis::locks::lock::LockId;
use crate::analysis::locks::state::{ConnId, Hold};
use crate::analysis::order::instants::Instant;
use crate::trace::{FileName, Log, LogId, Trace};
use hdrhistogram::Histogram;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

/// The distribution of lengths of time.
#[derive(Clone, Debug, Default)]
pub struct Distribution {
    histogram: Option<Box<Histogram<u32>>>,
    /// The number of lengths.
    pub count: u64,
    /// The longest length, in nanoseconds.
    pub max_ns: u64,
    /// The sum of all lengths, in nanoseconds.
    pub sum_ns: u128,
}

impl Distribution {
    /// Adds one length, in nanoseconds.
    #[inline]
    pub(crate) fn add(&mut self, ns: u64) {
        self.count += 1;
        self.max_ns = self.max_ns.max(ns);
        self.sum_ns += u128::from(ns);
        if self.histogram.is_none() {
            // Three significant digits from one nanosecond up. The histogram grows as needed. `new` fails only for more than five digits.
            self.histogram = Histogram::new(3).ok().map(Box::new);
        }
        if let Some(histogram) = &mut self.histogram {
            // A length of more than two centuries counts as two centuries.
            let _ = histogram.record(ns.min(i64::MAX as u64));
        }
    }

    /// The quantile for this part (0 to 1) of the lengths, in nanoseconds, exact to three digits. `None` if there are no lengths.
    pub fn quantile(&self, part: f64) -> Option<u64> {
        let histogram = self.histogram.as_ref()?;
        Some(histogram.value_at_quantile(part).min(self.max_ns))
    }

    /// The lengths by steps of 1, 2, 5, 10, 20, … nanoseconds. For each step that is not empty: where it begins, and how many lengths it has.
    pub fn steps(&self) -> Vec<(u64, u64)> {
        let mut steps: Vec<(u64, u64)> = Vec::new();
        for found in self.histogram.iter().flat_map(|histogram| histogram.iter_recorded()) {
            let length = found.value_iterated_to().clamp(1, self.max_ns.max(1));
            let decade = 10u64.pow(length.ilog10());
            let begins = decade * [5, 2].into_iter().find(|step| length / decade >= *step).unwrap_or(1);
            match steps.last_mut().filter(|last| last.0 == begins) {
                Some(last) => last.1 += found.count_since_last_iteration(),
                None => steps.push((begins, found.count_since_last_iteration())),
            }
        }
        steps
    }
}

/// What is counted for one lock of one database.
#[derive(Clone, Debug, Default)]
pub struct LockStats {
    /// How often the lock was taken.
    pub acquired: u64,
    /// Refused attempts.
    pub refused: u64,
    /// How long the lock was held: from the end of the call that took it to the start of the call that released it.
    pub held: Distribution,
    /// Holds of unknown length: they began or ended unseen, or the length of a tick is unknown.
    pub unknown: u64,
    /// Holds that were open when the trace ended.
    pub open: u64,
    /// How long connections waited until they got the lock: from the start of the first refused attempt to the end of the attempt that got it.
    pub waited: Distribution,
    /// Waits that ended without the lock.
    pub gave_up: u64,
    /// How long those waits took: from the start of the first attempt to the end of the last.
    pub tried: Distribution,
}

impl LockStats {
    /// Whether anything happened with this lock.
    pub fn any(&self) -> bool {
        self.acquired + self.refused + self.unknown + self.open > 0
    }
}

/// One of the longest holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LongHold {
    /// The least length of the hold, in nanoseconds.
    pub ns: u64,
    /// When the call that took the lock began.
    pub since: Reverse<Instant>,
    /// The lock that was held.
    pub lock: LockId,
    /// The connection that held it.
    pub who: ConnId,
    /// The thread that took it.
    pub tid: u32,
    /// The statement that took it; 0 = none, or not known.
    pub sql: u64,
    /// The lock was still held when the trace ended.
    pub open: bool,
}

/// The journal modes a database was seen in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Modes {
    /// The wal-index was mapped or locked, or the WAL file opened.
    pub wal: bool,
    /// A rollback journal was deleted: `DELETE` mode, or a switch of modes.
    pub journal_deleted: bool,
    /// A rollback journal was opened, written or synced.
    pub journal_used: bool,
    /// A connection that was not in WAL mode took RESERVED.
    pub reserved: bool,
}

impl Modes {
    /// The proven journal modes, in SQLite's words.
    pub fn names(self) -> Vec<&'static str> {
        let mut names = Vec::new();
        if self.wal {
            names.push("wal");
        }
        if self.journal_deleted {
            names.push("delete");
        } else if self.journal_used || self.reserved {
            names.push("rollback");
        }
        if names.is_empty() {
            names.push("unknown");
        }
        names
    }
}

/// One database.
#[derive(Clone, Debug, Default)]
pub struct Database {
    /// The paths as the processes gave them (several for links); empty if the trace has no name for the database.
    pub paths: Vec<String>,
    /// Records about the database.
    pub records: u64,
    /// Calls that took or released a lock.
    pub transitions: u64,
    /// Calls that released a lock that was not held.
    pub redundant: u64,
    /// Connections to the database.
    pub connections: u64,
    /// The logs that have records about the database.
    pub logs: BTreeSet<LogId>,
    /// The types of the file systems it is on.
    pub file_systems: BTreeSet<String>,
    /// The journal modes it was seen in.
    pub modes: Modes,
    /// What is counted for each lock, by [`LockId`].
    pub locks: Vec<LockStats>,
    /// The longest holds, longest first.
    pub longest: Vec<LongHold>,
    /// The log of the latest record. It saves a look-up in `logs` for each record.
    latest: Option<LogId>,
    keep: usize,
    heap: BinaryHeap<Reverse<LongHold>>,
}

impl Database {
    /// What is counted for this lock.
    pub fn lock(&self, lock: LockId) -> &LockStats {
        &self.locks[lock.index()]
    }

    #[inline]
    pub(crate) fn stats(&mut self, lock: LockId) -> &mut LockStats {
        &mut self.locks[lock.index()]
    }

    /// Notes that this log has records about the database.
    #[inline]
    pub(crate) fn seen_in(&mut self, log: LogId) {
        if self.latest != Some(log) {
            self.latest = Some(log);
            self.logs.insert(log);
        }
    }

    /// Adds a hold of known length to the longest ones. The caller leaves out the lifetime locks of WAL connections.
    #[inline]
    pub(crate) fn hold(&mut self, ns: u64, lock: LockId, who: ConnId, hold: &Hold, open: bool) {
        let since = Reverse(hold.asked);
        if self.heap.len() < self.keep || self.heap.peek().is_some_and(|Reverse(least)| (least.ns, least.since) <= (ns, since)) {
            let hold = LongHold { ns, since, lock, who, tid: hold.tid, sql: hold.sql, open };
            self.heap.push(Reverse(hold));
            if self.heap.len() > self.keep {
                self.heap.pop();
            }
        }
    }

    pub(crate) fn finish(&mut self) {
        self.longest = std::mem::take(&mut self.heap).into_sorted_vec().into_iter().map(|Reverse(hold)| hold).collect();
    }
}

/// The identity of a database: two files with the same one are one database.
#[derive(PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    Inode([u8; 16], u64, u64),
    Path([u8; 16], Vec<u8>),
}

impl Identity {
    pub(crate) fn of(log: &Log, name: &FileName) -> Identity {
        match name.dev_ino {
            Some((dev, ino)) => Identity::Inode(log.boot_id, dev, ino),
            None => Identity::Path(log.boot_id, name.path.as_bytes().to_vec()),
        }
    }
}

/// File numbers below this are looked up by index, others by hash.
const DIRECT: u32 = 4096;

/// The databases of a trace, and which of them each file of each log is.
pub(crate) struct Databases<'t> {
    trace: &'t Trace,
    keep: usize,
    known: HashMap<Identity, u32>,
    /// By log and file number: the index + 1, or 0 for unknown.
    direct: Vec<Vec<u32>>,
    rest: HashMap<(LogId, u32), u32>,
    /// The first record about each file of each log.
    pub(crate) firsts: BTreeMap<(LogId, u32), u64>,
    pub(crate) all: Vec<Database>,
}

impl<'t> Databases<'t> {
    pub(crate) fn new(trace: &'t Trace, keep: usize) -> Databases<'t> {
        let direct = vec![Vec::new(); trace.logs().len()];
        Databases { trace, keep, known: HashMap::new(), direct, rest: HashMap::new(), firsts: BTreeMap::new(), all: Vec::new() }
    }

    /// The index of the database that has this file number in this log. `number` is the record about it.
    #[inline]
    pub(crate) fn find(&mut self, log: LogId, file: u32, number: u64) -> u32 {
        let row = &self.direct[log.0 as usize];
        match row.get(file as usize) {
            Some(&index) if index > 0 => index - 1,
            _ => self.slow(log, file, number),
        }
    }

    #[cold]
    fn slow(&mut self, log: LogId, file: u32, number: u64) -> u32 {
        if let Some(&index) = self.rest.get(&(log, file)) {
            return index;
        }
        self.firsts.insert((log, file), number);
        let about = self.trace.log(log);
        let name = about.names.file(file);
        let fresh = self.all.len() as u32;
        let index = match name {
            None => fresh,
            Some(name) => *self.known.entry(Identity::of(about, name)).or_insert(fresh),
        };
        if index == fresh {
            self.all.push(Database { locks: vec![LockStats::default(); LockId::COUNT], keep: self.keep, ..Database::default() });
        }
        let database = &mut self.all[index as usize];
        if let Some(name) = name {
            if !database.paths.contains(&name.path.text) && database.paths.len() < 8 {
                database.paths.push(name.path.text.clone());
            }
            database.file_systems.extend(name.fs.clone());
        }
        if file < DIRECT {
            let row = &mut self.direct[log.0 as usize];
            if row.len() <= file as usize {
                row.resize(file as usize + 1, 0);
            }
            row[file as usize] = index + 1;
        } else {
            self.rest.insert((log, file), index);
        }
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_good_to_three_digits() {
        let mut distribution = Distribution::default();
        assert_eq!(distribution.quantile(0.5), None);
        for ns in 1..=100_000 {
            distribution.add(ns);
        }
        let p50 = distribution.quantile(0.5).unwrap();
        assert!((49_900..=50_100).contains(&p50), "{p50}");
        let steps: Vec<(u64, u64)> = distribution.steps().into_iter().take(4).collect();
        assert_eq!(steps, [(1, 1), (2, 3), (5, 5), (10, 10)]);
        assert_eq!(distribution.steps().iter().map(|step| step.1).sum::<u64>(), 100_000);
        assert_eq!((distribution.quantile(1.0), distribution.max_ns, distribution.sum_ns), (Some(100_000), 100_000, 5_000_050_000));
        distribution.add(u64::MAX);
        assert_eq!(distribution.max_ns, u64::MAX);
    }

    #[test]
    fn journal_modes_say_what_is_proven() {
        assert_eq!(Modes::default().names(), ["unknown"]);
        assert_eq!(Modes { reserved: true, ..Modes::default() }.names(), ["rollback"]);
        assert_eq!(Modes { wal: true, journal_deleted: true, ..Modes::default() }.names(), ["wal", "delete"]);
    }
}
