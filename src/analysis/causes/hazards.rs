//! Hazards: what can go wrong, found even if nothing was refused.
//!
//! Each kind is one entry of a table. There is one [`Hazard`] for each kind and database, with the records that it rests on.
#![forbid(unsafe_code)]

use super::identifiers::identifiers;
use crate::analysis::audit::{Audit, Violation};
use crate::analysis::locks::databases::Database;
use crate::analysis::locks::state::{ConnId, Hold};
use crate::trace::{Event, LogId, Trace};
use shim::event::{Flags, Kind, Level};
use std::collections::{BTreeMap, BTreeSet};

/// An entry of the table.
pub(crate) struct HazardEntry {
    /// The identifier in reports, tests and exit gates.
    pub id: &'static str,
    /// What the hazard means.
    pub meaning: &'static str,
    /// What removes the hazard.
    pub fix: &'static str,
    /// The program of `tests/scenarios` that has it.
    pub scenario: &'static str,
}

identifiers! {
    /// The kind of a hazard. The names are those of the reports.
    HazardKind: HazardEntry {
        /// Two connections use one file handle.
        SharedCache = SHARED_CACHE,
        /// A process lost a lock that it believed to hold. The lock audit finds it.
        PosixLockLost = POSIX_LOCK_LOST,
        /// Two SQLite libraries in one process have the same file open.
        TwoSqliteLibraries = TWO_SQLITE_LIBRARIES,
        /// A process uses a connection that another process opened.
        ForkedConnection = FORKED_CONNECTION,
        /// The database is on a file system with unreliable locks.
        NetworkFilesystem = NETWORK_FILESYSTEM,
        /// Several writers in WAL mode on a SQLite with the WAL-reset bug.
        WalResetExposure = WAL_RESET_EXPOSURE,
        /// A read transaction that kept the WAL from being reset while it grew.
        LongReadTransaction = LONG_READ_TRANSACTION,
    }
}

static SHARED_CACHE: HazardEntry = HazardEntry {
    id: "shared-cache",
    meaning: "Two connections of one process share a cache and a file handle (cache=shared). SQLite locks tables between them, not \
              the file.",
    fix: "Open without cache=shared. Its table locks fail with SQLITE_LOCKED, to which no busy timeout applies.",
    scenario: "hazard_shared_cache.py",
};

static POSIX_LOCK_LOST: HazardEntry = HazardEntry {
    id: "posix-lock-lost",
    meaning: "Two processes held locks that exclude each other: one had lost its lock without noticing. The database may be \
              corrupt.",
    fix: "In each process, open and close the database file through one SQLite only. Do not open it to copy or checksum it, and load no second SQLite. \
              Closing the file releases every lock that the process holds on it.",
    scenario: "hazard_posix_lock_lost.py",
};

static TWO_SQLITE_LIBRARIES: HazardEntry = HazardEntry {
    id: "two-sqlite-libraries",
    meaning: "Two copies of SQLite in one process have the same database open. When one closes the file, the other loses its locks.",
    fix: "Link only one SQLite, or open this database with only one of them.",
    scenario: "hazard_two_libraries.py",
};

static FORKED_CONNECTION: HazardEntry = HazardEntry {
    id: "forked-connection",
    meaning: "A process uses a connection that its parent opened before the fork. A child does not inherit locks, but the \
              connection believes that it has them.",
    fix: "Open connections after the fork, in each process its own (gunicorn: post_fork, or no preload; multiprocessing: the \
              spawn method, or in the initializer).",
    scenario: "hazard_forked_connection.py",
};

static NETWORK_FILESYSTEM: HazardEntry = HazardEntry {
    id: "network-filesystem",
    meaning: "The database is on a network file system, or a lock call failed with an I/O error. Locks may not work there as SQLite \
              needs them.",
    fix: "Put the database on a local disk.",
    scenario: "hazard_network_filesystem.py",
};

static WAL_RESET_EXPOSURE: HazardEntry = HazardEntry {
    id: "wal-reset-exposure",
    meaning: "Several connections write in WAL mode, and this SQLite can lose content of the WAL when a reset and a commit meet.",
    fix: "Use SQLite 3.51.3 or later. Until then set no mmap_size, which makes it worse.",
    scenario: "hazard_wal_reset_exposure.py",
};

static LONG_READ_TRANSACTION: HazardEntry = HazardEntry {
    id: "long-read-transaction",
    meaning: "A read transaction lasted a second or more while the WAL grew.",
    fix: "End read transactions soon, and leave moments without any: SQLite cannot restart the WAL while a connection reads \
              from it.",
    scenario: "hazard_long_read_transaction.py",
};

/// One hazard of one database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hazard {
    /// The kind of hazard.
    pub kind: HazardKind,
    /// The database, an index into [`crate::analysis::Analysis::databases`].
    pub db: u32,
    /// What was seen, in words.
    pub what: String,
    /// The records that it rests on: log and number. Empty if it rests on names alone.
    pub evidence: Vec<(LogId, u64)>,
}

/// The least length, in nanoseconds, of a read transaction that is a hazard if the WAL grew during it.
const LONG_READ_NS: u64 = 1_000_000_000;

