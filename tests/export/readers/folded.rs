//! Flame graphs that `inferno` makes of the folded stacks, read by a parser of XML (expat, Python's).

use super::export;
use crate::common::{Process, contended};
use inferno::flamegraph::{self, Options};
use serde_json::Value;
use sqlite_locktrace::analysis::{Analysis, Options as Kept};
use sqlite_locktrace::trace::Trace;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The frames of the flame graph, as their tooltips have it, with their times in all: `all` is the sum of all stacks.
fn drawn(folded: &[u8]) -> BTreeMap<String, u64> {
    let mut options = Options::default();
    options.count_name = "microseconds".to_owned();
    // Whatever is short is drawn, too.
    options.min_width = 0.0;
    let mut svg = Vec::new();
    flamegraph::from_reader(&mut options, folded, &mut svg).unwrap();
    let script = "import sys, json, xml.etree.ElementTree as tree
root = tree.parse(sys.stdin.buffer).getroot()
svg = '{http://www.w3.org/2000/svg}'
assert root.tag == svg + 'svg'
assert len(list(root.iter(svg + 'script'))) == 1, 'the one of the flame graph itself'
print(json.dumps([title.text for title in root.iter(svg + 'title')]))";
    let mut python = Command::new("/usr/bin/python3");
    let mut python =
        python.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(&svg).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let titles: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
    let mut sums = BTreeMap::new();
    for title in titles {
        // `frame (1,234 microseconds, 5.60%)`: a profile to compare with would give a second percentage.
        let (name, rest) = title.rsplit_once(" (").unwrap();
        let (time, percent) = rest.split_once(" microseconds, ").unwrap();
        assert!(percent.ends_with("%)") && !percent.contains(';'), "{title}");
        // (The blank before a number at the end of a stack is one that does not separate.)
        *sums.entry(name.replace('\u{a0}', " ")).or_default() += time.replace(',', "").parse::<u64>().unwrap();
    }
    sums
}

/// What all incidents waited, in whole microseconds each.
fn waited(trace: &Path) -> u64 {
    let trace = Trace::open(trace).unwrap();
    let analysis = Analysis::of(&trace, Kept::default()).unwrap();
    let us = analysis.incidents.iter().map(|one| analysis.ns(one.who.log, one.first, one.until).unwrap() / 1_000);
    us.sum()
}

#[test]
fn victims_and_blockers_have_their_frames_and_their_time() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    let frames = drawn(&export(dir.path(), "folded"));
    let all = waited(dir.path());
    assert_eq!((all, frames["all"], frames["app 200"]), (9_206, 9_206, 9_206));
    for (frame, us) in [
        ("INSERT INTO orders(id, customer, total) VALUES (?1, ?2, ?3)", 9_202),
        ("waits for X WRITE (hold-exceeds-timeout)", 9_202),
        ("app 100", 9_202),
        ("BEGIN IMMEDIATE", 9_202),
        ("nobody in the trace", 4),
    ] {
        assert_eq!(frames.get(frame), Some(&us), "{frame}: {frames:?}");
    }
}

/// The time of one wait goes to all blockers, by the attempts each refused; what division leaves over is not lost.
#[test]
fn time_is_shared_out_among_several_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    crate::hosts::waiters(dir.path());
    let frames = drawn(&export(dir.path(), "folded"));
    let found = ["all", "UPDATE t", "SELECT one", "SELECT two", "SELECT nobody"].map(|frame| frames[frame]);
    assert_eq!((found, waited(dir.path())), ([8_504, 8_502, 5_102, 3_400, 2], 8_504));
}

/// Names and statements that mean something to a flame graph, to XML or to a line: the total is that of all incidents, and the frames are there.
#[test]
fn hostile_names_break_nothing() {
    let long = format!("SELECT '{}'", "x".repeat(1 << 20));
    let cases = [
        ("SELECT 1", "SELECT 1"),
        ("UPDATE t SET v = 2.5", "UPDATE t SET v = 2.5"),
        ("a;b;;c", "a,b,,c"),
        ("</title><script>alert(1)</script>&amp;\"'", "</title><script>alert(1)</script>&amp,\"'"),
        ("one\ntwo\r\n\ttwo 12", "one two two 12"),
        ("\u{0}\u{1b}[2J\u{7f}\u{85}\u{202e}\u{fffe}\u{ffff}", "\\u{0}\\u{1b}[2J\\u{7f}\\u{85}\\u{202e}\\u{fffe}\\u{ffff}"),
        ("--", "--"),
        ("b\u{fffd}", "b\u{fffd}"),
        (" ", "?"),
        (&long, &format!("{}… (1048585 bytes)", &long[..4096])),
    ];
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::new(100);
    process.names[0] = process.names[0].replace("/usr/bin/app", "/usr/bin/<script>;a\\n 9");
    process.thread(102, "]]>;\u{0} 17");
    process.run("1 c1 open\n2 c2 open");
    for (round, (sql, _)) in (1..).zip(&cases) {
        let at = round * 1_000;
        process.run(&format!(
            "{at} c1 SHARED\n{} c1 RESERVED\n{} c2 SHARED\n{} c2 RESERVED=BUSY\n{} c2 sleep 300\n{} c2 RESERVED=BUSY\n{} c2 U(NONE)\n{} c1 U(NONE)",
            at + 10, at + 20, at + 30, at + 40, at + 400, at + 410, at + 420
        ));
        let hash = shim::format::sql_hash(sql.as_bytes());
        let bytes = if *sql == "b\u{fffd}" { Value::from("62ff") } else { Value::Null };
        process.name(
            serde_json::json!({"t": "sql", "sql": format!("{hash:016x}"), "text": sql, "text_bytes": bytes, "len": sql.len()})
                .to_string(),
        );
        let last = process.records.len();
        process.records[last - 8..].iter_mut().for_each(|record| record.sql = hash);
    }
    process.write(dir.path());
    let folded = export(dir.path(), "folded");
    assert!(folded.len() < 100_000, "a megabyte of SQL is cut: {} bytes", folded.len());
    let frames = drawn(&folded);
    let all = waited(dir.path());
    assert_eq!((all, frames["all"]), (372 * cases.len() as u64, 372 * cases.len() as u64));
    for (sql, frame) in cases {
        // The victim's statement, and the blocker's.
        assert_eq!(frames.get(frame), Some(&(2 * 372)), "{}", sql.chars().take(99).collect::<String>());
    }
}
