//! The lock audit: whether two processes ever held locks at once that exclude each other by SQLite's rules.
//!
//! A [`Violation`] is two holds of two processes that exclude each other and certainly overlapped. Then a lock was lost while SQLite
//! believed it had it (`posix-lock-lost`), and the database can be damaged. Either the process opened and closed the database file beside
//! SQLite, or the file system does not keep its word. `locktrace audit` runs it, and so does the analysis where holds seem to exclude each
//! other.
//!
//! A hold counts from the end of the call that took it to the start of the call that released it. It is judged only where all of these are
//! so:
//!
//! * both calls were seen, and no record of its log between them is missing;
//! * the connection's state before each call was the one after the call before;
//! * the database is known by device and inode;
//! * its locks are those of the VFS `unix`: others lock by other means, or not at all.
//!
//! Two holds overlap only where they do by more than [`LEAST_NS`] and by more than the anchors of the two logs disagree about the time. Two
//! connections of one process are never judged: within a process SQLite keeps these rules in memory.
//!
//! What excludes what (os_unix.c, "locking" in its header): a byte for RESERVED, and one for PENDING, which EXCLUSIVE holds too. Readers
//! share a range that EXCLUSIVE has alone. Each wal-index slot has a byte.
#![forbid(unsafe_code)]

mod holds;
mod ranges;

use crate::analysis::locks::lock::LockId;
use crate::trace::{Error, Event, LogId, Summary, Trace};
use holds::{Connection, Step};
use ranges::Ranges;
use shim::event::{Flags, Level};
use shim::format::record::Record;
use std::collections::{BTreeSet, HashMap};

/// A shorter overlap proves nothing: counters of two cores, and the order in which a core reads its own, are that far from exact.
pub const LEAST_NS: u64 = 50_000;

/// Violations that are kept; more are counted.
const KEPT: usize = 1000;

/// A lock that one connection certainly held from one instant to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuditedHold {
    /// The process's log.
    pub log: LogId,
    /// The connection.
    pub conn: u32,
    /// Its database in the names of the log.
    pub file: u32,
    /// The lock.
    pub lock: LockId,
    /// The thread and the statement that took it; 0 = not known.
    pub tid: u32,
    /// See `tid`.
    pub sql: u64,
    /// From the end of the call that took it, in ticks.
    pub from: u64,
    /// To the start of the call that released it, in ticks.
    pub until: u64,
    /// The record of the call that took it.
    pub taken: u64,
    /// The record of the call that released it.
    pub given: u64,
}

/// Two holds that exclude each other and overlapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The one that was taken first.
    pub first: AuditedHold,
    /// The one that should have been refused.
    pub second: AuditedHold,
    /// For how long both were held, at least.
    pub overlap_ns: u64,
}

/// What the audit of a trace found.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// In the order of their ends.
    pub violations: Vec<Violation>,
    /// Further ones, not kept.
    pub more: u64,
    /// Overlaps that would be violations, had no record in between been lost.
    pub doubtful: u64,
    /// Holds that were compared with those of every other process.
    pub judged: u64,
    /// Calls that took a lock of a database that cannot be judged. Its VFS is not `unix`, or its identity or its VFS is not known.
    pub other: u64,
    /// Databases that more than one process used.
    pub shared: u64,
    /// Some logs have no common clock, or none whose ticks have a known length: nothing between them was judged.
    pub incomparable: bool,
    /// What was read and what was not.
    pub summary: Summary,
}

/// A hold that goes on, and the holds of others that ended while it did.
#[derive(Clone, Default)]
struct Open {
    since: Option<AuditedHold>,
    overlapped: Vec<AuditedHold>,
}

/// A database, by what is the same in every process: clock (so boot), device and inode.
type Identity = (u32, u64, u64);

#[derive(Default)]
struct Database {
    /// Connections that have holds.
    conns: Vec<usize>,
    /// Holds that go on, by lock.
    counts: [u32; LockId::COUNT],
    logs: BTreeSet<u32>,
}

/// The audit while the records pass by.
pub(crate) struct AuditPass<'t> {
    trace: &'t Trace,
    audit: Audit,
    databases: Vec<Database>,
    identities: HashMap<Identity, usize>,
    /// By log and file number: which database, if it can be judged.
    files: HashMap<(u32, u32), Option<usize>>,
    /// By log, connection and database: in a whole trace a connection has one database, in a damaged one it may not.
    known: HashMap<(u32, u32, usize), usize>,
    conns: Vec<(Connection, [Open; LockId::COUNT])>,
    ranges: Vec<Ranges>,
    candidates: Vec<Violation>,
}