/// File system types, as `statfs` names them in a trace, whose locks come over a network or from a program.
const NETWORK: [&str; 14] =
    ["nfs", "nfs4", "smb", "smb2", "smb3", "cifs", "9p", "fuse", "fuseblk", "afs", "ceph", "coda", "ncp", "lustre"];

/// The longest read transaction of a database during which the WAL grew.
#[derive(Clone, Copy)]
struct LongRead {
    ns: u64,
    who: ConnId,
    numbers: (u64, u64),
    count: u64,
}

/// The signs of hazards seen so far.
#[derive(Default)]
pub(crate) struct Signs {
    shared: BTreeMap<u32, (LogId, u64)>,
    forked: BTreeMap<u32, (LogId, u64)>,
    io_errors: BTreeMap<u32, (LogId, u64)>,
    /// By database, up to two connections that wrote to the WAL or made checkpoints, with a record of each and the file's number.
    writers: BTreeMap<u32, Vec<(ConnId, u64, u32)>>,
    reads: BTreeMap<u32, LongRead>,
}

impl Signs {
    /// Follows a record that has a flag, or a failed call.
    #[cold]
    pub(crate) fn flagged(&mut self, db: u32, event: &Event) {
        let Event { log, number, ref record } = *event;
        if record.flags.has(Flags::SHARED_CACHE) {
            self.shared.entry(db).or_insert((log, number));
        }
        // A child closes a connection that came through a fork to get rid of it. Only using it is the hazard.
        if record.flags.has(Flags::FORKED) && matches!(record.kind, Kind::LOCK | Kind::SHM_LOCK | Kind::SHM_MAP) {
            self.forked.entry(db).or_insert((log, number));
        }
        // A read-only connection always gets this error when it closes and asks whether it is the last. A file that is open for reading takes
        // no write lock.
        let read_only = record.kind == Kind::LOCK && record.requested == Level::EXCLUSIVE && record.before == Level::SHARED;
        if record.rc.primary() == 10 && !read_only && matches!(record.kind, Kind::LOCK | Kind::UNLOCK | Kind::SHM_LOCK) {
            self.io_errors.entry(db).or_insert((log, number));
        }
    }

    /// Notes that a connection has written to the WAL, or has made a checkpoint.
    #[inline]
    pub(crate) fn wrote(&mut self, db: u32, who: ConnId, event: &Event) {
        let writers = self.writers.entry(db).or_default();
        if writers.len() < 2 && writers.iter().all(|writer| writer.0 != who) {
            writers.push((who, event.number, event.record.file));
        }
    }

    /// Notes that a reader's slot was released and that the WAL had grown meanwhile.
    #[inline]
    pub(crate) fn read(&mut self, db: u32, who: ConnId, hold: &Hold, ns: Option<u64>, number: u64) {
        let Some(ns) = ns.filter(|&ns| ns >= LONG_READ_NS) else { return };
        let read = LongRead { ns, who, numbers: (hold.number, number), count: 1 };
        let known = self.reads.entry(db).or_insert(LongRead { count: 0, ..read });
        *known = LongRead { count: known.count + 1, ..if known.ns > ns { *known } else { read } };
    }

    /// All hazards, by database.
    pub(crate) fn finish(&self, trace: &Trace, databases: &[Database], firsts: &BTreeMap<(LogId, u32), u64>) -> Vec<Hazard> {
        let mut out = Vec::new();
        for (db, database) in (0..).zip(databases) {
            let mut add = |kind, what: String, evidence: Vec<(LogId, u64)>| out.push(Hazard { kind, db, what, evidence });
            if let Some(&at) = self.shared.get(&db) {
                add(HazardKind::SharedCache, "two connections use one file handle (cache=shared)".to_owned(), vec![at]);
            }
            if let Some(&at) = self.forked.get(&db) {
                let what = format!("process {} uses a connection that another process opened before a fork", trace.log(at.0).pid);
                add(HazardKind::ForkedConnection, what, vec![at]);
            }
            let network: Vec<&str> = database.file_systems.iter().map(String::as_str).filter(|fs| is_network(fs)).collect();
            let failed = self.io_errors.get(&db);
            if !network.is_empty() || failed.is_some() {
                let what = match network.first() {
                    Some(fs) => format!("the file system is {fs}: whether locks work there depends on the server"),
                    None => "a lock call failed with an I/O error".to_owned(),
                };
                let named =
                    || firsts.iter().find(|((log, file), _)| is_of(trace, *log, *file, database)).map(|(key, at)| (key.0, *at));
                add(HazardKind::NetworkFilesystem, what, failed.copied().or_else(named).into_iter().collect());
            }
            self.two_libraries(trace, database, firsts, &mut add);
            self.wal_reset(trace, db, &mut add);
            if let Some(read) = self.reads.get(&db) {
                let what = format!(
                    "{} read transaction{} of {} s or more while the WAL grew, the longest {:.1} s",
                    read.count,
                    if read.count == 1 { "" } else { "s" },
                    LONG_READ_NS / 1_000_000_000,
                    read.ns as f64 / 1e9
                );
                let log = read.who.log;
                add(HazardKind::LongReadTransaction, what, vec![(log, read.numbers.0), (log, read.numbers.1)]);
            }
        }
        out
    }

