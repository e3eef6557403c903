//! Two processes on two versions of SQLite that block each other: the report names the right process and its statement.
#![allow(clippy::unwrap_used)]

use crate::live::host::Kind as Host;
use crate::live::stage::{Stage, locktrace, on_both};
use serde_json::{Value, json};

const BUSY: u64 = 5;

/// The report as an object, which must be the same, byte for byte, from the directory and from its export.
fn report(s: &Stage) -> Value {
    let traces = s.traces();
    let traces = traces.to_str().unwrap();
    let export = s.dir().join("export.jsonl");
    std::fs::write(&export, locktrace(&["cat", traces, "--json"])).unwrap();
    let direct = locktrace(&["report", traces, "--json"]);
    let exported = locktrace(&["report", export.to_str().unwrap(), "--json"]);
    assert_eq!(String::from_utf8_lossy(&direct), String::from_utf8_lossy(&exported));
    // But for the commands, which name the trace.
    let text = |path: &str| {
        let report = String::from_utf8(locktrace(&["report", path, "--all"])).unwrap();
        report.replace(&format!("locktrace explain {path} "), "locktrace explain ")
    };
    assert_eq!(text(traces), text(export.to_str().unwrap()));
    serde_json::from_slice(&direct).unwrap()
}

/// The other of the two.
fn other(host: Host) -> Host {
    match host {
        Host::Stock => Host::Bundled,
        Host::Bundled => Host::Stock,
    }
}

/// Connection A of one process in this journal mode, connection B of another one on the other SQLite; the pids of both.
fn two_processes(s: &mut Stage, mode: &str) -> (u32, u32) {
    s.open("A");
    s.sql("A", &format!("PRAGMA journal_mode={mode}"));
    s.sql("A", "CREATE TABLE t(v)");
    let a = s.pid("A");
    let b = s.other_process(other(s.host));
    s.open("B");
    s.sql("B", "SELECT * FROM t");
    s.sql("B", "PRAGMA busy_timeout=3");
    (a, b)
}

/// Whose attempt, for what, and its blockers: everything of a refusal that does not depend on the run.
fn essence(refusal: &Value) -> Value {
    let lock = |value: &Value| [value["lock"].clone(), value["slots"].clone(), value["mode"].clone()];
    let lock = |value: &Value| lock(value).into_iter().find(|name| !name.is_null()).unwrap_or_default();
    let holders: Vec<Value> = refusal["holders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|holder| json!([holder["pid"], holder["lock"], holder["text"], holder["certain"]]))
        .collect();
    json!([refusal["pid"], lock(refusal), refusal["text"], holders])
}

fn refusals(report: &Value) -> Vec<Value> {
    report["refusals"].as_array().unwrap().iter().filter(|refusal| refusal["closing"] == false).map(essence).collect()
}

#[test]
fn the_writer_in_the_way_is_named() {
    on_both(|s| {
        let (a, b) = two_processes(s, "wal");
        s.sql("A", "BEGIN");
        s.sql("A", "UPDATE t SET v = v + 1");
        s.sql("A", "INSERT INTO t VALUES(1)");
        s.fails(BUSY, "B", "DELETE FROM t WHERE v > 7");
        // Its next attempt is another one: after the last refusal SQLite did not sleep, so it was the application that tried again.
        s.sql("A", "COMMIT");
        s.sql("B", "DELETE FROM t WHERE v > 7");
        let report = report(s);
        // Refused, 1 ms, refused, 2 ms, refused.
        let one = json!([b, ["WRITE"], "DELETE FROM t WHERE v > 7", [[a, "WRITE", "UPDATE t SET v = v + 1", true]]]);
        assert_eq!(refusals(&report), [one.clone(), one.clone(), one]);
        let wait = &report["waits"][0];
        assert_eq!(
            json!([wait["pid"], wait["attempts"], wait["sleeps"], wait["slept_us"], wait["outcome"]]),
            json!([b, 3, 2, 3000, "gave_up"])
        );
        let worst = &report["worst_holder"];
        assert_eq!(json!([worst["pid"], worst["certain_attempts"], worst["possible_attempts"]]), json!([a, 3, 0]));
        assert_eq!(report["databases"].as_array().unwrap().len(), 1);
        assert_eq!(report["databases"][0]["processes"], 2);
        assert_eq!(report["databases"][0]["journal_modes"], json!(["wal", "delete"]));
    });
}

#[test]
fn with_a_rollback_journal_readers_and_writers_are_named() {
    on_both(|s| {
        let (a, b) = two_processes(s, "delete");
        s.sql("A", "PRAGMA busy_timeout=1");
        s.sql("B", "BEGIN");
        s.sql("B", "SELECT count(*) FROM t");
        s.sql("A", "BEGIN");
        s.sql("A", "INSERT INTO t VALUES(1)");
        s.fails(BUSY, "B", "INSERT INTO t VALUES(2)");
        s.fails(BUSY, "A", "COMMIT");
        s.sql("B", "COMMIT");
        s.sql("B", "PRAGMA busy_timeout=0");
        s.fails(BUSY, "B", "SELECT v FROM t");
        s.sql("A", "COMMIT");
        s.sql("B", "SELECT v FROM t");
        let commit = json!([a, "EXCLUSIVE", "COMMIT", [[b, "SHARED", "SELECT count(*) FROM t", true]]]);
        assert_eq!(
            refusals(&report(s)),
            [
                json!([b, "RESERVED", "INSERT INTO t VALUES(2)", [[a, "RESERVED", "INSERT INTO t VALUES(1)", true]]]),
                commit.clone(),
                commit,
                json!([b, "SHARED", "SELECT v FROM t", [[a, "PENDING", "COMMIT", true]]]),
            ]
        );
    });
}

#[test]
fn the_reader_in_the_way_of_a_checkpoint_is_named() {
    on_both(|s| {
        let (a, b) = two_processes(s, "wal");
        s.sql("B", "BEGIN");
        s.sql("B", "SELECT count(*) FROM t");
        s.sql("A", "INSERT INTO t VALUES(1)");
        s.sql("A", "PRAGMA wal_checkpoint(PASSIVE)");
        s.sql("B", "COMMIT");
        let reader = json!([b, "READ1", "SELECT count(*) FROM t", true]);
        assert_eq!(refusals(&report(s)), [json!([a, ["READ1"], "PRAGMA wal_checkpoint(PASSIVE)", [reader]])]);
    });
}

#[test]
fn a_killed_holder_is_no_holder_any_more() {
    on_both(|s| {
        let (a, b) = two_processes(s, "wal");
        s.sql("A", "BEGIN IMMEDIATE");
        s.sql("B", "PRAGMA busy_timeout=0");
        s.fails(BUSY, "B", "INSERT INTO t VALUES(1)");
        s.kill("A");
        s.sql("B", "INSERT INTO t VALUES(2)");
        let refusals = refusals(&report(s));
        assert_eq!(refusals.len(), 1);
        assert_eq!(refusals[0][0], b);
        assert_eq!(refusals[0][3][0][0], a);
        assert_eq!(refusals[0][3][0][2], "BEGIN IMMEDIATE");
    });
}
