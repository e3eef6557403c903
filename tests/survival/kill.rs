//! `kill -9` of writing processes at any instant: every committed record can be read, each thread loses at most the one in flight, the trace opens
//! without a complaint, and the database is consistent.
//!
//! The victims count what they commit in memory that outlives them (`counters`).
#![allow(clippy::unwrap_used)]

use crate::counters::Counters;
use crate::live::host::DEADLINE;
use crate::live::load::{prepare, rows};
use crate::live::replay::Replay;
use crate::{Random, victim};
use rusqlite::Connection;
use shim::event::{FileKind, Kind};
use shim::format::header::{self, Header};
use sqlite_locktrace::trace::{LogId, Trace};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Victims at once, on one database.
const PROCESSES: usize = 3;
const THREADS: usize = 3;

/// When a victim is killed.
#[derive(Clone, Copy, Debug)]
enum When {
    /// This many turns of a loop after it began to open its log, which takes a millisecond.
    Opening(u64),
    /// As soon as it has made its first file, and this many turns of a loop later.
    Naming(u64),
    /// As soon as its log has this many records: where a piece of the ring is made ready.
    Records(u64),
    /// After this many transitions that it counted.
    Transitions(u64),
}

impl When {
    fn at_random(random: &mut Random) -> When {
        match random.below(5) {
            0 => When::Opening(random.below(30_000)),
            1 => When::Naming(random.below(3000)),
            // A new piece is prepared when half of the last one is used, or when it is full.
            2 => When::Records([128, 256, 512, 1024, 2048, 4096, 6144, 8192][random.below(8) as usize] - random.below(3)),
            _ => When::Transitions(1 + random.below(12_000)),
        }
    }

    fn wait(self, pid: u32, counters: &Counters, traces: &Path) {
        let begun = Instant::now();
        let until = |reached: &dyn Fn() -> bool| {
            while !reached() {
                assert!(begun.elapsed() < DEADLINE, "process {pid} has not reached {self:?}: {counters:?}");
                std::thread::yield_now();
            }
        };
        match self {
            When::Opening(turns) => {
                until(&|| counters.stage.load(Ordering::Relaxed) > 0);
                (0..turns).for_each(|_| std::hint::spin_loop());
            }
            When::Naming(turns) => {
                until(&|| file(traces, pid, "names").is_some());
                (0..turns).for_each(|_| std::hint::spin_loop());
            }
            When::Records(records) => until(&|| head(traces, pid) >= records),
            When::Transitions(transitions) => until(&|| counters.transitions() >= transitions),
        }
    }
}

/// This process's file with this extension.
fn file(traces: &Path, pid: u32, extension: &str) -> Option<PathBuf> {
    let mut paths = std::fs::read_dir(traces).ok()?.map(|entry| entry.unwrap().path());
    paths
        .find(|path| path.to_string_lossy().contains(&format!("/{pid}-")) && path.extension().is_some_and(|name| name == extension))
}

/// How many records this process has claimed so far.
fn head(traces: &Path, pid: u32) -> u64 {
    let mut bytes = Vec::new();
    let ring = file(traces, pid, "ring").and_then(|path| std::fs::File::open(path).ok());
    let read = ring.and_then(|file| file.take(header::SIZE as u64).read_to_end(&mut bytes).ok());
    read.and_then(|_| Header::decode(&bytes).ok()).map_or(0, |header| header.head)
}

/// A victim that is dead.
struct Dead {
    when: When,
    pid: u32,
    counters: &'static Counters,
}

/// What the dead left.
#[derive(Default, Debug)]
struct Left {
    kills: usize,
    /// Those that had a log.
    logs: usize,
    /// Names without records: killed while the log was made.
    unmade: usize,
    /// Records in flight.
    in_flight: u64,
}

/// Starts the victims, kills each when its time has come, and checks what they left.
fn massacre(mode: &str, limit: &str, random: &mut Random, left: &mut Left) {
    let dir = tempfile::tempdir().unwrap();
    let (database, traces) = (dir.path().join("app.db"), dir.path().join("trace"));
    prepare(&database, mode);
    let dead: Vec<Dead> = std::thread::scope(|scope| {
        let killers: Vec<_> = (0..PROCESSES)
            .map(|number| {
                let (when, file) = (When::at_random(random), dir.path().join(format!("counters-{number}")));
                let (database, traces) = (&database, &traces);
                scope.spawn(move || {
                    let counters = Counters::at(&file);
                    let mut victim = victim::start(database, &file, THREADS, traces, limit);
                    let pid = victim.id();
                    // Killed whatever comes, so that a failing test leaves nothing behind.
                    let waited = std::panic::catch_unwind(|| when.wait(pid, counters, traces));
                    let ended = victim.try_wait().unwrap();
                    victim.kill().unwrap();
                    victim.wait().unwrap();
                    assert_eq!(ended, None, "it was alive until it was killed");
                    waited.unwrap();
                    Dead { when, pid, counters }
                })
            })
            .collect();
        killers.into_iter().map(|killer| killer.join().unwrap()).collect()
    });
    check_database(&database, &dead);
    left.kills += dead.len();
    check_trace(&traces, mode, limit, &dead, left);
}

