//! Holders that no trace has: the recorder asks `/proc/locks` at a refusal, and the report names the process; on both SQLites.
#![allow(clippy::unwrap_used)]

use crate::live::host::{Process, system};
use crate::live::stage::{Stage, locktrace, on_both};
use serde_json::{Value, json};
use std::path::Path;

const BUSY: u64 = 5;

/// A process that holds locks on the database, untraced; see `tests/programs/holder.py`.
fn holder(s: &Stage, arguments: &[&str]) -> Process {
    let mut command = system("/usr/bin/python3", "python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/holder.py")).arg(s.database()).args(arguments);
    let mut process = Process::start(command);
    process.answer();
    process
}

/// The report as an object, and as text: the same from the directory and from its export.
fn report(s: &Stage) -> (Value, String) {
    let traces = s.traces();
    let traces = traces.to_str().unwrap();
    let export = s.dir().join("export.jsonl");
    std::fs::write(&export, locktrace(&["cat", traces, "--json"])).unwrap();
    let both = |arguments: &[&str]| {
        // But for the commands, which name the trace.
        let of = |path: &str| {
            let report = String::from_utf8(locktrace(&[&["report", path][..], arguments].concat())).unwrap();
            report.replace(&format!("locktrace explain {path} "), "locktrace explain ")
        };
        let text = of(traces);
        assert_eq!(text, of(export.to_str().unwrap()));
        text
    };
    (serde_json::from_str(&both(&["--json"])).unwrap(), both(&["--all"]))
}

/// What the refusals of this report say of holders outside: whether it was asked here, and `[pid, how, mode, locks, own]` of each.
fn answers(report: &Value) -> Vec<Value> {
    let refusals = report["refusals"].as_array().unwrap().iter().filter(|refusal| refusal["closing"] == false);
    let of = |refusal: &Value| {
        let holders = refusal["outside"]["holders"].as_array()?;
        let holders =
            holders.iter().map(|of| json!([of["pid"], of["how"], of["mode"], of["locks"], of["own"]])).collect::<Vec<_>>();
        Some(json!([refusal["outside"]["asked_here"], holders]))
    };
    refusals.map(|refusal| of(refusal).unwrap_or_default()).collect()
}

/// Makes the database in this journal mode; connection A stays.
fn prepare(s: &mut Stage, mode: &str) {
    s.open("A");
    s.sql("A", &format!("PRAGMA journal_mode={mode}"));
    s.sql("A", "CREATE TABLE t(v)");
    s.sql("A", "INSERT INTO t VALUES(1)");
}

/// One lock of one process that is not this one.
fn one(here: bool, pid: u32, how: &str, mode: &str, lock: &str) -> Value {
    json!([here, [[pid, how, mode, [lock], false]]])
}

#[test]
fn a_writer_outside_the_trace_is_named() {
    on_both(|s| {
        prepare(s, "delete");
        let outside = holder(s, &["sql", "BEGIN IMMEDIATE"]);
        s.fails(BUSY, "A", "BEGIN IMMEDIATE");
        let (report, text) = report(s);
        let pid = outside.pid();
        assert_eq!(answers(&report), [one(true, pid, "posix", "write", "RESERVED")]);
        let found = &report["refusals"][0]["outside"]["holders"][0];
        assert_eq!((&found["comm"], &found["exact"]), (&json!("python3"), &json!(true)));
        assert_eq!(found["argv"][0], "/usr/bin/python3");
        assert!(found["started"].as_u64().unwrap() > 0 && report["refusals"][0]["outside"]["after_ns"].as_u64().unwrap() > 0);
        assert_eq!((&report["outside_holder"]["pid"], &report["outside_holder"]["attempts"]), (&json!(pid), &json!(1)));
        assert!(text.contains(&format!("RESERVED held outside the trace by pid {pid} /usr/bin/python3 ")), "{text}");
        assert!(text.contains("Outside the trace: pid "), "{text}");
        assert!(!text.contains("no traced connection"), "{text}");
        outside.quit();
        s.sql("A", "BEGIN IMMEDIATE");
    });
}

#[test]
fn an_exclusive_holder_refuses_readers() {
    on_both(|s| {
        prepare(s, "delete");
        let outside = holder(s, &["sql", "BEGIN EXCLUSIVE"]);
        s.fails(BUSY, "A", "SELECT * FROM t");
        assert_eq!(answers(&report(s).0), [one(true, outside.pid(), "posix", "write", "EXCLUSIVE")]);
        outside.quit();
    });
}

#[test]
fn a_reader_outside_the_trace_stops_a_commit() {
    on_both(|s| {
        prepare(s, "delete");
        let outside = holder(s, &["sql", "SELECT v FROM t UNION ALL SELECT v FROM t"]);
        s.sql("A", "BEGIN IMMEDIATE");
        s.sql("A", "UPDATE t SET v = 2");
        s.fails(BUSY, "A", "COMMIT");
        assert_eq!(answers(&report(s).0), [one(true, outside.pid(), "posix", "read", "SHARED")]);
        outside.quit();
        s.sql("A", "COMMIT");
    });
}

