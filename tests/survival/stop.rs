//! A process that is stopped (SIGSTOP, a debugger, a frozen container) at any point: the recorder blocks nobody else, the trace can be read
//! meanwhile, and the report shows the long hold.
#![allow(clippy::unwrap_used)]

use crate::counters::Counters;
use crate::live::host::DEADLINE;
use crate::live::load::{prepare, rows};
use crate::live::stage::{Stage, locktrace, on_both};
use crate::{Random, victim};
use serde_json::Value;
use sqlite_locktrace::trace::Trace;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

/// Sends a signal with the program, and returns when the process is stopped or runs again.
fn signal(pid: u32, stop: bool) {
    let name = if stop { "-STOP" } else { "-CONT" };
    assert!(std::process::Command::new("/bin/kill").args([name, &pid.to_string()]).status().unwrap().success());
    let begun = Instant::now();
    while stopped(pid) != stop {
        assert!(begun.elapsed() < DEADLINE, "process {pid} does not take {name}");
        std::thread::yield_now();
    }
}

/// Whether every thread of it is stopped.
fn stopped(pid: u32) -> bool {
    std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(|task| {
        let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    })
}

fn report(s: &Stage) -> Value {
    serde_json::from_slice(&locktrace(&["report", s.traces().to_str().unwrap(), "--json"])).unwrap()
}

#[test]
fn a_stopped_writer_is_named_and_its_hold_measured() {
    on_both(|s| {
        const BUSY: u64 = 5;
        s.open("A");
        s.sql("A", "PRAGMA journal_mode=WAL");
        s.sql("A", "CREATE TABLE t(v)");
        let a = s.pid("A");
        s.process();
        s.open("B");
        s.sql("B", "PRAGMA busy_timeout=0");
        s.sql("A", "BEGIN IMMEDIATE");
        let begun = Instant::now();
        signal(a, true);
        // Everybody else goes on: a reader, a writer that gets SQLITE_BUSY at once, and the reader of the trace.
        s.sql("B", "SELECT count(*) FROM t");
        s.fails(BUSY, "B", "INSERT INTO t VALUES(1)");
        let meanwhile = report(s);
        let holder = &meanwhile["refusals"][0]["holders"][0];
        assert_eq!((&holder["pid"], &holder["text"]), (&a.into(), &"BEGIN IMMEDIATE".into()), "{meanwhile}");
        // It might have died instead, without a record: that is known once it has gone on.
        assert_eq!(holder["certain"], false);
        let stood = begun.elapsed();
        signal(a, false);
        s.sql("A", "COMMIT");
        s.sql("B", "INSERT INTO t VALUES(2)");
        let after = report(s);
        assert_eq!(after["refusals"][0]["holders"][0]["certain"], true);
        let holds = after["databases"][0]["longest_holds"].as_array().unwrap();
        let longest = holds.iter().find(|hold| hold["lock"] == "WRITE").unwrap();
        assert_eq!((&longest["pid"], &longest["open"]), (&a.into(), &false.into()), "{holds:?}");
        let held = Duration::from_nanos(longest["ns"].as_u64().unwrap());
        assert!(held >= stood, "it was stopped for {stood:?} while it held the lock, and the report says {held:?}");
    });
}

/// Killed when dropped.
struct Victim {
    child: Child,
    counters: &'static Counters,
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const THREADS: usize = 3;

impl Victim {
    /// One on a database of its own, in this directory.
    fn start(dir: &Path, name: &str) -> Victim {
        let (database, page) = (dir.join(format!("{name}.db")), dir.join(name));
        prepare(&database, "wal");
        let counters = Counters::at(&page);
        let child = victim::start(&database, &page, THREADS, &dir.join("trace"), "64M");
        Victim { child, counters }
    }

    /// Returns when it has done this much more.
    fn goes_on(&self, transitions: u64) {
        let (begun, before) = (Instant::now(), self.counters.transitions());
        while self.counters.transitions() < before + transitions {
            assert!(begun.elapsed() < DEADLINE, "it stands still: {:?}", self.counters);
            std::thread::yield_now();
        }
    }
}

#[test]
fn at_any_instant() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let (one, two) = (Victim::start(dir.path(), "one"), Victim::start(dir.path(), "two"));
    let pid = one.child.id();
    two.goes_on(1);
    for round in 0..6 {
        one.goes_on(1 + random.below(200));
        (0..random.below(2000)).for_each(|_| std::hint::spin_loop());
        signal(pid, true);
        let done = one.counters.transitions();
        two.goes_on(100);
        let trace = Trace::open(&dir.path().join("trace")).unwrap();
        assert_eq!(trace.problems(), [], "round {round}");
        let log = trace.logs().iter().position(|log| log.pid == pid).unwrap();
        let tally = trace.events().unwrap().finish().tallies[log];
        let in_flight = THREADS as u64 * if tally.overwritten > 0 { 2 } else { 1 };
        assert!(tally.read + tally.overwritten >= done, "round {round}: {tally:?}, {done} counted");
        assert!(tally.torn + tally.empty <= in_flight, "round {round}: {tally:?}");
        assert_eq!((tally.lost, tally.missing), (0, 0), "{tally:?}");
        assert_eq!(one.counters.transitions(), done, "it is stopped");
        signal(pid, false);
    }
    one.goes_on(1);
    drop((one, two));
    let (of_one, of_two) = (rows(&dir.path().join("one.db")), rows(&dir.path().join("two.db")));
    assert!(of_one > 0 && of_two > 0);
}
