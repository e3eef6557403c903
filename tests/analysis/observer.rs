//! The observer of the analysis: it gets every hold once, with both ends, the work of connections, and the size of the -wal.
#![allow(clippy::unwrap_used)]

use crate::common::{self, Process, TICKS_PER_US};
use sqlite_locktrace::analysis::locks::activity::Work;
use sqlite_locktrace::analysis::observer::{ObservedHold, Observer, Worked};
use sqlite_locktrace::analysis::{Analysis, ConnId, HoldEnd, Instant, LockId, Options};
use sqlite_locktrace::trace::{Event, Trace};
use std::collections::HashMap;

#[derive(Default)]
struct All {
    events: u64,
    holds: Vec<ObservedHold>,
    work: Vec<Worked>,
    wal: Vec<u64>,
    at_most: Option<u64>,
}

impl Observer for All {
    fn event(&mut self, _: &Event, _: Option<u32>) {
        self.events += 1;
    }
    fn hold(&mut self, span: &ObservedHold) {
        self.holds.push(*span);
    }
    fn work(&mut self, work: &Worked) {
        self.work.push(*work);
    }
    fn wal(&mut self, _: ConnId, _: u32, _: Instant, bytes: u64) {
        self.wal.push(bytes);
    }
    fn enough(&self) -> bool {
        self.at_most.is_some_and(|most| self.events >= most)
    }
}

fn watch(process: &Process, all: &mut All) {
    let dir = tempfile::tempdir().unwrap();
    process.write(dir.path());
    let trace = Trace::open(dir.path()).unwrap();
    let analysis = Analysis::observed(&trace, Options::default(), all).unwrap();
    assert_eq!(analysis.records, all.events);

    // The counts are those of what came.
    let mut counted: HashMap<LockId, (u64, u64, u64)> = HashMap::new();
    for span in all.holds.iter().filter(|span| !span.lifetime) {
        let lock = counted.entry(span.lock).or_default();
        match span.end {
            HoldEnd::Released(..) if span.seen => lock.0 += 1,
            HoldEnd::Open => lock.2 += 1,
            _ => lock.1 += 1,
        }
    }
    for lock in LockId::all() {
        let stats = analysis.databases[0].lock(lock);
        assert_eq!((stats.held.count, stats.unknown, stats.open), counted.get(&lock).copied().unwrap_or_default(), "{lock}");
    }
}

const WRITER: &str = "
    100 c1 open
    110 c1 map
    120 c1 SHARED
    200 c1 S READ1        -- INSERT INTO t VALUES (?1)
    210 c1 X WRITE        -- INSERT INTO t VALUES (?1)
    400+80 c1 sync wal
    500 c1 wrote wal 4120
    510 c1 U WRITE
    520 c1 U READ1";

#[test]
fn every_hold_comes_once_with_its_ends() {
    let mut process = Process::new(100);
    process.database(1, "/data/app.db", 7);
    process.run(WRITER);
    let mut all = All::default();
    watch(&process, &mut all);

    let us = |instant: Instant| (instant - common::EPOCH.ticks) / TICKS_PER_US;
    let told: Vec<_> =
        all.holds.iter().map(|span| (span.lock.to_string(), us(span.since), us(span.until), span.end, span.lifetime)).collect();
    assert_eq!(all.holds[0].from.map(us), Some(212));
    assert_eq!(told[0], ("X WRITE".into(), 210, 510, HoldEnd::Released(all.holds[0].until, 7), false));
    assert_eq!(told[1], ("S READ1".into(), 200, 520, HoldEnd::Released(all.holds[1].until, 8), false));
    assert_eq!((told[2].0.as_str(), told[2].1, told[2].3, told[2].4), ("SHARED", 120, HoldEnd::Open, true));
    assert_eq!(all.holds.len(), 3);

    assert_eq!(all.work.len(), 1);
    let work = all.work[0];
    assert_eq!((work.work, us(work.since), us(work.until), work.number), (Work::Sync, 400, 480, 5));
}

#[test]
fn the_wal_grows_until_it_restarts() {
    let mut process = Process::new(100);
    process.database(1, "/data/app.db", 7);
    process.run(WRITER);
    process.run(
        "600 c1 S READ1
         610 c1 X WRITE
         620 c1 wrote wal 1000
         630 c1 U WRITE
         640 c1 U READ1
         700 c1 S READ0
         710 c1 X WRITE
         720 c1 X READ1..READ4
         730 c1 U READ1..READ4
         740 c1 wrote wal 48
         750 c1 U WRITE
         760 c1 U READ0",
    );
    let mut all = All::default();
    watch(&process, &mut all);
    assert_eq!(all.wal, [4120, 5120, 0, 48]);
}

#[test]
fn an_observer_that_has_enough_gets_no_more() {
    let mut process = Process::new(100);
    process.database(1, "/data/app.db", 7);
    process.run("100 c1 open\n110 c1 SHARED");
    for i in 0..100_000 {
        process.run(&format!("{} c1 RESERVED\n{} c1 U(SHARED)", 200 + i * 4, 202 + i * 4));
    }
    let mut all = All { at_most: Some(10), ..All::default() };
    watch(&process, &mut all);
    assert!((10..200_002).contains(&all.events), "{}", all.events);
}