    fn two_libraries(
        &self,
        trace: &Trace,
        database: &Database,
        firsts: &BTreeMap<(LogId, u32), u64>,
        add: &mut impl FnMut(HazardKind, String, Vec<(LogId, u64)>),
    ) {
        for &log in &database.logs {
            let names = &trace.log(log).names;
            // Only files with records count: a name alone is no connection.
            let files = names.numbered_files().filter(|(file, _)| is_of(trace, log, *file, database));
            let used: Vec<_> = files.filter_map(|(file, name)| Some((name.lib, *firsts.get(&(log, file))?))).collect();
            let libraries: BTreeSet<u64> = used.iter().map(|used| used.0).collect();
            if libraries.len() > 1 {
                let versions: Vec<&str> = libraries.iter().map(|&lib| names.sqlite_version(lib).unwrap_or("?")).collect();
                let what = format!(
                    "{} SQLite libraries in process {} have the database open (versions {}): closing it in one drops the locks of the other",
                    libraries.len(),
                    trace.log(log).pid,
                    versions.join(" and ")
                );
                let evidence = libraries.iter().filter_map(|lib| used.iter().find(|used| used.0 == *lib)).map(|used| (log, used.1));
                add(HazardKind::TwoSqliteLibraries, what, evidence.collect());
                return;
            }
        }
    }

    fn wal_reset(&self, trace: &Trace, db: u32, add: &mut impl FnMut(HazardKind, String, Vec<(LogId, u64)>)) {
        let Some([a, b]) = self.writers.get(&db).map(Vec::as_slice) else { return };
        for (who, _, file) in [a, b] {
            let names = &trace.log(who.log).names;
            let Some(version) = names.file(*file).and_then(|name| names.sqlite_version(name.lib)) else { continue };
            if has_wal_reset_bug(version) {
                let what = format!(
                    "several connections write or checkpoint in WAL mode, and SQLite {version} has the WAL-reset bug (fixed in 3.51.3)"
                );
                add(HazardKind::WalResetExposure, what, vec![(a.0.log, a.1), (b.0.log, b.1)]);
                return;
            }
        }
    }
}

/// The hazards that the lock audit found, one for each database.
pub(crate) fn lost_locks(trace: &Trace, databases: &[Database], audit: &Audit) -> Vec<Hazard> {
    let mut out = Vec::new();
    for (db, database) in (0..).zip(databases) {
        let of_it = |violation: &&Violation| is_of(trace, violation.first.log, violation.first.file, database);
        let found: Vec<&Violation> = audit.violations.iter().filter(of_it).collect();
        let Some(longest) = found.iter().max_by_key(|violation| violation.overlap_ns) else { continue };
        let [first, second] = [&longest.first, &longest.second];
        let pid = |log| trace.log(log).pid;
        let what = format!(
            "{}: process {} had {} while process {} had {}, for {:.1} ms: a lock was lost (was the database file opened and closed beside \
             SQLite?)",
            if found.len() == 1 { "once".to_owned() } else { format!("{} times", found.len()) },
            pid(first.log),
            first.lock,
            pid(second.log),
            second.lock,
            longest.overlap_ns as f64 / 1e6
        );
        let mut evidence =
            vec![(first.log, first.taken), (first.log, first.given), (second.log, second.taken), (second.log, second.given)];
        evidence.sort();
        out.push(Hazard { kind: HazardKind::PosixLockLost, db, what, evidence });
    }
    out
}

/// Whether this file of this log is the given database.
fn is_of(trace: &Trace, log: LogId, file: u32, database: &Database) -> bool {
    trace.log(log).names.file(file).is_some_and(|name| database.logs.contains(&log) && database.paths.contains(&name.path.text))
}

fn is_network(fs: &str) -> bool {
    NETWORK.contains(&fs) || fs.starts_with("fuse.")
}

/// Whether this SQLite can lose WAL content when a reset and a commit coincide: fixed in 3.51.3, and in 3.50.7 and 3.44.6.
pub fn has_wal_reset_bug(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    let (Some(Some(major)), Some(Some(minor))) = (parts.next(), parts.next()) else { return false };
    let patch = parts.next().flatten().unwrap_or(0);
    match (major, minor) {
        (3, 44) => patch < 6,
        (3, 50) => patch < 7,
        (3, 51) => patch < 3,
        (3, minor) => (7..51).contains(&minor),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_with_the_wal_reset_bug() {
        let bad = ["3.40.1", "3.44.5", "3.50.6", "3.51.2", "3.7.0", "3.50"];
        let good = ["3.44.6", "3.50.7", "3.51.3", "3.54.1", "3.6.23", "", "x.y", "4.0.0"];
        assert!(bad.iter().all(|version| has_wal_reset_bug(version)));
        assert!(!good.iter().any(|version| has_wal_reset_bug(version)));
    }
}
