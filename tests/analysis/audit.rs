//! `locktrace audit`: it finds a lock that was really lost, and reports nothing else.
#![allow(clippy::unwrap_used)]

use crate::common::Process;
use crate::place::{PYTHON, Place, parts};
use crate::play::{Played, Step, play, step};
use proptest::prelude::*;
use serde_json::Value;
use shim::event::{Flags, Kind, Level, ResultCode};
use shim::format::record::MAX_DURATION;
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
    // One more record of another connection, lost in between: of either process.
    for which in [0, 1] {
        let dir = tempfile::tempdir().unwrap();
        let mut both = [Process::new(100), Process::new(200)];
        both[0].run(WRITER);
        both[1].run(other);
        let mut record = both[which].records[2];
        (record.kind, record.conn) = (Kind::SYNC, 9);
        both[which].records.insert(3, record);
        both[which].header.capacity = 16;
        both.iter().for_each(|process| process.write(dir.path()));
        let path = dir.path().join(format!("{}.ring", both[which].id));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4096 + 3 * 64 + 8] ^= 0x10;
        std::fs::write(&path, bytes).unwrap();
        let audit = Audit::of(&Trace::open(dir.path()).unwrap()).unwrap();
        assert_eq!((audit.violations.len(), audit.doubtful, audit.can_judge()), (0, 1, false));
    }
}

