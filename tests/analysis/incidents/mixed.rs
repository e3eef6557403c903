//! Traces of several hosts and clocks, and hazards.
//!
//! It stays Rust, because it changes headers, names and flags that case files do not have.
#![allow(clippy::unwrap_used)]

use super::judge::{START, attempts, judged};
use crate::common::{EPOCH, Process, TICKS_PER_US};
use shim::event::Flags;
use shim::format::header::ClockKind;
use sqlite_locktrace::analysis::causes::hazards::Hazard;
use sqlite_locktrace::analysis::{Analysis, Options};
use sqlite_locktrace::trace::Trace;
use std::collections::BTreeSet;

const OPEN: &str = "1 c1 open\n2 c1 SHARED\n3 c1 open wal\n4 c1 map\n";

/// A process that has WRITE, and one that is refused it.
fn two() -> (Process, Process) {
    let (mut holder, mut victim) = (Process::new(100), Process::new(200));
    holder.run(&format!("{OPEN}100 c1 S READ1 -- INSERT a\n110 c1 X WRITE -- INSERT a\n60000 c1 U WRITE\n60010 c1 U READ1\n"));
    let after = "50000 c1 S READ1 -- SELECT b\n50010 c1 U READ1\n";
    victim.run(&format!("{OPEN}{}{after}", attempts(1_000, "c1", &START, &[1_000, 2_000])));
    (holder, victim)
}

/// The same files, another boot or another clock: they are other databases, and nobody is accused.
#[test]
fn another_host_is_no_culprit() {
    let (holder, victim) = two();
    assert_eq!(judged(&[&holder, &victim]), ["hold-exceeds-timeout gave-up <- INSERT a (running)"]);
    let alone = ["unexplained gave-up <- nobody"];
    let changed = |change: &dyn Fn(&mut Process)| {
        let (mut holder, victim) = two();
        change(&mut holder);
        judged(&[&holder, &victim])
    };
    assert_eq!(changed(&|holder| holder.header.boot_id = *b"another boot id!"), alone);
    // Of the same boot, but by another clock, the times do not compare exactly: a holder may be named, and is not certain.
    let (mut holder, victim) = two();
    holder.header.clock = ClockKind::Monotonic;
    for record in &mut holder.records {
        let since = record.start - EPOCH.ticks;
        record.start = EPOCH.monotonic_ns + since * 1_000 / TICKS_PER_US;
        record.duration = record.duration * 1_000 / TICKS_PER_US;
    }
    let in_ns = |anchor: &mut shim::format::header::Anchor| anchor.ticks = anchor.monotonic_ns;
    in_ns(&mut holder.header.first);
    holder.header.last.iter_mut().for_each(in_ns);
    let dir = tempfile::tempdir().unwrap();
    [&holder, &victim].iter().for_each(|process| process.write(dir.path()));
    let trace = Trace::open(dir.path()).unwrap();
    let analysis = Analysis::of(&trace, Options::default()).unwrap();
    assert_eq!(trace.clocks().len(), 2);
    assert!(
        analysis.refusals.iter().all(|refusal| refusal.candidates.iter().all(|holder| !holder.certain)),
        "{:?}",
        analysis.refusals
    );
    assert!(analysis.incidents.iter().flat_map(|incident| &incident.blockers).all(|blocker| !blocker.certain));
}

/// The wall clock was put back while the process ran: what happened in which order does not depend on it.
#[test]
fn a_wall_clock_that_goes_back_changes_nothing() {
    let (mut holder, mut victim) = two();
    let expected = judged(&[&holder, &victim]);
    for (process, hours) in [(&mut holder, 1), (&mut victim, 30)] {
        let last = process.header.last.as_mut().unwrap();
        last.real_ns -= hours * 3_600_000_000_000;
    }
    victim.header.first.real_ns -= 86_400_000_000_000;
    assert_eq!(judged(&[&holder, &victim]), expected);
}

/// The hazards of these processes: name, what was seen, and how many records show it.
fn all(processes: &[&Process]) -> Vec<(&'static str, String, usize)> {
    let dir = tempfile::tempdir().unwrap();
    processes.iter().for_each(|process| process.write(dir.path()));
    let trace = Trace::open(dir.path()).unwrap();
    let analysis = Analysis::of(&trace, Options::default()).unwrap();
    for hazard in &analysis.hazards {
        assert!(!hazard.evidence.is_empty() && !hazard.what.is_empty(), "{hazard:?}");
    }
    let records = |hazard: &Hazard| hazard.evidence.iter().collect::<BTreeSet<_>>().len();
    analysis.hazards.iter().map(|hazard| (hazard.kind.id(), hazard.what.clone(), records(hazard))).collect()
}