/// Every commit that was counted is there, and at most one more a thread.
fn check_database(database: &Path, dead: &[Dead]) {
    let all = rows(database);
    let committed: u64 = dead.iter().map(|dead| dead.counters.commits()).sum();
    assert!((committed..=committed + (PROCESSES * THREADS) as u64).contains(&all), "{committed} counted, {all} there");
    let connection = Connection::open(database).unwrap();
    for Dead { pid, counters, when } in dead {
        for (number, thread) in counters.threads.iter().enumerate().take(THREADS) {
            let query = "SELECT count(*), coalesce(max(n) + 1, 0) FROM t WHERE pid = ?1 AND thread = ?2";
            let (there, next): (i64, i64) =
                connection.query_row(query, (pid, number as i64), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            let counted = thread.commits.load(Ordering::Relaxed) as i64;
            assert_eq!(there, next, "process {pid}, killed {when:?}, thread {number}: a row in the middle is missing");
            assert!((counted..=counted + 1).contains(&there), "process {pid}, killed {when:?}: {counted} counted, {there} there");
        }
    }
}

/// What a process leaves that was killed while it made its files, and nothing else.
const HONEST: [&str; 3] =
    ["names without records; not used", "it has no header yet", "the file is empty; expected a 4096-byte header"];

fn check_trace(traces: &Path, mode: &str, limit: &str, dead: &[Dead], left: &mut Left) {
    let trace = match Trace::open(traces) {
        Ok(trace) => trace,
        Err(error) => {
            // Not one of them had come to have a log.
            assert_eq!(dead.iter().map(|dead| dead.counters.transitions()).sum::<u64>(), 0, "{error}");
            assert!(error.to_string().contains("nothing") || error.to_string().contains("no trace"), "{error}");
            return;
        }
    };
    for problem in trace.problems() {
        assert!(HONEST.iter().any(|honest| problem.what.contains(honest)), "{problem}");
        left.unmade += usize::from(HONEST.iter().any(|honest| problem.what.contains(honest)));
    }
    let replay = Replay::of(&trace, false);
    replay.assert_alone(mode != "wal");
    let calls = calls(&trace);
    for Dead { when, pid, counters } in dead {
        let context = || format!("process {pid}, killed {when:?}: {counters:?}");
        let Some(log) = trace.logs().iter().position(|log| log.pid == *pid) else {
            assert_eq!(counters.transitions(), 0, "{}", context());
            continue;
        };
        let tally = replay.tallies[log];
        assert_eq!((tally.lost, tally.missing), (0, 0), "{tally:?} {}", context());
        let wrapped = tally.overwritten > 0;
        // In flight, when it died: one record of each thread. One that was suspended in a record for a whole lap of a small ring
        // spoils two.
        let in_flight = THREADS as u64 * if wrapped { 2 } else { 1 };
        assert!(tally.torn + tally.empty <= in_flight, "{tally:?} {}", context());
        left.in_flight += tally.torn + tally.empty;
        if let When::Records(records) = when {
            assert!(tally.head >= *records, "{tally:?} {}", context());
        }
        if wrapped {
            assert_eq!(limit, "256K", "{tally:?} {}", context());
            assert_eq!(tally.overwritten, tally.head - 4096, "{tally:?} {}", context());
            continue;
        }
        for thread in counters.threads.iter().take(THREADS) {
            let tid = thread.tid.load(Ordering::Relaxed) as u32;
            let counted = thread.transitions.load(Ordering::Relaxed);
            let recorded = calls.get(&(LogId(log as u32), tid)).copied().unwrap_or(0);
            // Its last call may have been recorded and not have returned.
            assert!((counted..=counted + 1).contains(&recorded), "thread {tid}: {recorded} are there. {}", context());
        }
    }
    left.logs += trace.logs().len();
}

/// Lock calls of each thread on the second connection it opened, which are the ones it counted.
fn calls(trace: &Trace) -> BTreeMap<(LogId, u32), u64> {
    let mut opened: BTreeMap<(LogId, u32), Vec<u32>> = BTreeMap::new();
    let mut calls: BTreeMap<(LogId, u32), u64> = BTreeMap::new();
    let mut events: Vec<_> = trace.events().unwrap().collect();
    events.sort_by_key(|event| (event.log, event.number));
    for event in events {
        let (record, who) = (event.record, (event.log, event.record.tid));
        match record.kind {
            Kind::OPEN if record.file_kind == FileKind::DATABASE => opened.entry(who).or_default().push(record.conn),
            Kind::LOCK | Kind::UNLOCK if opened.get(&who).and_then(|conns| conns.get(1)) == Some(&record.conn) => {
                *calls.entry(who).or_default() += 1;
            }
            _ => {}
        }
    }
    calls
}

#[test]
fn at_any_instant() {
    let mut random = Random::new();
    let mut left = Left::default();
    for round in 0..70 {
        let mode = if round % 2 == 0 { "wal" } else { "delete" };
        // A ring that wraps, and one that holds all there is.
        let limit = if round % 5 == 0 { "256K" } else { "1G" };
        massacre(mode, limit, &mut random, &mut left);
    }
    println!("{left:?}");
    assert!(left.kills >= 200 && left.logs > left.kills / 2, "{left:?}");
}