fn lawful(steps: &[Step], wal: bool, lose: &[usize], cut: usize, offset: u64) -> Result<(), TestCaseError> {
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

/// The calls of one process in WAL mode.
fn in_wal(calls: &str) -> String {
    format!("100 c1 open\n110 c1 map\n120 c1 SHARED\n{calls}")
}

#[test]
fn a_hold_ends_as_it_was_seen_to_end() {
    let other = |calls: &str| count(WRITER, &format!("101 c1 open\n200 c1 SHARED\n300 c1 RESERVED\n{calls}"));
    assert_eq!(other("800 c1 close"), 1, "by closing");
    let wal = |calls: &str| count(&in_wal("200 c1 X WRITE\n900 c1 U WRITE"), &in_wal(&format!("300 c1 X WRITE\n{calls}")));
    assert_eq!((wal("800 c1 unmap 0"), wal("800 c1 close")), (1, 1));
    // Closing the WAL file ends nothing.
    let late = WRITER.replace("120 c1 RESERVED", "410 c1 RESERVED");
    assert_eq!(count(&late, "101 c1 open\n200 c1 SHARED\n300 c1 RESERVED\n400 c1 close wal\n800 c1 U(SHARED)"), 1);
    // Taken again: it had been given up in between, and another one could have it.
    let between = in_wal("320 c1 X WRITE\n470 c1 U WRITE");
    assert_eq!(count(&between, &in_wal("300 c1 X WRITE\n800 c1 U WRITE")), 1);
    assert_eq!(count(&between, &in_wal("300 c1 X WRITE\n500 c1 X WRITE\n800 c1 U WRITE")), 0);
    assert_eq!(count(&between, &in_wal("300 c1 X WRITE\n500 c1 X WRITE=BUSY\n800 c1 U WRITE")), 1, "not by asking in vain");
}

#[test]
fn what_a_record_cannot_prove_is_no_violation() {
    let other = "101 c1 open\n 200 c1 SHARED\n 300 c1 RESERVED\n 800 c1 U(SHARED)\n 1000 c1 U(NONE)";
    let none = |what: &str, change: &dyn Fn(&mut Process)| {
        assert_eq!(audit(WRITER, other, |_, b| change(b)).violations, [], "{what}");
    };
    none("when the call returned is not known", &|b| b.records[2].flags = b.records[2].flags.with(Flags::ONE_CLOCK));
    none("nor here", &|b| b.records[2].duration = MAX_DURATION);
    none("the level before is not known", &|b| b.records[2].flags = b.records[2].flags.with(Flags::ASSUMED));
    none("no such level", &|b| (b.records[2].after, b.records[3].before) = (Level(5), Level(5)));
    none("no call took it", &|b| b.records[2].kind = Kind::CHECK_RESERVED);
    none("no call gave it up", &|b| b.records[3].kind = Kind::CHECK_RESERVED);
    none("it came through a fork", &|b| b.records.iter_mut().for_each(|record| record.flags = record.flags.with(Flags::FORKED)));
    none("of no file", &|b| b.records.iter_mut().for_each(|record| record.file = 0));
    none("of no connection", &|b| b.records.iter_mut().for_each(|record| record.conn = 0));
    // The same of a slot.
    let (one, two) = (in_wal("200 c1 X WRITE\n900 c1 U WRITE"), in_wal("300 c1 X WRITE\n800 c1 U WRITE"));
    assert_eq!(count(&one, &two), 1);
    let none = |what: &str, change: &dyn Fn(&mut Process)| {
        assert_eq!(audit(&one, &two, |_, b| change(b)).violations, [], "{what}");
    };
    none("when the call returned is not known", &|b| b.records[3].flags = b.records[3].flags.with(Flags::ONE_CLOCK));
    none("it was refused", &|b| b.records[3].rc = ResultCode::BUSY);
    none("it gave something up", &|b| b.records[3].flags = b.records[3].flags.with(Flags::SHM_UNLOCK));
    none("another slot's call took it", &|b| b.records[3].shm_offset = 1);
    none("another slot's call gave it up", &|b| b.records[4].shm_offset = 1);
    none("a call that takes gave it up", &|b| b.records[4].flags = Flags::SHM_EXCLUSIVE);
}

#[test]
fn what_can_be_judged() {
    let judged = |a: &str, b: &str| audit(a, b, |_, _| {});
    let (idle, found) = (judged("100 c1 open", "900 c1 open\n910 c1 close"), judged(WRITER, WRITER));
    assert!(found.shared == 1 && found.judged > 0 && found.can_judge());
    assert!(idle.shared == 1 && idle.judged == 0 && !idle.can_judge(), "two processes, and no hold from end to end");
    let apart =
        audit(WRITER, "900 c1 open", |_, b| b.names.iter_mut().for_each(|line| *line = line.replace("\"ino\":42", "\"ino\":43")));
    assert!(apart.shared == 0 && apart.can_judge());
    let silent = audit("100 c1 open", "900 c1 open", |_, b| {
        b.names.iter_mut().for_each(|line| *line = line.replace("\"ino\":42", "\"ino\":43"))
    });
    assert!(silent.judged == 0 && silent.can_judge(), "each on its own");
    // How long a tick is nobody knows.
    let timeless = audit(WRITER, &WRITER.replace("120 c1", "130 c1"), |a, b| (a.header.last, b.header.last) = (None, None));
    assert!(timeless.shared == 1 && timeless.judged > 0 && timeless.violations.is_empty() && !timeless.can_judge());
    // Calls that took a lock where nothing can be judged.
    let foreign = audit(WRITER, &in_wal("300 c1 X WRITE\n310 c1 X CKPT=BUSY\n800 c1 U WRITE"), |_, b| {
        b.names.iter_mut().for_each(|line| *line = line.replace("\"base\":\"unix\"", "\"base\":\"unix-dotfile\""));
    });
    assert_eq!(foreign.other, 2, "SHARED and WRITE");
}

#[test]
fn very_many_violations_are_counted() {
    let hold = |at: u64, until: u64| format!("{at} c1 RESERVED\n{until} c1 U(SHARED)\n");
    let long = format!("100 c1 open\n110 c1 SHARED\n{}{}", hold(120, 90_000), hold(90_100, 190_000));
    let short: String = (0..1_200u64).map(|turn| hold(200 + turn * 150, 300 + turn * 150)).collect();
    let found = audit(&long, &format!("101 c1 open\n111 c1 SHARED\n{short}"), |_, _| {});
    // One of them comes while the long hold changes.
    assert!(found.violations.len() == 1_000 && (198..=200).contains(&found.more), "{}", found.more);
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