/// Their names.
fn hazards(processes: &[&Process]) -> Vec<&'static str> {
    all(processes).into_iter().map(|hazard| hazard.0).collect()
}

fn process(pid: u32, scenario: &str) -> Process {
    let mut process = Process::new(pid);
    process.run(scenario);
    process
}

#[test]
fn hazards_and_what_is_none() {
    let reads = "10 c1 open\n20 c1 SHARED\n90 c1 U(NONE)\n95 c1 close\n";
    assert!(hazards(&[&process(7, reads)]).is_empty());
    let flagged = |flag: Flags, which: usize| {
        let mut process = process(7, reads);
        process.records[which].flags = process.records[which].flags.with(flag);
        hazards(&[&process])
    };
    assert_eq!(flagged(Flags::SHARED_CACHE, 1), ["shared-cache"]);
    assert_eq!(flagged(Flags::FORKED, 1), ["forked-connection"]);
    assert!(flagged(Flags::FORKED, 3).is_empty(), "a child may close what it inherited");
    let in_wal = |which: usize| {
        let mut process = process(7, "10 c1 open\n20 c1 SHARED\n30 c1 open wal\n40 c1 map\n50 c1 S READ1\n60 c1 U READ1\n");
        process.records[which].flags = process.records[which].flags.with(Flags::FORKED);
        hazards(&[&process])
    };
    assert_eq!((in_wal(3), in_wal(4)), (vec!["forked-connection"], vec!["forked-connection"]));
    assert!(in_wal(2).is_empty(), "opening the WAL file takes no lock");
    // A lock call answers with an I/O error; a read does not count.
    assert_eq!(hazards(&[&process(7, &reads.replace("90 c1", "80 c1 X WRITE=5130\n90 c1"))]), ["network-filesystem"]);
    assert_eq!(hazards(&[&process(7, &reads.replace("SHARED", "SHARED=3850"))]), ["network-filesystem"]);
    assert_eq!(hazards(&[&process(7, &reads.replace("U(NONE)", "U(NONE)=2058"))]), ["network-filesystem"]);
    assert!(hazards(&[&process(7, &reads.replace("20 c1 SHARED", "20 c1 sync database=10"))]).is_empty());
    // A read-only connection closes: no file that is open for reading takes a write lock. (Any other lock that fails so counts.)
    let closes =
        "10 c1 open\n20 c1 SHARED\n30 c1 open wal\n40 c1 map\n50 c1 EXCLUSIVE=3850\n60 c1 unmap 0\n70 c1 U(NONE)\n80 c1 close\n";
    assert!(hazards(&[&process(7, closes)]).is_empty());
    let commits = "10 c1 SHARED\n20 c1 RESERVED\n30 c1 EXCLUSIVE=3850\n40 c1 U(NONE)\n";
    assert_eq!(hazards(&[&process(7, commits)]), ["network-filesystem"]);
    let fs = |name: &str| {
        let mut process = process(7, reads);
        process.names.iter_mut().for_each(|line| *line = line.replace("\"ext4\"", &format!("\"{name}\"")));
        hazards(&[&process])
    };
    assert_eq!(fs("nfs4"), ["network-filesystem"]);
    assert_eq!(fs("fuse.sshfs"), ["network-filesystem"]);
    assert!(fs("fuseless").is_empty() && fs("tmpfs").is_empty());
    // Of two databases, the records of the one that it is about.
    let mut two = process(7, reads);
    two.database(2, "/net/other.db", 43).run("100 c2 open\n110 c2 SHARED\n120 c2 U(NONE)\n");
    two.names.iter_mut().filter(|line| line.contains("/net/")).for_each(|line| *line = line.replace("\"ext4\"", "\"nfs4\""));
    let dir = tempfile::tempdir().unwrap();
    two.write(dir.path());
    let trace = Trace::open(dir.path()).unwrap();
    let analysis = Analysis::of(&trace, Options::default()).unwrap();
    let found: Vec<_> = analysis.hazards.iter().map(|hazard| (hazard.kind.id(), hazard.evidence[0].1)).collect();
    assert_eq!(found, [("network-filesystem", 4)]);
}