impl Audit {
    /// Audits a whole trace.
    ///
    /// # Errors
    /// As [`Trace::events`].
    pub fn of(trace: &Trace) -> Result<Audit, Error> {
        let mut events = trace.events()?;
        let mut pass = AuditPass::new(trace);
        for event in &mut events {
            pass.event(&event);
        }
        Ok(Audit { summary: events.finish(), ..pass.finish() })
    }

    /// Whether the trace proves anything. It does not where several processes used one database and nothing could be judged, or where
    /// losses may hide a violation.
    pub fn can_judge(&self) -> bool {
        self.doubtful == 0 && (self.shared == 0 || self.judged > 0) && !self.incomparable
    }
}

impl<'t> AuditPass<'t> {
    pub(crate) fn new(trace: &'t Trace) -> AuditPass<'t> {
        AuditPass {
            trace,
            audit: Audit::default(),
            databases: Vec::new(),
            identities: HashMap::new(),
            files: HashMap::new(),
            known: HashMap::new(),
            conns: Vec::new(),
            ranges: vec![Ranges::default(); trace.logs().len()],
            candidates: Vec::new(),
        }
    }

    pub(crate) fn event(&mut self, event: &Event) {
        self.ranges[event.log.0 as usize].add(event.number);
        self.record(event.log, event.number, &event.record);
    }

    fn record(&mut self, log: LogId, number: u64, record: &Record) {
        // A connection that came through a fork has its parent's locks in its memory and not in the kernel.
        if record.conn == 0 || record.file == 0 || record.flags.has(Flags::FORKED) {
            return;
        }
        let Some(db) = self.database(log, record.file) else {
            self.audit.other += u64::from(holds::takes(record));
            return;
        };
        self.databases[db].logs.insert(log.0);
        let conns = &mut self.conns;
        let index = *self.known.entry((log.0, record.conn, db)).or_insert_with(|| {
            conns.push((Connection::default(), Default::default()));
            conns.len() - 1
        });
        let steps = self.conns[index].0.apply(record);
        for step in steps {
            match step {
                Step::Took(lock) => {
                    let held = AuditedHold {
                        log,
                        conn: record.conn,
                        file: record.file,
                        lock,
                        tid: record.tid,
                        sql: record.sql,
                        from: record.end(),
                        until: 0,
                        taken: number,
                        given: 0,
                    };
                    self.took(db, index, held);
                }
                Step::Gave(lock) => self.gave(db, index, lock, record.start, number),
                Step::Forget(lock) => self.forget(db, index, lock),
            }
        }
    }

    /// The database of a file of a log; `None` where it cannot be judged.
    fn database(&mut self, log: LogId, file: u32) -> Option<usize> {
        if let Some(known) = self.files.get(&(log.0, file)) {
            return *known;
        }
        let about = self.trace.log(log);
        let name = about.names.file(file)?;
        let judged = name.dev_ino.filter(|_| about.names.base_vfs(name.lib) == Some("unix"));
        let db = judged.map(|(dev, ino)| {
            *self.identities.entry((about.clock.0, dev, ino)).or_insert_with(|| {
                self.databases.push(Database::default());
                self.databases.len() - 1
            })
        });
        self.files.insert((log.0, file), db);
        db
    }

    fn took(&mut self, db: usize, index: usize, held: AuditedHold) {
        self.forget(db, index, held.lock);
        let open = &mut self.conns[index].1[held.lock.index()];
        *open = Open { since: Some(held), overlapped: Vec::new() };
        self.databases[db].counts[held.lock.index()] += 1;
        if !self.databases[db].conns.contains(&index) {
            self.databases[db].conns.push(index);
        }
    }

    /// A hold that goes on where it is not known how: it is not judged.
    fn forget(&mut self, db: usize, index: usize, lock: LockId) {
        let open = &mut self.conns[index].1[lock.index()];
        if open.since.take().is_some() {
            open.overlapped.clear();
            self.databases[db].counts[lock.index()] -= 1;
            self.leave(db, index);
        }
    }

    fn leave(&mut self, db: usize, index: usize) {
        if self.conns[index].1.iter().all(|open| open.since.is_none()) {
            self.databases[db].conns.retain(|&other| other != index);
        }
    }

    /// A hold ended. Those that go on and exclude it overlapped with it, unless they turn out not to be known. Those that ended while it
    /// went on can be judged now.
    fn gave(&mut self, db: usize, index: usize, lock: LockId, start: u64, number: u64) {
        let open = std::mem::take(&mut self.conns[index].1[lock.index()]);
        let Some(since) = open.since else { return };
        let held = AuditedHold { until: start, given: number, ..since };
        self.databases[db].counts[lock.index()] -= 1;
        self.audit.judged += 1;
        for other in open.overlapped {
            self.judge(other, held);
        }
        let excluded = |other: LockId| self.databases[db].counts[other.index()] > 0 && excludes(lock, other);
        if LockId::all().any(excluded) {
            for other in self.databases[db].conns.clone() {
                if other == index {
                    continue;
                }
                for open in self.conns[other].1.iter_mut() {
                    if let Some(theirs) = open.since
                        && theirs.log != held.log
                        && excludes(lock, theirs.lock)
                        && theirs.from < held.until
                        && open.overlapped.len() < KEPT
                    {
                        open.overlapped.push(held);
                    }
                }
            }
        }
        self.leave(db, index);
    }

    /// Two holds that are known from end to end.
    fn judge(&mut self, a: AuditedHold, b: AuditedHold) {
        let (first, second) = if a.from <= b.from { (a, b) } else { (b, a) };
        let (one, other) = (self.trace.log(first.log), self.trace.log(second.log));
        // Processes of two containers can have the same number. Two holds with the same number are not judged.
        if one.pid == other.pid {
            return;
        }
        let overlap = first.until.min(second.until).saturating_sub(second.from);
        let clock = self.trace.clock(first.log);
        let (Some(overlap_ns), Some(slack)) = (clock.to_ns(overlap), self.disagreement(first.log, second.log)) else {
            self.audit.incomparable = true;
            return;
        };
        if overlap_ns > LEAST_NS.saturating_add(slack) {
            self.candidates.push(Violation { first, second, overlap_ns: overlap_ns - slack });
        }
    }

    /// By how much the anchors of two logs of one clock disagree about what its ticks mean, in nanoseconds.
    fn disagreement(&self, a: LogId, b: LogId) -> Option<u64> {
        let clock = self.trace.clock(a);
        if clock.boot_unknown() {
            return None;
        }
        let rate = clock.ns_per_tick()?;
        let origin = self.trace.log(a).first;
        let logs = [self.trace.log(a), self.trace.log(b)];
        let anchors = logs.iter().flat_map(|log| [Some(log.first), log.last]).flatten();
        let errors = anchors.map(|anchor| {
            let ticks = anchor.ticks as i128 - i128::from(origin.ticks);
            let ns = anchor.monotonic_ns as i128 - i128::from(origin.monotonic_ns);
            ns - (ticks as f64 * rate) as i128
        });
        let (least, most) = errors.fold((0, 0), |(least, most): (i128, i128), error| (least.min(error), most.max(error)));
        u64::try_from(most - least).ok()
    }

    /// All but the account of what was read.
    pub(crate) fn finish(mut self) -> Audit {
        for violation in std::mem::take(&mut self.candidates) {
            let whole =
                |held: &AuditedHold| self.ranges[held.log.0 as usize].holds(held.taken.min(held.given), held.taken.max(held.given));
            if !whole(&violation.first) || !whole(&violation.second) {
                self.audit.doubtful += 1;
            } else if self.audit.violations.len() < KEPT {
                self.audit.violations.push(violation);
            } else {
                self.audit.more += 1;
            }
        }
        self.audit.shared = self.databases.iter().filter(|database| database.logs.len() > 1).count() as u64;
        self.audit
    }
}

/// Whether two processes cannot both have these.
fn excludes(a: LockId, b: LockId) -> bool {
    if let (Some(a), Some(b)) = (a.level(), b.level()) {
        return match (a.min(b), a.max(b)) {
            (Level::SHARED, high) => high == Level::EXCLUSIVE,
            // Its RESERVED byte; what else it has is in holds of their own.
            (Level::RESERVED, high) => high == Level::RESERVED,
            _ => true,
        };
    }
    a.slot().is_some() && a.slot() == b.slot() && (a.is_exclusive_slot() || b.is_exclusive_slot())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_exclude_each_other_and_nothing_else() {
        let file = |a: Level, b: Level| excludes(LockId::file(a), LockId::file(b));
        let levels = [Level::SHARED, Level::RESERVED, Level::PENDING, Level::EXCLUSIVE];
        let table: Vec<[bool; 4]> = levels.iter().map(|&a| levels.map(|b| file(a, b))).collect();
        assert_eq!(table[0], [false, false, false, true]);
        assert_eq!(table[1], [false, true, false, false]);
        assert_eq!(
            table[2],
            [false, false, true, true],
            "RESERVED beside PENDING is allowed: a hot journal is played back without it"
        );
        assert_eq!(table[3], [true, false, true, true]);
        let shm = |a, b| excludes(LockId::shm(3, a), LockId::shm(3, b));
        assert!(!shm(false, false) && shm(true, false) && shm(false, true) && shm(true, true));
        assert!(!excludes(LockId::shm(3, true), LockId::shm(4, true)));
        assert!(!excludes(LockId::shm(3, true), LockId::file(Level::EXCLUSIVE)));
    }
}
