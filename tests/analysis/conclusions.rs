//! Conclusions of the analysis from scenarios whose answer is known.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::common::{self, Process};
use sqlite_locktrace::analysis::{Analysis, LockId, Options, Refusal, WaitEnd};
use sqlite_locktrace::trace::{Trace, jsonl};
use std::io::BufReader;
use std::path::Path;

/// Writes the processes and hands their analysis to `check`, once from the directory and once from its export.
fn analyse(processes: &[&Process], check: impl Fn(&Analysis<'_>)) {
    let dir = tempfile::tempdir().unwrap();
    for process in processes {
        process.write(dir.path());
    }
    let trace = Trace::open(dir.path()).unwrap();
    let direct = Analysis::of(&trace, Options::default()).unwrap();
    let mut lines = Vec::new();
    jsonl::write(&trace, trace.events().unwrap(), &mut lines).unwrap();
    let back = Trace::from_lines(Path::new("export"), Box::new(BufReader::new(std::io::Cursor::new(lines)))).unwrap();
    let exported = Analysis::of(&back, Options::default()).unwrap();
    assert_eq!(json(&direct), json(&exported), "the report on an export is the report on the directory");
    check(&direct);
}

/// The holders of all refusals.
fn all_holders(processes: &[&Process]) -> Vec<String> {
    let found = std::cell::RefCell::new(Vec::new());
    analyse(processes, |analysis| {
        found.borrow_mut().extend(analysis.refusals.iter().flat_map(|refusal| holders(analysis, refusal)));
    });
    found.into_inner()
}

fn json(analysis: &Analysis<'_>) -> String {
    let mut out = Vec::new();
    sqlite_locktrace::report::json::write(analysis, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
    text
}

fn lock(name: &str) -> LockId {
    LockId::all().find(|lock| lock.to_string() == name).unwrap()
}

/// `pid/connection lock certain|possible` of each holder.
fn holders(analysis: &Analysis<'_>, refusal: &Refusal) -> Vec<String> {
    let show = |holder: &sqlite_locktrace::analysis::Candidate| {
        let pid = analysis.trace.log(holder.who.log).pid;
        let sure = if holder.certain { "certain" } else { "possible" };
        format!("{pid}/{} {} {sure}", holder.who.conn, holder.lock)
    };
    refusal.candidates.iter().map(show).collect()
}

#[test]
fn a_wal_writer_waits_for_another_process() {
    let mut a = Process::new(100);
    a.run(
        "100 c1 open
         110 c1 map
         120 c1 SHARED
         200 c1 S READ1   -- BEGIN IMMEDIATE
         210 c1 X WRITE   -- BEGIN IMMEDIATE
         9000 c1 wrote wal 4120
         9010 c1 U WRITE  -- COMMIT
         9020 c1 U READ1  -- COMMIT",
    );
    let mut b = Process::new(200);
    b.run(
        "150 c1 open
         160 c1 map
         170 c1 SHARED
         300 c1 S READ1       -- INSERT INTO t VALUES (2)
         310 c1 X WRITE=BUSY  -- INSERT INTO t VALUES (2)
         320 c1 U READ1
         330+1000 c1 sleep 1000
         1400 c1 S READ1      -- INSERT INTO t VALUES (2)
         1410 c1 X WRITE=BUSY -- INSERT INTO t VALUES (2)
         1420 c1 U READ1
         1430+8000 c1 sleep 8000
         9500 c1 S READ2      -- INSERT INTO t VALUES (2)
         9510 c1 X WRITE      -- INSERT INTO t VALUES (2)
         9600 c1 U WRITE
         9610 c1 U READ2",
    );
    analyse(&[&a, &b], |analysis| {
        assert_eq!(analysis.refusals.len(), 2);
        for refusal in &analysis.refusals {
            assert_eq!(holders(analysis, refusal), ["100/1 X WRITE certain"]);
            let holder = refusal.candidates[0];
            assert_eq!(analysis.trace.log(holder.who.log).names.sql(holder.sql).unwrap().text.text, "BEGIN IMMEDIATE");
        }
        let wait = analysis.waits[0];
        assert_eq!((analysis.waits.len(), wait.attempts, wait.sleeps, wait.slept_us), (1, 2, 2, 9000));
        assert_eq!(wait.end, WaitEnd::Acquired);
        assert_eq!(analysis.ns(wait.who.log, wait.from, wait.until), Some(9_202_000));
        let db = &analysis.databases[0];
        assert_eq!((db.modes.names(), db.connections, db.logs.len()), (vec!["wal"], 2, 2));
        let write = db.lock(lock("X WRITE"));
        assert_eq!((write.acquired, write.refused, write.held.count, write.held.max_ns), (2, 2, 2, 8_798_000));
        let shared = db.lock(lock("SHARED"));
        assert_eq!((shared.acquired, shared.held.count, shared.open), (2, 0, 0), "a WAL connection's SHARED is no transaction");
        assert_eq!(db.longest[0].lock, lock("S READ1"));
        assert!(db.longest.iter().all(|hold| hold.lock != lock("SHARED")));
        let worst = &analysis.refusal_stats.top_candidate.unwrap();
        assert_eq!((analysis.trace.log(worst.candidate.who.log).pid, worst.certain), (100, 2));
    });
}

#[test]
fn readers_block_a_commit_and_its_pending_blocks_readers() {
    let mut process = Process::new(7);
    process.run(
        "10 c1 SHARED            -- SELECT * FROM t
         20 c2 SHARED            -- UPDATE t
         30 c2 RESERVED          -- UPDATE t
         35 c2 wrote journal 512
         40 c2 EXCLUSIVE=PENDING -- UPDATE t
         50 c3 SHARED=BUSY       -- SELECT 1
         60 c3 U(NONE)
         70 c1 U(NONE)
         80 c2 EXCLUSIVE         -- UPDATE t
         90 c3 SHARED=BUSY       -- SELECT 1
         95 c2 delete journal
         99 c2 U(SHARED)
         103 c2 U(NONE)",
    );
    analyse(&[&process], |analysis| {
        let all: Vec<_> = analysis.refusals.iter().map(|refusal| holders(analysis, refusal)).collect();
        assert_eq!(all, [vec!["7/1 SHARED certain"], vec!["7/2 PENDING certain"], vec!["7/2 PENDING certain"]]);
        let db = &analysis.databases[0];
        assert_eq!(db.modes.names(), ["delete"]);
        assert_eq!(db.redundant, 1);
        // SHARED twice, RESERVED, PENDING, EXCLUSIVE, the unlock of c1 and both of c2.
        assert_eq!(db.transitions, 8);
        assert_eq!(db.lock(lock("PENDING")).acquired, 1);
        assert_eq!(db.lock(lock("EXCLUSIVE")).refused, 1);
    });
}

#[test]
fn holders_that_only_overlap_are_possible() {
    // The holder's release overlaps the attempt; and an acquisition whose record comes after the attempt.
    let mut process = Process::new(7);
    process.run(
        "10 c1 X WRITE
         100+10 c1 U WRITE
         105+2 c2 X WRITE=BUSY
         200+50 c3 X WRITE
         210+5 c4 X WRITE=BUSY
         300 c3 U WRITE
         400 c4 X WRITE=BUSY",
    );
    analyse(&[&process], |analysis| {
        let all: Vec<_> = analysis.refusals.iter().map(|refusal| holders(analysis, refusal)).collect();
        assert_eq!(all, [vec!["7/1 X WRITE possible"], vec!["7/3 X WRITE possible"], vec![]]);
        let essence = &analysis.refusal_stats;
        assert_eq!((essence.certain, essence.possible, essence.untraced), (0, 2, 1));
    });
}

#[test]
fn other_databases_and_unconflicting_locks_are_not_accused() {
    let mut process = Process::new(7);
    process.run(
        "10 c1 X CKPT
         20 c2 S READ1
         30 c3 SHARED",
    );
    process.database(2, "/data/other.db", 43);
    process.run("40 c4 X WRITE");
    process.database(1, "/data/app.db", 42);
    process.run(
        "50 c5 X WRITE=BUSY
         60 c6 S READ1=BUSY
         70 c7 RESERVED=BUSY
         80 c8 X READ1=BUSY
         90 c1 U CKPT
         91 c2 U READ1
         92 c4 U WRITE",
    );
    analyse(&[&process], |analysis| {
        let all: Vec<_> = analysis.refusals.iter().map(|refusal| holders(analysis, refusal)).collect();
        assert_eq!(all, [vec![], vec![], vec![], vec!["7/2 S READ1 certain"]]);
        assert_eq!(analysis.databases.len(), 2);
    });
}

#[test]
fn one_database_by_two_paths_is_one() {
    let (mut a, mut b) = (Process::new(1), Process::new(2));
    a.run("10 c1 X WRITE\n500 c1 U WRITE");
    b.database(3, "/link/to/app.db", 42).run("100 c1 X WRITE=BUSY");
    analyse(&[&a, &b], |analysis| {
        assert_eq!(analysis.databases[0].paths, ["/data/app.db", "/link/to/app.db"]);
        assert_eq!(holders(analysis, &analysis.refusals[0]), ["1/1 X WRITE certain"]);
    });
}

#[test]
fn a_closing_connection_that_is_not_the_last_is_normal() {
    let mut process = Process::new(7);
    process.run(
        "10 c1 open
         11 c1 map
         12 c1 SHARED
         20 c2 open
         21 c2 map
         22 c2 SHARED
         30 c2 EXCLUSIVE=BUSY
         33 c2 unmap
         36 c2 U(NONE)
         39 c2 close
         42 c1 S READ1
         45 c1 U READ1",
    );
    analyse(&[&process], |analysis| {
        assert_eq!(holders(analysis, &analysis.refusals[0]), ["7/1 SHARED certain"]);
        let essence = &analysis.refusal_stats;
        assert_eq!((essence.refused, essence.closing, essence.top_candidate.is_none()), (0, 1, true));
    });
}

#[test]
fn a_holder_whose_release_was_lost_is_not_certain() {
    let mut process = Process::new(7);
    process.run(
        "10 c1 X WRITE
         50 c1 U WRITE
         100 c2 X WRITE=BUSY
         200 c1 S READ1
         210 c1 U READ1",
    );
    analyse(&[&process], |analysis| assert_eq!(holders(analysis, &analysis.refusals[0]), Vec::<String>::new()));
    // The same, the release torn: the next record shows that it must have happened.
    let dir = tempfile::tempdir().unwrap();
    process.write(dir.path());
    let mut bytes = process.ring();
    bytes[4096 + 64 + 9] ^= 1;
    std::fs::write(dir.path().join(format!("{}.ring", process.id)), bytes).unwrap();
    let trace = Trace::open(dir.path()).unwrap();
    let analysis = Analysis::of(&trace, Options::default()).unwrap();
    assert_eq!(holders(&analysis, &analysis.refusals[0]), ["7/1 X WRITE possible"]);
    let write = analysis.databases[0].lock(lock("X WRITE"));
    assert_eq!((write.acquired, write.held.count, write.unknown), (1, 0, 1));
}

#[test]
fn a_process_that_died_holding_a_lock_is_not_certain_afterwards() {
    let (mut dead, mut other) = (Process::new(1), Process::new(2));
    dead.header.last = Some(common::anchor_at(150));
    dead.run("10 c1 X WRITE");
    other.run(
        "100 c1 X WRITE=BUSY
         1000 c1 X WRITE=BUSY",
    );
    analyse(&[&dead, &other], |analysis| {
        let all: Vec<_> = analysis.refusals.iter().map(|refusal| holders(analysis, refusal)).collect();
        assert_eq!(all, [["1/1 X WRITE certain"], ["1/1 X WRITE possible"]]);
    });
}

#[test]
fn a_success_that_contradicts_a_hold_puts_it_in_doubt() {
    let mut process = Process::new(7);
    process.run(
        "10 c1 X WRITE
         20 c2 X WRITE=BUSY
         30 c1 check
         100 c2 X WRITE=BUSY
         200 c3 X WRITE
         300 c2 X WRITE=BUSY
         400 c3 U WRITE
         500 c1 U WRITE",
    );
    analyse(&[&process], |analysis| {
        let all: Vec<_> = analysis.refusals.iter().map(|refusal| holders(analysis, refusal)).collect();
        assert_eq!(all, [["7/1 X WRITE certain"], ["7/1 X WRITE possible"], ["7/3 X WRITE certain"]]);
        assert_eq!(analysis.databases[0].lock(lock("X WRITE")).unknown, 1);
    });
}

#[test]
fn a_wrapped_ring_starts_in_the_middle() {
    let mut process = Process::new(7);
    process.run(
        "10 c1 SHARED
         20 c1 RESERVED
         30 c1 check
         100 c2 SHARED
         110 c2 RESERVED=BUSY
         120 c2 U(NONE)
         200 c1 U(SHARED)
         210 c1 U(NONE)",
    );
    process.header.capacity = 4;
    analyse(&[&process], |analysis| {
        // Of c1 only the unlocks are left: that it held RESERVED before is known, since when is not.
        assert_eq!(analysis.refusals.len(), 1);
        assert_eq!(holders(analysis, &analysis.refusals[0]), ["7/1 RESERVED possible"]);
        assert!(!analysis.refusals[0].candidates[0].seen);
    });
}

#[test]
fn a_release_with_one_clock_ends_by_the_next_call() {
    use shim::event::Flags;
    let mut process = Process::new(7);
    process.run(
        "10 c1 X WRITE
         100 c1 U WRITE
         110 c1 check
         120 c2 X WRITE=BUSY
         130 c1 X WRITE
         200 c1 U WRITE
         220 c2 X WRITE=BUSY",
    );
    for record in process.records.iter_mut().filter(|record| record.flags.has(Flags::SHM_UNLOCK)) {
        record.flags = record.flags.with(Flags::ONE_CLOCK);
        record.duration = 0;
    }
    analyse(&[&process], |analysis| {
        let all: Vec<_> = analysis.refusals.iter().map(|refusal| holders(analysis, refusal)).collect();
        assert_eq!(all, [vec![], vec!["7/1 X WRITE possible"]]);
    });
}

#[test]
fn a_release_with_one_clock_ends_in_good_time() {
    use shim::event::Flags;
    let found = |scenario: &str| {
        let mut process = Process::new(7);
        process.run(&format!("10 c1 X WRITE\n100+0 c1 U WRITE\n{scenario}"));
        process.records[1].flags = process.records[1].flags.with(Flags::ONE_CLOCK);
        all_holders(&[&process])
    };
    // Nothing else is heard of its connection: for a tenth of a second the call may go on.
    assert_eq!(found("100098 c2 X WRITE=BUSY"), ["7/1 X WRITE possible"]);
    assert!(found("100101 c2 X WRITE=BUSY").is_empty());
    // But it has returned where its thread is refused on another connection.
    assert!(found("120 c2@101 X WRITE=BUSY").is_empty());
}

#[test]
fn of_very_many_holders_some_are_named() {
    let mut process = Process::new(7);
    let readers: String = (1..=9).map(|conn| format!("{conn}0 c{conn} SHARED\n")).collect();
    process.run(&format!("{readers}200 c10 SHARED\n210 c10 RESERVED\n220 c10 EXCLUSIVE=PENDING\n"));
    analyse(&[&process], |analysis| {
        let refusal = &analysis.refusals[0];
        assert_eq!((refusal.candidates.len(), refusal.more_candidates), (8, 1));
    });
}

#[test]
fn a_connection_is_named_once_with_what_it_took_last() {
    let mut process = Process::new(7);
    process.run(
        "10 c1 X WRITE
         30+2 c1 U WRITE
         40 c1 X WRITE
         50+2 c1 U WRITE
         20+100 c2 X WRITE=BUSY",
    );
    process.records.sort_by_key(|record| record.end());
    analyse(&[&process], |analysis| {
        let [holder] = analysis.refusals[0].candidates[..] else { panic!("{:?}", analysis.refusals) };
        assert_eq!(holder.since, process.records[2].start);
    });
}

#[test]
fn giving_up_is_distinguished_from_getting_it() {
    let mut process = Process::new(7);
    process.run(
        "10 c1 X WRITE
         20 c2 S READ1       -- UPDATE t
         30 c2 X WRITE=BUSY  -- UPDATE t
         40 c2 U READ1       -- ROLLBACK
         50 c2 X CKPT        -- PRAGMA wal_checkpoint
         60 c2 U CKPT
         70 c3 X WRITE=BUSY  -- UPDATE u
         75 c3 sleep 1000
         80 c1 U WRITE",
    );
    analyse(&[&process], |analysis| {
        let outcomes: Vec<WaitEnd> = analysis.waits.iter().map(|wait| wait.end).collect();
        assert_eq!(outcomes, [WaitEnd::GaveUp, WaitEnd::TraceEnd]);
        let write = analysis.databases[0].lock(lock("X WRITE"));
        assert_eq!((write.gave_up, write.waited.count), (1, 0));
    });
}

#[test]
fn logs_of_different_boots_accuse_nobody() {
    let (mut a, mut b) = (Process::new(1), Process::new(2));
    b.header.boot_id = *b"another boot id!";
    a.run("10 c1 X WRITE\n500 c1 U WRITE");
    b.run("100 c1 X WRITE=BUSY");
    analyse(&[&a, &b], |analysis| {
        assert_eq!(holders(analysis, &analysis.refusals[0]), Vec::<String>::new());
        assert!(analysis.summary.problems.iter().any(|problem| problem.what.contains("do not share one clock")));
    });
}

#[test]
fn without_anchors_durations_are_unknown_and_order_is_not() {
    let mut process = Process::new(7);
    process.header.last = None;
    process.run("10 c1 X WRITE\n100 c2 X WRITE=BUSY\n200 c1 U WRITE");
    analyse(&[&process], |analysis| {
        assert_eq!(holders(analysis, &analysis.refusals[0]), ["7/1 X WRITE certain"]);
        let write = analysis.databases[0].lock(lock("X WRITE"));
        assert_eq!((write.held.count, write.unknown, analysis.span), (0, 1, None));
        assert!(analysis.summary.problems.iter().any(|problem| problem.what.contains("no usable pair of clock anchors")));
    });
}
