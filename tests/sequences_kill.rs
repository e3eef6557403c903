//! `kill -9` of a writing process at any instant: all that was recorded can be read, all that was committed is there.
#![allow(clippy::unwrap_used)]

mod live;

use live::host::DEADLINE;
use live::load::{Load, prepare, rows, start};
use live::replay::Replay;
use locktrace::event::{FileKind, Kind};
use locktrace::format::header::{self, Header};
use sqlite_locktrace::trace::Trace;
use std::io::Read;
use std::path::Path;
use std::time::{Instant, SystemTime};

const THREADS: u32 = 4;

/// How many records the one process of this trace has claimed so far.
fn head(traces: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(traces) else { return 0 };
    let ring = entries.map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some_and(|name| name == "ring"));
    let mut bytes = Vec::new();
    let read = ring.and_then(|path| std::fs::File::open(path).ok()?.take(header::SIZE as u64).read_to_end(&mut bytes).ok());
    // Before the header is whole there are none.
    read.and_then(|_| Header::decode(&bytes).ok()).map_or(0, |header| header.head)
}

/// Kills a process that has claimed this many records, and checks what it left.
fn kill_at(records: u64, mode: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (database, traces) = (dir.path().join("app.db"), dir.path().join("trace"));
    prepare(&database, mode);
    let mut victim = start("victim", Load { threads: THREADS, transactions: 1_000_000, log_open: true }, &database, &traces, "64M");
    let begun = Instant::now();
    while head(&traces) < records {
        assert!(begun.elapsed() < DEADLINE, "{} of {records} records after {DEADLINE:?}", head(&traces));
        std::thread::yield_now();
    }
    victim.kill();
    let mut committed = 0;
    while let Some(line) = victim.next_line() {
        assert_ne!(line, "not killed");
        committed += 1;
    }

    let trace = Trace::open(&traces).unwrap();
    assert_eq!(trace.logs().len(), 1);
    let replay = Replay::of(&trace, false);
    let tally = replay.tallies[0];
    assert!(tally.head >= records);
    // At most the one record in flight of each thread; the main thread has none.
    assert!(tally.torn + tally.empty <= u64::from(THREADS), "{tally:?}");
    assert_eq!((tally.lost, tally.missing, tally.overwritten), (0, 0, 0), "{tally:?}");
    replay.assert_alone(mode != "wal");
    // Every commit that was told of is in the trace: what the thread recorded before cannot be lost.
    let commits = trace.events().unwrap().filter(|event| match mode {
        "wal" => event.record.kind == Kind::WROTE && event.record.file_kind == FileKind::WAL,
        _ => event.record.kind == Kind::DELETE && event.record.file_kind == FileKind::JOURNAL && event.record.rc.is_ok(),
    });
    let commits = commits.count() as u64;
    println!("{committed} commits told of, {commits} recorded, {tally:?}");
    assert!(commits >= committed, "{committed} commits were told of, {commits} recorded");
    let rows = rows(&database);
    assert!(rows >= committed, "{committed} commits were told of, {rows} rows are there");
    assert!(rows <= committed + u64::from(THREADS), "{committed} commits were told of, {rows} rows are there");
}

#[test]
fn at_any_instant() {
    let mut random = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    for round in 0..20 {
        // A linear congruential generator (Knuth's MMIX) is random enough.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let records = 1 + (random >> 33) % 3000;
        let mode = if round % 2 == 0 { "wal" } else { "delete" };
        println!("round {round}: {mode}, killed after {records} records");
        kill_at(records, mode);
    }
}
