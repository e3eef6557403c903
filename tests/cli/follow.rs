//! `locktrace follow` beside programs that write: what it shows, when, and that it accounts for every record.
//!
//! Tests wait for a line or for an end, each with a deadline, never for a time to pass.
#![allow(clippy::unwrap_used)]

use crate::common::Process;
use crate::place::lines::{DEADLINE, Lines, Program};
use crate::place::{PYTHON, Place, text};
use serde_json::Value;
use sqlite_locktrace::trace::follow::{Follow, News};
use sqlite_locktrace::trace::{Event, Trace};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn follow(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.command("timeout");
    // In the foreground, so that signals to it reach the command.
    command.args(["--foreground", "120", env!("CARGO_BIN_EXE_locktrace"), "follow", "trace"]).args(arguments).stdin(Stdio::null());
    command
}

#[test]
fn what_happens_is_shown_while_it_happens() {
    let place = Place::new();
    // It waits for the directory.
    let mut command = follow(&place, &[]);
    let mut shown = Lines::of(command.stderr(Stdio::piped()));
    let mut errors = BufReader::new(shown.child.stderr.take().unwrap());
    let mut line = String::new();
    errors.read_line(&mut line).unwrap();
    assert_eq!(line, "locktrace: waiting for trace\n");
    let mut program = Program::start(&place, "a.db");
    program.execute("CREATE TABLE t1(x)");
    shown.until("the first statement", |line| line.contains("xLock RESERVED") && line.contains("CREATE TABLE t1(x)"));
    program.execute("INSERT INTO t1 VALUES(1)");
    shown.until("the second", |line| line.contains("xLock RESERVED") && line.contains("INSERT INTO t1"));
    // A process that starts later is picked up from its start.
    let mut other = Program::start(&place, "a.db");
    other.execute("CREATE TABLE t2(x)");
    shown.until("the other process", |line| line.contains("CREATE TABLE t2(x)"));
    program.end();
    other.end();
    for _ in 0..2 {
        let mut line = String::new();
        while !line.contains("is no longer followed\n") {
            line.clear();
            assert_ne!(errors.read_line(&mut line).unwrap(), 0, "both ends are told, and nothing was lost");
        }
    }
    shown.signal("INT");
    assert_eq!(shown.rest().1, Some(0));
    let mut rest = String::new();
    errors.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn from_now_and_from_the_start() {
    let place = Place::new();
    let mut program = Program::start(&place, "a.db");
    program.execute("CREATE TABLE before(x)");
    let now = Lines::of(&mut follow(&place, &["--json", "--until-end"]));
    now.until("the log", |line| line.starts_with("{\"t\":\"log\""));
    program.execute("CREATE TABLE after(x)");
    program.end();
    let (lines, code) = now.rest();
    assert_eq!(code, Some(0));
    let records: Vec<&String> = lines.iter().filter(|line| line.starts_with("{\"t\":\"record\"")).collect();
    assert!(records.iter().any(|line| line.contains("CREATE TABLE after(x)")));
    assert!(!records.iter().any(|line| line.contains("CREATE TABLE before(x)")));
    let end: Value = serde_json::from_str(lines.iter().find(|line| line.starts_with("{\"t\":\"end\"")).unwrap()).unwrap();
    assert_eq!(end["head"].as_u64().unwrap(), end["read"].as_u64().unwrap() + end["skipped"].as_u64().unwrap(), "{end}");
    // From the start, when all is over: what `cat` says, record by record.
    let output = follow(&place, &["--json", "--from-start", "--until-end"]).output().unwrap();
    let cat = place.locktrace(&["cat", "--json", "trace"]);
    let records = |bytes: &[u8]| -> Vec<(u64, String)> {
        let lines = text(bytes);
        let records = lines.lines().filter(|line| line.starts_with("{\"t\":\"record\""));
        records
            .map(|line| {
                // The length of a tick is not known as exactly while a program runs.
                let mut record: Value = serde_json::from_str(line).unwrap();
                record.as_object_mut().unwrap().retain(|key, _| key != "time" && key != "ns");
                (record["n"].as_u64().unwrap(), record.to_string())
            })
            .collect()
    };
    let (followed, read) = (records(&output.stdout), records(&cat.stdout));
    assert!(!read.is_empty());
    for (a, b) in followed.iter().zip(&read) {
        assert_eq!(a, b);
    }
    assert_eq!(followed.len(), read.len());
}

/// A small ring, and a program that laps the reader many times: every number comes once or is counted as lost.
#[test]
fn a_ring_that_wraps_a_hundred_times() {
    let place = Place::new();
    std::fs::create_dir(place.path("trace")).unwrap();
    let shown = Lines::of(&mut follow(&place, &["--json", "--until-end"]));
    let code = "
import sqlite3, threading
db = sqlite3.connect('a.db', isolation_level=None)
db.execute('PRAGMA journal_mode=WAL')
db.execute('CREATE TABLE t(x)')
def work():
    db = sqlite3.connect('a.db', isolation_level=None)
    for n in range(110000): db.execute('SELECT x FROM t').fetchall()
threads = [threading.Thread(target=work) for n in range(2)]
[t.start() for t in threads]; [t.join() for t in threads]
";
    let run = place.locktrace(&["run", "-o", "trace", "--limit", "256K", "--", PYTHON, "-c", code]);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    let (lines, code) = shown.rest();
    assert_eq!(code, Some(0));
    let mut numbers: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    let mut ends = 0;
    for line in &lines {
        let line: Value = serde_json::from_str(line).unwrap();
        let log = || line["log"].as_str().unwrap().to_owned();
        match line["t"].as_str().unwrap() {
            "record" => {
                let kind = line["kind"].as_str().unwrap();
                assert!(kind.starts_with('x') || ["handle", "wrote", "ckptStart", "ckptDone"].contains(&kind), "{line}");
                assert!(numbers.entry(log()).or_default().insert(line["n"].as_u64().unwrap()), "twice: {line}");
            }
            "end" => {
                let count = |key: &str| line[key].as_u64().unwrap();
                let lost: u64 = ["overwritten", "lost", "empty", "torn", "missing"].map(count).iter().sum();
                assert_eq!(count("read"), numbers[&log()].len() as u64, "every one that was read is shown");
                assert_eq!(count("read") + lost, count("head"), "{line}");
                assert!(count("head") >= 100 * 4096, "it wrapped a hundred times: {line}");
                assert!(
                    (count("head") - 1000..count("head")).all(|number| numbers[&log()].contains(&number)),
                    "the newest are there"
                );
                ends += 1;
            }
            _ => {}
        }
    }
    assert_eq!(ends, 1);
}

#[test]
fn a_reader_that_leaves_ends_it() {
    let place = Place::new();
    std::fs::create_dir(place.path("trace")).unwrap();
    let mut command = follow(&place, &[]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let until = Instant::now() + DEADLINE;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "it does not notice that nobody reads");
        std::thread::yield_now();
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_cannot_be_followed() {
    let place = Place::new();
    std::fs::write(place.path("file"), "").unwrap();
    let output = place.locktrace(&["follow", "file"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("only a trace directory can be followed"), "{output:?}");
    assert_eq!(place.locktrace(&["follow", "--for", "soon"]).status.code(), Some(2));
    let begun = Instant::now();
    let output = place.locktrace(&["follow", "none", "--for", "50ms"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), String::new()));
    assert!(begun.elapsed() >= Duration::from_millis(50));
    // A damaged log is reported, and the others are followed.
    std::fs::create_dir(place.path("trace")).unwrap();
    std::fs::write(place.path("trace/1-1.ring"), "no ring").unwrap();
    let output = place.locktrace(&["follow", "trace", "--for", "3s"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("problem: ") && text(&output.stderr).contains("1-1.ring"), "{output:?}");
}

/// Two processes whose records arrive in pieces: the same order as that of the finished trace.
#[test]
fn records_of_several_processes_are_merged_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let (mut a, mut b) = (Process::new(100), Process::new(200));
    (a.header.capacity, b.header.capacity) = (16, 16);
    let mut follow = Follow::new(dir.path(), true);
    let (mut events, mut ended): (Vec<Event>, usize) = (Vec::new(), 0);
    a.run("100 c1 open\n 130 c1 SHARED\n 170 c1 U(NONE)");
    b.run("110 c1 open\n 120+30 c1 SHARED");
    a.write(dir.path());
    b.write(dir.path());
    let batch = follow.poll(None).unwrap();
    assert!(matches!(batch.news[..2], [News::Began(a), News::Began(b)] if a != b) || batch.news.len() > 2, "{:?}", batch.news);
    events.extend(batch.events);
    // What one log lacked at the first look still comes before what the other had.
    b.run("160 c1 U(NONE)\n 180 c1 SHARED");
    a.run("175 c1 SHARED\n 200 c1 U(NONE)");
    a.write(dir.path());
    b.write(dir.path());
    events.extend(follow.poll(None).unwrap().events);
    let last = follow.finish();
    events.extend(last.events);
    ended += last.ended.len();
    let trace = Trace::open(dir.path()).unwrap();
    let expected: Vec<Event> = trace.events().unwrap().collect();
    assert_eq!((events, ended, follow.late()), (expected, 2, 0));
    let totals: u64 = (0..2).map(|log| follow.tally(sqlite_locktrace::trace::LogId(log)).0.read).sum();
    assert_eq!(totals, 9);
}