#[test]
fn in_wal_mode_writers_and_readers_are_named() {
    on_both(|s| {
        prepare(s, "wal");
        let writer = holder(s, &["sql", "BEGIN IMMEDIATE"]);
        s.fails(BUSY, "A", "INSERT INTO t VALUES(2)");
        assert_eq!(answers(&report(s).0), [one(true, writer.pid(), "posix", "write", "WRITE")]);
        writer.quit();
        s.sql("A", "INSERT INTO t VALUES(2)");
        let reader = holder(s, &["sql", "BEGIN", "SELECT v FROM t UNION ALL SELECT v FROM t"]);
        s.sql("A", "INSERT INTO t VALUES(3)");
        s.sql("A", "PRAGMA wal_checkpoint(RESTART)");
        assert_eq!(s.rows()[0][0], 1, "the checkpoint was busy");
        let (report, _) = report(s);
        let last = answers(&report).pop().unwrap();
        assert_eq!(last[1][0][0], reader.pid(), "{last}");
        assert_eq!((&last[1][0][2], &last[1][0][4]), (&json!("read"), &json!(false)));
        assert!(last[1][0][3][0].as_str().unwrap().starts_with("READ"), "{last}");
        reader.quit();
    });
}

#[test]
fn locks_of_an_open_file_description_have_no_process() {
    on_both(|s| {
        prepare(s, "delete");
        let outside = holder(s, &["ofd", "", "w", "1073741825", "1"]);
        s.fails(BUSY, "A", "BEGIN IMMEDIATE");
        let (report, text) = report(s);
        assert_eq!(answers(&report), [json!([true, [[-1, "ofd", "write", ["RESERVED"], false]]])]);
        assert!(text.contains("RESERVED held outside the trace by an open file description (an OFD lock"), "{text}");
        outside.quit();
    });
}

/// A lock that does not conflict is not accused, though it is on the same file.
#[test]
fn who_is_not_in_the_way_is_not_named() {
    on_both(|s| {
        prepare(s, "delete");
        let bystander = holder(s, &["flock", "", "w", "0", "0"]);
        let other = holder(s, &["posix", "", "w", "0", "100"]);
        let reader = holder(s, &["sql", "SELECT v FROM t UNION ALL SELECT v FROM t"]);
        let writer = holder(s, &["sql", "BEGIN IMMEDIATE"]);
        s.fails(BUSY, "A", "BEGIN IMMEDIATE");
        assert_eq!(answers(&report(s).0), [one(true, writer.pid(), "posix", "write", "RESERVED")]);
        for process in [bystander, other, reader, writer] {
            process.quit();
        }
    });
}

/// A traced holder is named by its trace, and the kernel's word is not needed.
#[test]
fn a_certain_holder_makes_the_kernels_answer_needless() {
    on_both(|s| {
        prepare(s, "wal");
        let a = s.pid("A");
        s.process();
        s.open("B");
        s.sql("A", "BEGIN IMMEDIATE");
        s.fails(BUSY, "B", "BEGIN IMMEDIATE");
        s.sql("A", "COMMIT");
        let (report, text) = report(s);
        assert_eq!(answers(&report), [one(true, a, "posix", "write", "WRITE")], "the kernel says the same");
        assert_eq!(report["refusals"][0]["holders"][0]["certain"], true);
        assert!(!text.contains("utside the trace") && report["outside_holder"].is_null(), "{text}");
    });
}

/// In one process no system call fails, and the record says so; nobody needs to ask.
#[test]
fn inside_one_process_nobody_asks() {
    on_both(|s| {
        prepare(s, "wal");
        s.open("B");
        s.sql("A", "BEGIN IMMEDIATE");
        s.fails(BUSY, "B", "BEGIN IMMEDIATE");
        let (report, _) = report(s);
        let refusal = &report["refusals"][0];
        assert_eq!((&refusal["in_process"], &refusal["outside"]), (&json!(true), &Value::Null), "{refusal}");
    });
}

/// One run of refusals asks once, and its other attempts say where to look; after a lock was given back, another run asks again.
#[test]
fn a_run_of_refusals_asks_once() {
    on_both(|s| {
        prepare(s, "delete");
        s.sql("A", "PRAGMA busy_timeout=4");
        for lap in 1..=2 {
            let outside = holder(s, &["sql", "BEGIN IMMEDIATE"]);
            s.fails(BUSY, "A", "DELETE FROM t");
            let (report, text) = report(s);
            let answers = answers(&report);
            let asked: Vec<bool> = answers.iter().filter_map(|answer| answer[0].as_bool()).collect();
            assert_eq!(asked.iter().filter(|&&here| here).count(), lap, "{answers:?}");
            assert!(asked.len() >= lap * 3 && text.contains("at an earlier attempt: RESERVED held outside the trace"), "{text}");
            outside.quit();
            s.sql("A", "DELETE FROM t");
        }
    });
}
