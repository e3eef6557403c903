//! Labels of processes, threads, databases, locks and statements, not yet escaped for any format.
#![forbid(unsafe_code)]

use crate::analysis::{ConnId, LockId};
use crate::report::words;
use crate::trace::{Event, Log, LogId, Trace};
use std::collections::HashSet;

/// Longest statement in an export, in bytes. The whole text is in the JSON lines.
const LONGEST_SQL: usize = 4096;

/// The paths of the databases, collected from their records.
#[derive(Default)]
pub(super) struct DatabasePaths(Vec<Option<String>>);

impl DatabasePaths {
    /// Takes the path of a database from the first record about it ([`crate::analysis::Observer::event`]).
    #[inline]
    pub(super) fn saw(&mut self, trace: &Trace, event: &Event, db: Option<u32>) {
        let Some(index) = db.map(|db| db as usize) else { return };
        if self.0.get(index).is_none_or(Option::is_none) {
            self.learn(trace, event, index);
        }
    }

    #[cold]
    fn learn(&mut self, trace: &Trace, event: &Event, index: usize) {
        if self.0.len() <= index {
            self.0.resize(index + 1, None);
        }
        let name = trace.log(event.log).names.file(event.record.file);
        self.0[index] = name.map(|name| name.path.text.clone());
    }

    /// The path of a database, if its name is known.
    pub(super) fn get(&self, db: u32) -> Option<&str> {
        self.0.get(db as usize)?.as_deref()
    }
}

/// The program of a process, without its directory; empty if it is unknown.
pub(super) fn program(trace: &Trace, log: LogId) -> String {
    let names = &trace.log(log).names;
    let argv = names.argv().and_then(|argv| argv.first().copied());
    let path = names.exe().or(argv).unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

/// `python3 100`: a process for people.
pub(super) fn process(trace: &Trace, log: LogId) -> String {
    let (program, pid) = (program(trace, log), trace.log(log).pid);
    if program.is_empty() { format!("pid {pid}") } else { format!("{program} {pid}") }
}

/// `web-1 101`, or `thread 101`.
pub(super) fn thread(trace: &Trace, who: ConnId, tid: u32) -> String {
    match (words::thread(trace, who, tid), tid) {
        (_, 0) => "unknown thread".to_owned(),
        (None, _) => format!("thread {tid}"),
        (Some(name), _) => format!("{name} {tid}"),
    }
}

/// A statement's text, cut if it is very long, or its hash if only that was recorded. `None` if no statement ran, or it is unknown.
pub(super) fn sql(trace: &Trace, who: ConnId, hash: u64) -> Option<String> {
    if hash == 0 {
        return None;
    }
    Some(words::sql_text(trace, who, hash).map_or_else(|| format!("sql {hash:016x}"), cut))
}

fn cut(text: &str) -> String {
    if text.len() <= LONGEST_SQL {
        return text.to_owned();
    }
    let mut end = LONGEST_SQL;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}… ({} bytes)", text.get(..end).unwrap_or_default(), text.len())
}

/// The process number of each log in a view: its pid. If two logs have the same pid (on different hosts, or because it was used again), the later
/// one gets a number that no process has.
pub(super) struct Pids(Vec<u64>);

impl Pids {
    /// The numbers of all logs of a trace.
    pub(super) fn of(trace: &Trace) -> Pids {
        /// More than Linux' `PID_MAX_LIMIT`, 2^22.
        const BEYOND: u64 = 10_000_000;
        let mut seen = HashSet::new();
        let number = |(index, log): (u64, &Log)| if seen.insert(log.pid) { u64::from(log.pid) } else { BEYOND + index };
        Pids((0..).zip(trace.logs()).map(number).collect())
    }

    /// The number of this log.
    pub(super) fn get(&self, log: LogId) -> u64 {
        self.0.get(log.0 as usize).copied().unwrap_or_default()
    }
}

/// The names of locks, in the order of their numbers.
const LOCKS: [&str; LockId::COUNT] = [
    "SHARED",
    "RESERVED",
    "PENDING",
    "EXCLUSIVE",
    "X WRITE",
    "S WRITE",
    "X CKPT",
    "S CKPT",
    "X RECOVER",
    "S RECOVER",
    "X READ0",
    "S READ0",
    "X READ1",
    "S READ1",
    "X READ2",
    "S READ2",
    "X READ3",
    "S READ3",
    "X READ4",
    "S READ4",
];

/// A lock's name, equal to what [`LockId`] displays.
pub(super) fn lock(lock: LockId) -> &'static str {
    LOCKS[lock.index()]
}

/// This text as a `&'static str`, if it is a lock's name.
pub(super) fn known_lock(name: &str) -> Option<&'static str> {
    LOCKS.iter().find(|lock| **lock == name).copied()
}

/// `c1`, or `c1 forked`.
pub(super) fn connection(who: ConnId) -> String {
    format!("c{}{}", who.conn, if who.forked { " forked" } else { "" })
}

/// `c1 app.db`: a connection and the file that it opened.
pub(super) fn row(who: ConnId, database: Option<&str>) -> String {
    let file = database.and_then(|path| path.rsplit('/').next()).unwrap_or("unknown database");
    format!("{} {file}", connection(who))
}

/// `locks`, `locks 2`: the rows of one kind.
pub(super) fn lane(kind: &str, lane: u8) -> String {
    if lane == 0 { kind.to_owned() } else { format!("{kind} {}", u16::from(lane) + 1) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn locks_have_their_names() {
        use crate::analysis::LockId;
        assert!(LockId::all().all(|lock| super::lock(lock) == lock.to_string()));
    }

    #[test]
    fn a_long_statement_is_cut_at_a_character() {
        let text = "é".repeat(4000);
        let cut = super::cut(&text);
        assert!(cut.len() < 4200 && cut.ends_with("… (8000 bytes)"), "{}", cut.len());
        assert_eq!(super::cut("SELECT 1"), "SELECT 1");
    }
}
