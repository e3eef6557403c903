//! What an incident carries beside its cause: the records that prove it, who waits for whom, how long the lock was held.
//!
//! It stays Rust, because case files list causes only.
#![allow(clippy::unwrap_used)]

use super::judge::{START, WAL, attempts, damage};
use crate::common::Process;
use sqlite_locktrace::analysis::{Analysis, Incident, Options, Role};
use sqlite_locktrace::trace::Trace;

const WRITER: &str = "100 c1 S READ1 -- INSERT a\n110 c1 X WRITE -- INSERT a\n";
const DONE: &str = "90000 c1 U WRITE\n90010 c1 U READ1 -- INSERT a\n";

/// The first incident of this scenario.
fn first<T>(scenario: &str, of: impl Fn(&Incident) -> T) -> T {
    let mut process = Process::new(7);
    process.run(&format!("{WAL}{scenario}"));
    let dir = tempfile::tempdir().unwrap();
    process.write(dir.path());
    let trace = Trace::open(dir.path()).unwrap();
    of(&Analysis::of(&trace, Options::default()).unwrap().incidents[0])
}

#[test]
fn the_proof_is_every_turning_point() {
    let roles = |scenario: &str| {
        first(scenario, |incident| incident.evidence.iter().map(|evidence| (evidence.number, evidence.role)).collect::<Vec<_>>())
    };
    // Records 8 and 9 are the writer's.
    let once = attempts(200, "c2", &START, &[]);
    let next = "300 c2 S READ1 -- SELECT b\n310 c2 U READ1\n";
    let gave_up = roles(&format!("{WRITER}{once}{next}{DONE}"));
    assert_eq!(gave_up, [(9, Role::Took), (11, Role::FirstRefused), (12, Role::Next), (15, Role::GaveUp)]);
    let again = attempts(200, "c2", &START, &[1_000]) + "1400+1000 c2 sleep 2000\n";
    let granted = "90100 c2 S READ1 -- INSERT b\n90110 c2 X WRITE -- INSERT b\n90120 c2 U WRITE\n90130 c2 U READ1\n";
    let granted = roles(&format!("{WRITER}{again}{DONE}{granted}"));
    let expected = [(9, Role::Took), (11, Role::FirstRefused), (15, Role::LastRefused), (18, Role::GaveUp), (21, Role::Granted)];
    assert_eq!(granted, expected);
}

#[test]
fn who_waits_for_whom() {
    // c4 waits for c2, which waits for the reader c1 to commit.
    let tries = attempts(100, "c2", &["EXCLUSIVE=PENDING -- COMMIT"], &[1_000, 2_000, 5_000]);
    let late = attempts(300, "c4", &["SHARED=BUSY -- SELECT c"], &[1_000]) + "1900 c4 U(NONE)\n";
    let mut process = Process::new(7);
    process.run(&format!("10 c1 SHARED -- SELECT a\n20 c2 SHARED -- UPDATE b\n30 c2 RESERVED -- UPDATE b\n{tries}{late}9000 c1 U(NONE)\n9010 c2 U(NONE)\n"));
    let dir = tempfile::tempdir().unwrap();
    process.write(dir.path());
    let trace = Trace::open(dir.path()).unwrap();
    let analysis = Analysis::of(&trace, Options::default()).unwrap();
    let of = |conn: u32| analysis.incidents.iter().position(|incident| incident.who.conn == conn).unwrap();
    let link = |conn: u32| analysis.incidents[of(conn)].blockers[0].waits_in;
    assert_eq!((link(4), link(2)), (Some(of(2) as u32), None));
}

#[test]
fn how_long_it_was_held_before_and_after() {
    let once = attempts(200, "c2", &START, &[]);
    let held = |torn: &[usize]| {
        let mut process = Process::new(7);
        process.run(&format!("{WAL}{WRITER}150 c1 check\n{once}{DONE}"));
        let dir = tempfile::tempdir().unwrap();
        process.write(dir.path());
        damage(dir.path(), &process, torn);
        let trace = Trace::open(dir.path()).unwrap();
        let blocker = Analysis::of(&trace, Options::default()).unwrap().incidents[0].blockers[0];
        (blocker.held_before_ns, blocker.held_after_ns)
    };
    assert_eq!(held(&[]), (Some(100_000), Some(89_788_000)));
    assert_eq!(held(&[9]), (None, Some(89_788_000)), "the beginning is lost");
}
