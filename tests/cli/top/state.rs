//! The state of `top`: who holds what and who waits for whom, after given records.

use crate::common::Process;
use crate::top::{after, clock_at, trace_of};
use proptest::prelude::*;
use sqlite_locktrace::analysis::current::{Row, Snapshot, When};
use sqlite_locktrace::analysis::observer::ObservedHold;
use sqlite_locktrace::analysis::{Analysis, ConnId, HoldEnd, LockId, Observer, Options, Request, WaitEnd};
use sqlite_locktrace::trace::LogId;
use std::collections::BTreeSet;

fn locks(row: &Row) -> Vec<String> {
    row.held.iter().map(|held| held.lock.to_string()).collect()
}

fn row(snapshot: &Snapshot, log: u32, conn: u32) -> &Row {
    let who = ConnId { log: LogId(log), conn, forked: false };
    snapshot.rows.iter().find(|row| row.who == who).unwrap_or_else(|| panic!("no row for {who:?}: {snapshot:#?}"))
}

/// A writer, one that waits for it, and a checkpoint that waits for the reader that this one is.
fn chain() -> [Process; 2] {
    let mut a = Process::new(100);
    a.run(
        "100 c1 open\n 110 c1 map\n 120 c1 SHARED
         1000 c1 S READ1  -- BEGIN IMMEDIATE
         1010 c1 X WRITE  -- BEGIN IMMEDIATE
         150 c2 open\n 160 c2 map\n 170 c2 SHARED",
    );
    let mut b = Process::new(200);
    b.run(
        "200 c1 open\n 210 c1 map\n 220 c1 SHARED
         2000 c1 S READ2       -- SELECT 1
         2010 c1 X WRITE=BUSY  -- INSERT INTO t VALUES(1)
         2020+10000 c1 sleep 10000
         12100 c1 X WRITE=BUSY -- INSERT INTO t VALUES(1)
         230 c2 open\n 240 c2 map\n 250 c2 SHARED
         3000 c2 X CKPT        -- PRAGMA wal_checkpoint(RESTART)
         3010 c2 X READ2=BUSY  -- PRAGMA wal_checkpoint(RESTART)
         3020+8000 c2 sleep 8000
         11100 c2 X READ2=BUSY -- PRAGMA wal_checkpoint(RESTART)",
    );
    [a, b]
}

#[test]
fn holders_waiters_and_whom_they_wait_for() {
    let [a, b] = chain();
    let (_dir, trace) = trace_of(&[&a, &b]);
    let (_, snapshot) = after(&trace, 20_000);
    assert_eq!((snapshot.rows.len(), snapshot.connections, snapshot.gave_up), (3, 4, 0), "the idle one is not listed");
    let (writer, waiter, checkpoint) = (row(&snapshot, 0, 1), row(&snapshot, 1, 1), row(&snapshot, 1, 2));
    assert_eq!(locks(writer), ["X WRITE", "S READ1"], "the lifetime SHARED is none");
    assert_eq!((writer.age_ns(), writer.blocks, writer.waits()), (Some(18_988_000), 2, false));
    let want = waiter.wants.unwrap();
    assert_eq!((want.request, want.attempts, want.over), (Request::Shm { mask: 1, exclusive: true }, 2, false));
    assert_eq!((want.age_ns, want.silent_ns), (Some(17_990_000), Some(7_898_000)));
    assert_eq!(snapshot.rows[waiter.blockers[0]].who, writer.who);
    assert_eq!((waiter.blockers.len(), waiter.blocks), (1, 1));
    assert_eq!(checkpoint.blockers.iter().map(|&blocker| snapshot.rows[blocker].who).collect::<Vec<_>>(), [waiter.who]);
    // Half a second without another attempt: it gave up. It holds its snapshot all the same.
    let (_, later) = after(&trace, 700_000);
    assert_eq!((row(&later, 1, 1).wants.unwrap().over, row(&later, 0, 1).blocks, later.gave_up), (true, 0, 2));
    assert_eq!(locks(row(&later, 1, 1)), ["S READ2"]);
    // And in the end it is no news.
    let (_, old) = after(&trace, 20_000_000);
    assert_eq!(row(&old, 1, 1).wants, None);
    assert_eq!(row(&old, 0, 1).age_ns(), Some(19_998_988_000), "an age grows without any new record");
}

