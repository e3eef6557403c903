//! `locktrace audit`: a lock that was really lost is found, and nothing else is ever called one.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "cli")]

mod common;
mod place;
mod play;

use common::Process;
use locktrace::event::Kind;
use place::{PYTHON, Place, parts};
use play::{Played, play, step};
use proptest::prelude::*;
use serde_json::Value;
use sqlite_locktrace::analysis::audit::Audit;
use sqlite_locktrace::trace::Trace;

/// What the audit says of two processes with these calls.
fn audit(a: &str, b: &str, change: impl Fn(&mut Process, &mut Process)) -> Audit {
    let dir = tempfile::tempdir().unwrap();
    let (mut one, mut other) = (Process::new(100), Process::new(200));
    one.run(a);
    other.run(b);
    change(&mut one, &mut other);
    one.write(dir.path());
    other.write(dir.path());
    Audit::of(&Trace::open(dir.path()).unwrap()).unwrap()
}

fn count(a: &str, b: &str) -> usize {
    audit(a, b, |_, _| {}).violations.len()
}

const WRITER: &str = "100 c1 open\n 110 c1 SHARED\n 120 c1 RESERVED -- BEGIN IMMEDIATE\n 900 c1 U(SHARED)\n 910 c1 U(NONE)";

#[test]
fn every_rule() {
    let other = |calls: &str| count(WRITER, &format!("101 c1 open\n 200 c1 SHARED\n {calls}\n 1000 c1 U(NONE)"));
    assert_eq!(other("300 c1 RESERVED\n 800 c1 U(SHARED)"), 1, "RESERVED twice");
    assert_eq!(other("300 c1 EXCLUSIVE\n 800 c1 U(SHARED)"), 1, "SHARED beside EXCLUSIVE");
    assert_eq!(other("300 c1 RESERVED\n 340 c1 U(SHARED)"), 0, "too short to be certain");
    assert_eq!(other("910 c1 RESERVED\n 990 c1 U(SHARED)"), 0, "one after the other");
    assert_eq!(other("300 c1 RESERVED=BUSY\n 950 c1 RESERVED\n 990 c1 U(SHARED)"), 0, "as it should be");
    let wal = |a: &str, b: &str| {
        count(
            &format!("100 c1 open\n 110 c1 map\n 120 c1 SHARED\n {a}"),
            &format!("101 c1 open\n 111 c1 map\n 121 c1 SHARED\n {b}"),
        )
    };
    assert_eq!(wal("200 c1 X WRITE\n 900 c1 U WRITE", "300 c1 X WRITE\n 800 c1 U WRITE"), 1);
    assert_eq!(wal("200 c1 S READ1\n 900 c1 U READ1", "300 c1 X READ1\n 800 c1 U READ1"), 1);
    assert_eq!(wal("200 c1 S READ1\n 900 c1 U READ1", "300 c1 S READ1\n 800 c1 U READ1"), 0);
    assert_eq!(wal("200 c1 X READ2\n 900 c1 U READ2", "300 c1 X READ1\n 800 c1 U READ1"), 0);
    assert_eq!(wal("200 c1 X WRITE", "300 c1 X WRITE\n 800 c1 U WRITE"), 0, "its end was not seen");
}

/// A violation, and whatever could make it less than certain.
#[test]
fn doubt_is_no_violation() {
    let other = "101 c1 open\n 200 c1 SHARED\n 300 c1 RESERVED\n 800 c1 U(SHARED)\n 1000 c1 U(NONE)";
    let with = |change: &dyn Fn(&mut Process, &mut Process)| audit(WRITER, other, change);
    assert_eq!(with(&|_, _| {}).violations.len(), 1);
    let none = |what: &str, change: &dyn Fn(&mut Process, &mut Process)| assert_eq!(with(change).violations, [], "{what}");
    none("another boot", &|_, b| b.header.boot_id[0] ^= 1);
    none("an unknown boot", &|a, b| (a.header.boot_id, b.header.boot_id) = ([0; 16], [0; 16]));
    none("another file", &|_, b| b.names.iter_mut().for_each(|line| *line = line.replace("\"ino\":42", "\"ino\":43")));
    none("no identity", &|_, b| b.names.iter_mut().for_each(|line| *line = line.replace("\"ino\":42", "\"ino\":null")));
    none("no locks", &|_, b| {
        b.names.iter_mut().for_each(|line| *line = line.replace("\"base\":\"unix\"", "\"base\":\"unix-none\""))
    });
    none("the same process", &|_, b| b.header.pid = 100);
    none("anchors that disagree by more than the overlap", &|_, b| {
        (b.header.first.monotonic_ns, b.header.last) = (
            b.header.first.monotonic_ns + 1_000_000,
            b.header.last.map(|mut last| {
                last.monotonic_ns += 1_000_000;
                last
            }),
        );
    });
    // One more record of another connection, lost in between.
    let lost = |_: &mut Process, b: &mut Process| {
        let mut record = b.records[2];
        (record.kind, record.conn) = (Kind::SYNC, 9);
        b.records.insert(3, record);
        b.header.capacity = 16;
    };
    let dir = tempfile::tempdir().unwrap();
    let (mut one, mut two) = (Process::new(100), Process::new(200));
    one.run(WRITER);
    two.run(other);
    lost(&mut one, &mut two);
    one.write(dir.path());
    two.write(dir.path());
    let path = dir.path().join(format!("{}.ring", two.id));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096 + 3 * 64 + 8] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();
    let audit = Audit::of(&Trace::open(dir.path()).unwrap()).unwrap();
    assert_eq!((audit.violations.len(), audit.doubtful, audit.can_judge()), (0, 1, false));
}

