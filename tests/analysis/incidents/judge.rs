//! What is found in a scenario, a line an incident: `cause outcome +contributing <- what the culprit ran (state)`.
#![allow(clippy::unwrap_used)]

use crate::common::Process;
use sqlite_locktrace::analysis::{Analysis, Incident, Options};
use sqlite_locktrace::report::words;
use sqlite_locktrace::trace::Trace;
use std::path::Path;

/// What is found in the logs of these processes.
pub fn judged(processes: &[&Process]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    processes.iter().for_each(|process| process.write(dir.path()));
    judged_in(dir.path())
}

pub fn judged_in(dir: &Path) -> Vec<String> {
    found_in(dir).into_iter().map(|(line, _)| line).collect()
}

/// Each incident of a trace directory: its line, the attempts that were refused, and how many holds blocked them.
pub fn found_in(dir: &Path) -> Vec<(String, (u32, usize))> {
    let trace = Trace::open(dir).unwrap();
    let analysis = Analysis::of(&trace, Options::default()).unwrap();
    let show = |incident: &Incident| {
        assert!(incident.cause.id() == "unexplained" || !incident.evidence.is_empty());
        let contributing: String = incident.contributing.iter().map(|item| format!(" +{}", item.id())).collect();
        let culprit = incident.blockers.first().map_or("nobody".to_owned(), |blocker| {
            let holding = &analysis.blocking_holds[blocker.hold as usize];
            let sql = words::sql_text(&trace, holding.who, holding.sql).unwrap_or("?");
            format!("{sql} ({})", blocker.state.id())
        });
        let line = format!("{} {}{contributing} <- {culprit}", incident.cause.id(), incident.end.id());
        (line, (incident.attempts, incident.blockers.len()))
    };
    analysis.incidents.iter().map(show).collect()
}

pub const WAL: &str = "1 c1 open\n2 c1 SHARED\n3 c1 open wal\n4 c1 map\n5 c2 open\n6 c2 SHARED\n7 c2 open wal\n8 c2 map\n";

/// Refused `n` times with the sleeps of SQLite's busy handler in between, and once more.
pub fn attempts(from: u64, conn: &str, lines: &[&str], sleeps: &[u64]) -> String {
    let (mut at, mut out) = (from, String::new());
    for sleep in sleeps.iter().map(Some).chain([None]) {
        for line in lines {
            out += &format!("{at} {conn} {line}\n");
            at += 10;
        }
        if let Some(sleep) = sleep {
            out += &format!("{at}+{} {conn} sleep {sleep}\n", sleep + 5);
            at += sleep + 10;
        }
    }
    out
}

pub const START: [&str; 3] = ["S READ1 -- INSERT b", "X WRITE=BUSY -- INSERT b", "U READ1"];

/// Damages the records with these numbers in a process's file.
pub fn damage(dir: &Path, process: &Process, lost: &[usize]) {
    let path = dir.join(format!("{}.ring", process.id));
    let mut ring = std::fs::read(&path).unwrap();
    lost.iter().for_each(|at| ring[4096 + at * 64 + 9] ^= 1);
    std::fs::write(&path, ring).unwrap();
}
