//! The golden trace of each format version: bytes that every later reader must still read.
//!
//! Made by `cargo test --test analysis -- --ignored regenerate`; only a new format version may make new ones.
#![allow(clippy::unwrap_used)]

use crate::common::Process;
use shim::event::{Kind, Level};
use sqlite_locktrace::trace::Trace;
use std::path::PathBuf;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

fn golden() -> Process {
    let mut process = Process::new(100);
    process.thread(101, "main").run(
        "100 c1 open
         200 c1 SHARED         -- INSERT INTO t VALUES (1)
         210 c1 RESERVED       -- INSERT INTO t VALUES (1)
         300 c1 EXCLUSIVE=BUSY -- INSERT INTO t VALUES (1)
         310 c1 sleep 1000
         1400 c1 EXCLUSIVE     -- INSERT INTO t VALUES (1)
         1420 c1 delete journal
         1430 c1 U(SHARED)
         1440 c1 U(NONE)
         1450 c1 close",
    );
    process
}

#[test]
#[ignore = "writes tests/golden/v1"]
fn regenerate() {
    std::fs::create_dir_all(directory()).unwrap();
    golden().write(&directory());
}

#[test]
fn version_1_still_reads() {
    let trace = Trace::open(&directory()).unwrap();
    assert_eq!((trace.problems(), trace.logs().len()), (&[][..], 1));
    let log = &trace.logs()[0];
    assert_eq!((log.pid, log.id.as_str(), log.capacity), (100, "100-17979cfe362a0000", 16));
    assert_eq!(log.names.file(1).unwrap().path.text, "/data/app.db");
    assert_eq!(log.names.thread(101).unwrap().text, "main");
    let mut events = trace.events().unwrap();
    let records: Vec<_> = (&mut events).map(|event| event.record).collect();
    assert_eq!(events.finish().tallies[0].read, 10);
    assert_eq!(records, golden().records);
    let refused = records[3];
    assert_eq!((refused.kind, refused.requested, refused.after), (Kind::LOCK, Level::EXCLUSIVE, Level::RESERVED));
    assert!(refused.rc.is_busy());
    assert_eq!(log.names.sql(refused.sql).unwrap().text.text, "INSERT INTO t VALUES (1)");
    assert_eq!(trace.clock(sqlite_locktrace::trace::LogId(0)).to_ns(refused.duration), Some(2_000));
}