#[test]
fn a_lifetime_lock_is_listed_where_it_is_in_the_way() {
    let mut a = Process::new(100);
    a.run("100 c1 open\n 110 c1 map\n 120 c1 SHARED");
    let mut b = Process::new(200);
    b.run(
        "200 c1 open\n 300 c1 SHARED -- PRAGMA journal_mode=DELETE\n 310 c1 EXCLUSIVE=BUSY -- PRAGMA journal_mode=DELETE
         320+1000 c1 sleep 1000",
    );
    let (_dir, trace) = trace_of(&[&a, &b]);
    let (_, snapshot) = after(&trace, 2_000);
    assert_eq!((locks(row(&snapshot, 0, 1)), row(&snapshot, 0, 1).blocks), (vec!["SHARED".to_owned()], 1));
}

#[test]
fn shares_and_rates_of_the_last_seconds() {
    let mut a = Process::new(100);
    a.run(
        "100 c1 open\n
         5000000 c1 SHARED -- w\n 5000100 c1 RESERVED -- w\n 5500102 c1 U(NONE)
         8600000 c1 SHARED -- w\n 8600098 c1 RESERVED -- w
         200 c2 open\n 8700000 c2 SHARED -- v\n 8700010 c2 RESERVED=BUSY -- v\n 8700020+1000 c2 sleep 1000\n 8702000 c2 RESERVED=BUSY -- v",
    );
    let (_dir, trace) = trace_of(&[&a]);
    // Records are known up to 0.4 s ago: what is said is about the second up to then.
    let (now, snapshot) = after(&trace, 9_500_000);
    let database = &snapshot.databases[0];
    let (one, ten) = database.occupied.unwrap();
    assert!((one - 0.5).abs() < 1e-3 && (ten - 0.1).abs() < 1e-3, "{one} {ten}");
    assert_eq!((database.refused_in, snapshot.refused, snapshot.refused_in), ((2, 2), 2, (2, 2)));
    let when = When { trace: &trace, here: clock_at(14_500_000) };
    let (one, ten) = now.snapshot(&when).databases[0].occupied.unwrap();
    assert!((one - 1.0).abs() < 1e-3 && (ten - 0.6).abs() < 1e-3, "{one} {ten}");
}

#[test]
fn what_closing_connections_are_refused_is_not_counted() {
    let mut a = Process::new(100);
    a.run(
        "100 c1 open\n 110 c1 map\n 120 c1 SHARED\n 130 c1 S READ1 -- r\n
         200 c2 open\n 210 c2 map\n 220 c2 SHARED\n 300 c2 EXCLUSIVE=BUSY\n 310 c2 unmap\n 320 c2 close\n
         400 c3 open\n 410 c3 map\n 420 c3 SHARED\n 430 c3 X READ1=BUSY -- o\n 440 c3 S READ1 -- o",
    );
    let (_dir, trace) = trace_of(&[&a]);
    let (_, snapshot) = after(&trace, 1_000_000);
    assert_eq!((snapshot.refused, snapshot.gave_up, snapshot.connections), (0, 0, 2));
}

#[test]
fn a_process_that_ended_holds_nothing_and_losses_make_doubtful() {
    let [a, b] = chain();
    let (_dir, trace) = trace_of(&[&a, &b]);
    let (mut now, _) = after(&trace, 20_000);
    let when = When { trace: &trace, here: clock_at(20_000) };
    now.lost(LogId(1), 7, 1_000);
    let snapshot = now.snapshot(&when);
    assert!(row(&snapshot, 1, 1).doubted && !row(&snapshot, 0, 1).doubted);
    assert_eq!((snapshot.lost, snapshot.processes[1].lost), (7, 7));
    now.ended(LogId(0));
    let snapshot = now.snapshot(&when);
    assert_eq!(snapshot.rows.iter().filter(|row| row.who.log == LogId(0)).count(), 0);
    assert_eq!((snapshot.processes[0].ended, snapshot.processes[0].held_at_end), (true, 1), "the idle one does not count");
    assert!(row(&snapshot, 1, 1).blockers.is_empty());
}

