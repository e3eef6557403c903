//! 32 threads in each of 4 processes on one database: nothing is lost, nothing is invented, and the database is consistent.
#![allow(clippy::unwrap_used)]

use crate::live::load::{Load, prepare, rows, start};
use crate::live::replay::{Replay, State};
use serde_json::json;
use shim::event::Kind;
use sqlite_locktrace::trace::Trace;

const PROCESSES: u32 = 4;
const THREADS: u32 = 32;

/// Runs the load and returns its trace, replayed.
fn run(mode: &str, load: Load, limit: &str, whole: bool) -> Replay {
    let dir = tempfile::tempdir().unwrap();
    let (database, traces) = (dir.path().join("app.db"), dir.path().join("trace"));
    prepare(&database, mode);
    let mut children: Vec<_> = (0..PROCESSES).map(|_| start("load", load, &database, &traces, limit)).collect();
    for child in &mut children {
        assert_eq!(child.next_line().as_deref(), Some("ready"));
    }
    for child in &mut children {
        child.send(&json!("go"));
    }
    let each = load.threads * load.transactions;
    for child in children {
        assert_eq!(child.finish(), [each.to_string()]);
    }
    assert_eq!(rows(&database), u64::from(PROCESSES * each));
    let trace = Trace::open(&traces).unwrap();
    assert_eq!(trace.logs().len(), PROCESSES as usize);
    assert!(trace.problems().is_empty(), "{:?}", trace.problems());
    Replay::of(&trace, whole)
}

/// What holds of a trace in which nothing may be missing.
fn check(replay: &Replay, transactions: u32, rollback: bool) {
    replay.assert_all_released();
    // With that of each main thread.
    let connections = (PROCESSES * (THREADS + 1)) as usize;
    assert_eq!((replay.states.len(), replay.closed.len()), (connections, connections));
    let holds = replay.assert_alone(rollback);
    println!(
        "{holds} holds, {} sleeps, {} records",
        replay.count(Kind::SLEEP),
        replay.tallies.iter().map(|tally| tally.head).sum::<u64>()
    );
    assert!(holds >= (PROCESSES * THREADS * transactions) as usize, "{holds} holds of the write lock");
    assert!(replay.count(Kind::SLEEP) > 0, "they were in each other's way");
}

/// Every thread does this many transactions.
fn load(transactions: u32) -> Load {
    Load { threads: THREADS, transactions, log_open: true }
}

#[test]
fn wal() {
    let replay = run("wal", load(40), "64M", true);
    check(&replay, 40, false);
}

#[test]
fn rollback_journal() {
    let replay = run("delete", load(20), "64M", true);
    check(&replay, 20, true);
}

#[test]
fn a_ring_that_wraps_counts_what_it_lost() {
    let replay = run("wal", load(30), "256K", false);
    for tally in &replay.tallies {
        assert!(tally.head > 4096, "the ring of 4096 records has wrapped: {tally:?}");
        assert_eq!(tally.overwritten, tally.head - 4096, "{tally:?}");
        // A thread that is suspended in the middle of a record for a whole lap costs two, visibly.
        assert!(tally.torn + tally.empty <= 2 * u64::from(THREADS), "{tally:?}");
        assert_eq!((tally.lost, tally.missing), (0, 0), "{tally:?}");
    }
    replay.assert_alone(false);
}

#[test]
fn threads_that_open_the_log_at_once_count_what_they_lose() {
    let replay = run("wal", Load { log_open: false, ..load(5) }, "64M", false);
    for tally in &replay.tallies {
        println!("{tally:?}");
        assert_eq!(tally.read + tally.lost, tally.head, "{tally:?}");
    }
    assert!(replay.states.values().all(|state| *state == State::NOTHING));
    replay.assert_alone(false);
}