#[test]
fn two_libraries_in_one_process() {
    let library = r#"{"t":"library","lib":1,"sqlite":"3.54.1","source_id":"y","options":null,"vfs":"locktrace","base":"unix"}"#;
    let second = |used: bool, inode: u64| {
        let mut process = process(7, "10 c1 open\n20 c1 SHARED\n");
        process.name(library);
        let path = if inode == 42 { "/data/app.db" } else { "/data/other.db" };
        process.name(format!(r#"{{"t":"file","file":2,"lib":1,"path":"{path}","dev":8,"ino":{inode},"fs":"ext4"}}"#));
        if used {
            let mut record = process.records[0];
            (record.file, record.conn, record.start) = (2, 2, record.start + 30 * TICKS_PER_US);
            process.records.push(record);
        }
        let found = all(&[&process]);
        assert!(found.iter().all(|hazard| hazard.2 == 2), "a record of each library: {found:?}");
        found.into_iter().map(|hazard| hazard.0).collect::<Vec<_>>()
    };
    assert_eq!(second(true, 42), ["two-sqlite-libraries"]);
    assert!(second(false, 42).is_empty(), "a name alone is no connection");
    assert!(second(true, 43).is_empty(), "another file");
}

#[test]
fn writers_on_an_sqlite_that_loses_the_wal() {
    let write = |conn: &str, at: u64| {
        let lines = [
            format!("{at} {conn} S READ1 -- INSERT a"),
            format!("{} {conn} X WRITE -- INSERT a", at + 10),
            format!("{} {conn} wrote wal 4120", at + 20),
            format!("{} {conn} U WRITE", at + 30),
            format!("{} {conn} U READ1", at + 40),
        ];
        lines.join("\n") + "\n"
    };
    let open = format!("{OPEN}{}", OPEN.replace("c1", "c2"));
    let two = format!("{open}{}{}", write("c1", 100), write("c2", 200));
    assert_eq!(hazards(&[&process(7, &two)]), ["wal-reset-exposure"]);
    let one = format!("{open}{}{}", write("c1", 100), write("c1", 200));
    assert!(hazards(&[&process(7, &one)]).is_empty(), "one writer");
    let nothing = two.replace("220 c2 wrote wal 4120\n", "");
    assert!(hazards(&[&process(7, &nothing)]).is_empty(), "the second one wrote nothing");
    let mut fixed = process(7, &two);
    fixed.names.iter_mut().for_each(|line| *line = line.replace("3.40.1", "3.51.3"));
    assert!(hazards(&[&fixed]).is_empty());
    // A read transaction under which the WAL grows, for a second or more.
    let read = |length: u64| {
        let long = format!("{open}50 c2 S READ2 -- SELECT b\n{}{} c2 U READ2\n", write("c1", 100), 50 + length);
        hazards(&[&process(7, &long)])
    };
    assert_eq!(read(1_000_002), ["long-read-transaction"]);
    assert!(read(1_000_001).is_empty());
    // Of several, the longest is reported, with its records.
    let reads = |lengths: [u64; 2]| {
        let mut at = 50;
        let mut long = open.clone();
        for length in lengths {
            long += &format!("{at} c2 S READ2 -- SELECT b\n{}{} c2 U READ2\n", write("c1", at + 50), at + 2 + length);
            at += length + 1_000;
        }
        all(&[&process(7, &long)]).remove(0).1
    };
    let both = "2 read transactions of 1 s or more while the WAL grew, the longest 3.0 s";
    assert_eq!((reads([1_500_000, 3_000_000]).as_str(), reads([3_000_000, 1_500_000]).as_str()), (both, both));
    // A third writer changes nothing.
    let three = format!("{open}{}{}{}{}", OPEN.replace("c1", "c3"), write("c1", 100), write("c2", 200), write("c3", 300));
    assert_eq!(hazards(&[&process(7, &three)]), ["wal-reset-exposure"]);
    let still = format!("{open}50 c2 S READ2 -- SELECT b\n1500000 c2 U READ2\n");
    assert!(hazards(&[&process(7, &still)]).is_empty(), "nothing grew");
}

#[test]
fn a_lock_that_was_lost_is_a_hazard() {
    let writer = "100 c1 open\n110 c1 SHARED\n120 c1 RESERVED -- BEGIN IMMEDIATE\n90000 c1 U(SHARED)\n90010 c1 U(NONE)\n";
    let other = writer.replace("120 c1", "300 c1").replace("90000 c1", "80000 c1").replace("90010 c1", "80010 c1");
    assert_eq!(hazards(&[&process(100, writer), &process(200, &other)]), ["posix-lock-lost"]);
    // On another host, where the database has the same path, nothing was lost.
    let mut elsewhere = process(300, writer);
    elsewhere.header.boot_id = *b"another boot id!";
    assert_eq!(hazards(&[&process(100, writer), &process(200, &other), &elsewhere]), ["posix-lock-lost"]);
    let refused = other.replace("RESERVED --", "RESERVED=BUSY --");
    assert!(hazards(&[&process(100, writer), &process(200, &refused)]).is_empty());
}