/// What an analysis of the same records says is held and waited for at their end.
#[derive(Default)]
struct Open(Vec<(ConnId, LockId, u32, bool, bool)>);

impl Observer for Open {
    fn hold(&mut self, span: &ObservedHold) {
        if span.end == HoldEnd::Open {
            self.0.push((span.who, span.lock, span.tid, span.seen, span.lifetime));
        }
    }
}

const CALLS: [&str; 27] = [
    "check",
    "open",
    "close",
    "map",
    "unmap",
    "SHARED",
    "SHARED=BUSY",
    "RESERVED",
    "RESERVED=BUSY",
    "EXCLUSIVE",
    "EXCLUSIVE=PENDING",
    "U(SHARED)",
    "U(NONE)",
    "S READ1",
    "S READ2",
    "U READ1",
    "U READ2",
    "X READ1=BUSY",
    "X WRITE",
    "X WRITE=BUSY",
    "U WRITE",
    "X CKPT",
    "U CKPT",
    "sleep 1000",
    "wrote wal 4096",
    "X READ1..READ4",
    "U READ1..READ4",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is called in whatever order, and wherever the record stops: what an analysis of the records so far says.
    #[test]
    fn as_an_analysis_of_the_records_so_far(
        calls in proptest::collection::vec((0usize..2, 1u32..3, 0usize..CALLS.len(), 0usize..3), 1..50),
    ) {
        let mut processes = [Process::new(100), Process::new(200)];
        let (mut us, mut told) = (100, String::new());
        for (process, conn, call, sql) in calls {
            us += 10;
            let sql = ["", " -- a", " -- b"][sql];
            told += &format!("{process}: {us} c{conn} {}{sql}\n", CALLS[call]);
            processes[process].run(&format!("{us} c{conn} {}{sql}", CALLS[call]));
        }
        let (_dir, trace) = trace_of(&[&processes[0], &processes[1]]);
        let mut open = Open::default();
        let analysis = Analysis::observed(&trace, Options::default(), &mut open).unwrap();
        let (_, snapshot) = after(&trace, us + 10);
        let held = |lifetime: bool| -> BTreeSet<(ConnId, LockId, u32, bool)> {
            open.0.iter().filter(|hold| lifetime || !hold.4).map(|hold| (hold.0, hold.1, hold.2, hold.3)).collect()
        };
        let found: BTreeSet<_> =
            snapshot.rows.iter().flat_map(|row| row.held.iter().map(|held| (row.who, held.lock, held.tid, held.seen))).collect();
        prop_assert!(found.is_superset(&held(false)), "{:?}\n{:?}", found, open.0);
        prop_assert!(found.is_subset(&held(true)), "{:?}\n{:?}", found, open.0);
        let waits = analysis.waits.iter().filter(|wait| wait.end == WaitEnd::TraceEnd && !wait.closing);
        let waits: BTreeSet<_> = waits
            .filter(|wait| !wait.request.is_optional() || wait.sleeps > 0)
            .map(|wait| (wait.who, wait.request, wait.from, wait.attempts))
            .collect();
        let found: BTreeSet<_> =
            snapshot.rows.iter().filter_map(|row| row.wants.map(|want| (row.who, want.request, want.since, want.attempts))).collect();
        prop_assert_eq!(found, waits, "{}", told);
        // Each named blocker holds what refuses it.
        for waiter in snapshot.rows.iter().filter(|row| row.waits()) {
            for &blocker in &waiter.blockers {
                prop_assert!(!snapshot.rows[blocker].held.is_empty() && snapshot.rows[blocker].blocks > 0);
            }
        }
    }
}
