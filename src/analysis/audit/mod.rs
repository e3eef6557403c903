//! The lock audit: a search for two processes that held locks at the same time although SQLite's rules exclude it.
//!
//! A [`Violation`] is two holds of two processes that exclude each other and certainly overlapped. Then a process had lost a lock that its
//! SQLite believed to have (`posix-lock-lost`), and the database can be damaged. Either the process opened and closed the database file
//! beside SQLite, or the file system's locks do not work. `locktrace audit` runs the audit. The analysis also runs it if holds seem to
//! exclude each other.
//!
//! A hold counts from the end of the call that took it to the start of the call that released it. It is judged only if all of these are
//! true:
//!
//! * both calls were seen, and the log has lost no record between them;
//! * the connection's state before each call was its state after the previous call;
//! * device and inode of the database are known;
//! * the VFS is `unix`: other VFSes lock by other means, or do not lock.
//!
//! Two holds overlap only if they do so by more than [`LEAST_NS`] plus the disagreement of the two logs' anchors about the time. Two
//! connections of one process are never judged, because SQLite enforces these rules in memory within a process.
//!
//! Which locks exclude each other (os_unix.c, "locking" in its header): a byte for RESERVED, and one for PENDING, which EXCLUSIVE holds too.
//! Readers share a range that EXCLUSIVE has alone. Each wal-index slot has a byte.
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

/// The longest overlap that proves nothing. The counters of two cores, and the order in which a core reads its own, are that inexact.
pub const LEAST_NS: u64 = 50_000;

/// How many violations are kept. Further ones are counted.
const KEPT: usize = 1000;

/// A lock that one connection certainly held from one instant to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuditedHold {
    /// The process's log.
    pub log: LogId,
    /// The connection.
    pub conn: u32,
    /// The number of its database file in the log.
    pub file: u32,
    /// The lock.
    pub lock: LockId,
    /// The thread that took it; 0 = unknown.
    pub tid: u32,
    /// The hash of the statement that took it; 0 = unknown.
    pub sql: u64,
    /// The end of the call that took it, in ticks.
    pub from: u64,
    /// The start of the call that released it, in ticks.
    pub until: u64,
    /// The record of the call that took it.
    pub taken: u64,
    /// The record of the call that released it.
    pub given: u64,
}

/// Two holds that exclude each other and overlapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The hold that began first.
    pub first: AuditedHold,
    /// The hold that should have been refused.
    pub second: AuditedHold,
    /// The least time for which both were held.
    pub overlap_ns: u64,
}

/// What the audit of a trace found.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// The violations, in the order of their ends.
    pub violations: Vec<Violation>,
    /// How many further violations there are.
    pub more: u64,
    /// Overlaps that are violations only if no lost record says otherwise.
    pub doubtful: u64,
    /// Holds that were compared with those of every other process.
    pub judged: u64,
    /// Calls that took a lock of a database that cannot be judged: its VFS is not `unix`, or its identity or its VFS is unknown.
    pub other: u64,
    /// Databases that more than one process used.
    pub shared: u64,
    /// Some logs have no common clock, or one whose ticks have no known length. Nothing between them was judged.
    pub incomparable: bool,
    /// Which records were read and which were not.
    pub summary: Summary,
}

/// A hold that goes on, and the holds of others that ended during it.
#[derive(Clone, Default)]
struct Open {
    since: Option<AuditedHold>,
    overlapped: Vec<AuditedHold>,
}

/// The identity of a database in every process: clock (so boot), device and inode.
type Identity = (u32, u64, u64);

#[derive(Default)]
struct Database {
    /// Connections that have holds.
    conns: Vec<usize>,
    /// The number of holds that go on, by lock.
    counts: [u32; LockId::COUNT],
    logs: BTreeSet<u32>,
}

/// An audit in progress.
pub(crate) struct AuditPass<'t> {
    trace: &'t Trace,
    audit: Audit,
    databases: Vec<Database>,
    identities: HashMap<Identity, usize>,
    /// The database, if it can be judged, by log and file number.
    files: HashMap<(u32, u32), Option<usize>>,
    /// The index in `conns`, by log, connection and database. In a damaged trace a connection may have more than one database.
    known: HashMap<(u32, u32, usize), usize>,
    conns: Vec<(Connection, [Open; LockId::COUNT])>,
    ranges: Vec<Ranges>,
    candidates: Vec<Violation>,
}

impl Audit {
    /// Audits a whole trace.
    ///
    /// # Errors
    /// The errors of [`Trace::events`].
    pub fn of(trace: &Trace) -> Result<Audit, Error> {
        let mut events = trace.events()?;
        let mut pass = AuditPass::new(trace);
        for event in &mut events {
            pass.event(&event);
        }
        Ok(Audit { summary: events.finish(), ..pass.finish() })
    }

    /// Whether the audit proves anything. It does not if several processes used one database and nothing could be judged, or if lost records
    /// may hide a violation.
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
        // A connection that came through a fork has its parent's locks in memory, but not in the kernel.
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
                Step::Released(lock) => self.released(db, index, lock, record.start, number),
                Step::Forget(lock) => self.forget(db, index, lock),
            }
        }
    }

    /// The database of a file of a log; `None` if it cannot be judged.
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

    /// Forgets a hold of which a record is missing or contradictory: it is not judged.
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

    /// Ends a hold. It overlapped with the open holds that exclude it, unless these turn out to be unknown. Those that ended during it can be
    /// judged now.
    fn released(&mut self, db: usize, index: usize, lock: LockId, start: u64, number: u64) {
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

    /// Judges two holds of which both ends are known.
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

    /// By how many nanoseconds the anchors of two logs of one clock disagree about what its ticks mean.
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

    /// The result, without the account of which records were read.
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

/// Whether two processes cannot hold these locks at the same time.
fn excludes(a: LockId, b: LockId) -> bool {
    if let (Some(a), Some(b)) = (a.level(), b.level()) {
        return match (a.min(b), a.max(b)) {
            (Level::SHARED, high) => high == Level::EXCLUSIVE,
            // Only the RESERVED byte counts here. The connection's other levels are holds of their own.
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