fn lawful(steps: &[play::Step], wal: bool, lose: &[usize], cut: usize, offset: u64) -> Result<(), TestCaseError> {
    let Played { records, .. } = play(steps, wal);
    let mut processes = [Process::new(1), Process::new(2), Process::new(3)];
    for (_, record) in &records {
        let mut record = *record;
        // Microseconds in place of ticks: overlaps must be long enough to count.
        (record.start, record.duration) = (record.start * 2_500, record.duration * 2_500);
        processes[record.conn as usize % 3].records.push(record);
    }
    // A clock that is off, and its anchors with it.
    for record in &mut processes[1].records {
        record.start += offset * 2_500;
    }
    for anchor in [Some(&mut processes[1].header.first), None].into_iter().flatten() {
        anchor.ticks += offset * 2_500;
    }
    if let Some(last) = &mut processes[1].header.last {
        last.ticks += offset * 2_500;
    }
    let dir = tempfile::tempdir().unwrap();
    processes.iter().for_each(|process| process.write(dir.path()));
    for (process, &at) in processes.iter().zip(lose) {
        let path = dir.path().join(format!("{}.ring", process.id));
        let mut bytes = std::fs::read(&path).unwrap();
        let slots = (bytes.len() - 4096) / 64;
        if slots > 0 {
            bytes[4096 + at % slots * 64 + 8] ^= 0x10;
        }
        if cut.is_multiple_of(4) {
            bytes.truncate(4096 + cut % (bytes.len() - 4096 + 1));
        }
        std::fs::write(path, bytes).unwrap();
    }
    let audit = Audit::of(&Trace::open(dir.path()).unwrap()).unwrap();
    prop_assert_eq!(audit.violations, []);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever keeps the rules is no violation, whatever is lost of it.
    #[test]
    fn what_keeps_the_rules_is_clean(
        steps in proptest::collection::vec(step(), 1..150),
        wal in any::<bool>(),
        lose in proptest::collection::vec(any::<usize>(), 0..4),
        cut in any::<usize>(),
        offset in prop_oneof![Just(0u64), 0u64..20_000],
    ) {
        lawful(&steps, wal, &lose, cut, offset)?;
    }
}

/// POSIX locks are lost when the process closes any descriptor of the file: a second process gets in.
#[test]
fn a_lock_that_was_really_lost() {
    let place = Place::new();
    let program = "
import sqlite3, subprocess, sys
def begin(statement):
    db = sqlite3.connect('a.db', timeout=0, isolation_level=None)
    db.execute(statement)
    return db
if len(sys.argv) > 1:
    db = begin('BEGIN IMMEDIATE -- the intruder')
    print('in', flush=True)
    sys.stdin.readline()
    db.execute('ROLLBACK')
else:
    sqlite3.connect('a.db').execute('CREATE TABLE t(x)')
    db = begin('BEGIN IMMEDIATE -- the owner')
    open('a.db', 'rb').close()
    other = subprocess.Popen([sys.executable, 'program.py', 'other'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == 'in\\n'
    import time; until = time.monotonic() + 0.01
    while time.monotonic() < until: db.execute('SELECT 1')
    other.stdin.write('\\n'); other.stdin.close(); other.wait()
    db.execute('ROLLBACK')
";
    std::fs::write(place.path("program.py"), program).unwrap();
    assert_eq!(place.run(&[PYTHON, "program.py"]).status.code(), Some(0));
    let (code, out, err) = parts(&place.locktrace(&["audit", "--json"]));
    assert_eq!(code, Some(1), "{out}{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    let violation = &found["violations"][0];
    assert!(violation["overlap_ns"].as_u64().unwrap() >= 5_000_000, "{violation}");
    assert_eq!(violation["cause"], "posix-lock-lost");
    let held: Vec<(&str, &str)> = violation["held"]
        .as_array()
        .unwrap()
        .iter()
        .map(|held| (held["lock"].as_str().unwrap(), held["sql"].as_str().unwrap()))
        .collect();
    assert_eq!(held, [("RESERVED", "BEGIN IMMEDIATE -- the owner"), ("RESERVED", "BEGIN IMMEDIATE -- the intruder")]);
    let (_, out, _) = parts(&place.locktrace(&["audit"]));
    assert!(
        out.contains("a.db: held by two processes for ") && out.contains("[posix-lock-lost]") && out.contains("integrity_check"),
        "{out}"
    );
    // Its export says the same.
    let lines = place.locktrace(&["cat", "--json"]);
    std::fs::write(place.path("lines"), lines.stdout).unwrap();
    assert_eq!(place.locktrace(&["audit", "lines"]).status.code(), Some(1));
}

/// Four processes that contend for a second, as they should.
#[test]
fn a_real_workload_is_clean() {
    let place = Place::new();
    let demo = place.locktrace(&["demo", "--seconds", "1", "-o", "shop"]);
    assert_eq!(demo.status.code(), Some(0));
    let (code, out, err) = parts(&place.locktrace(&["audit", "shop/trace", "--json"]));
    assert_eq!(code, Some(0), "{out}{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found["shared"], 1);
    assert!(found["judged"].as_u64().unwrap() > 100, "{found}");
    assert_eq!(place.locktrace(&["audit", "none"]).status.code(), Some(2));
}
