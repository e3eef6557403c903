//! The judge: random workloads that log what every call returned, and a report that must say exactly that.
//!
//! `workload.py` runs under `locktrace run` with one seed after the other. Then the report is held against the workload's own log:
//!
//! * As many errors are reported as the application saw, and each is one that this connection saw at that time.
//! * A holder that is called certain was in a call, a transaction or a cursor while the victim waited.
//! * `check` passes only where no call failed.
//!
//! `LOCKTRACE_HONESTY_RUNS=200` runs more seeds, `LOCKTRACE_HONESTY_SEED=7` begins with another one.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "cli")]

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

const PYTHON: &str = "/usr/bin/python3";

/// Two clocks are read for a time in the log, and two for a time in the trace.
const SLACK_NS: u64 = 2_000_000;

/// A call of the workload.
struct Called {
    sql: String,
    span: (u64, u64),
    error: Option<String>,
    /// A transaction or a cursor is open after it.
    holds: bool,
}

impl Called {
    fn is_locked(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error.starts_with("SQLITE_BUSY"))
    }
}

/// The calls of each connection, in their order.
type Log = BTreeMap<String, Vec<Called>>;

fn log(dir: &Path) -> Log {
    let mut log = Log::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            for line in std::fs::read_to_string(path).unwrap().lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                log.entry(line["connection"].as_str().unwrap().to_owned()).or_default().push(Called {
                    sql: line["sql"].as_str().unwrap().to_owned(),
                    span: (line["from"].as_u64().unwrap(), line["to"].as_u64().unwrap()),
                    error: line["error"].as_str().map(str::to_owned),
                    holds: line["holds"].as_bool().unwrap(),
                });
            }
        }
    }
    log
}

/// The connection that a statement names in its comment.
fn connection(party: &Value) -> Option<&str> {
    party["sql"].as_str()?.split_once("/* ")?.1.strip_suffix(" */")
}

fn instant(text: &Value) -> u64 {
    let time = humantime::parse_rfc3339(text.as_str().unwrap()).unwrap();
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as u64
}

/// Whether a connection was in a call, a transaction or a cursor in this time.
fn may_hold(calls: &[Called], (from, to): (u64, u64)) -> bool {
    calls.iter().enumerate().any(|(place, call)| {
        let until = match calls.get(place + 1) {
            Some(next) if call.holds => next.span.1,
            _ => call.span.1,
        };
        call.span.0 <= to + SLACK_NS && from <= until + SLACK_NS
    })
}

/// What a run was like.
#[derive(Default)]
struct Sums {
    seen: usize,
    reported: usize,
    certain: usize,
    unexplained: usize,
}

/// Runs one seed; returns what the report says that is not so.
fn judge(seed: u64, sums: &mut Sums) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let locktrace = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_locktrace"));
        command.args(arguments).env("LOCKTRACE_DIR", &trace).current_dir(dir.path()).output().unwrap()
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/honesty/workload.py");
    let run = locktrace(&["run", PYTHON, script.to_str().unwrap(), &seed.to_string(), dir.path().to_str().unwrap()]);
    assert!(run.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&run.stderr));
    let report: Value = serde_json::from_slice(&locktrace(&["report", "--json"]).stdout).unwrap();
    assert_eq!(report["losses"]["lossless"], true, "seed {seed}: the ring is large enough");
    let log = log(dir.path());
    let mut wrong = Vec::new();

    let seen = log.values().flatten().filter(|call| call.is_locked()).count();
    let errors = |incident: &&Value| incident["outcome"] == "gave-up" && incident["told_busy"] == false;
    let incidents = report["incidents"].as_array().unwrap();
    let reported = incidents.iter().filter(errors).count();
    if seen != reported {
        wrong.push(format!("the application saw {seen} errors, {reported} are reported"));
    }
    for incident in incidents {
        let first = instant(&incident["first"]);
        let span = (first, first + incident["waited_ns"].as_u64().unwrap_or(0));
        if errors(&incident)
            && let Some(calls) = connection(&incident["victim"]).and_then(|name| log.get(name))
            && !calls.iter().any(|call| call.is_locked() && call.span.0 <= span.1 + SLACK_NS && span.0 <= call.span.1 + SLACK_NS)
        {
            wrong.push(format!("no call failed then: {incident}"));
        }
        for blocker in incident["blockers"].as_array().unwrap().iter().filter(|blocker| blocker["certain"] == true) {
            sums.certain += 1;
            let calls = connection(blocker).and_then(|name| log.get(name));
            if calls.is_some_and(|calls| incident["cause"] != "stale-snapshot" && !may_hold(calls, span)) {
                wrong.push(format!("a certain holder held nothing then: {blocker} of {incident}"));
            }
        }
        sums.unexplained += usize::from(incident["cause"] == "unexplained");
    }
    let check = locktrace(&["check"]);
    if seen > 0 && check.status.success() {
        wrong.push(format!("check passes, and {seen} calls failed"));
    }
    (sums.seen, sums.reported) = (sums.seen + seen, sums.reported + reported);
    for (name, calls) in &log {
        let other = calls.iter().find(|call| call.error.is_some() && !call.is_locked());
        if let Some(call) = other {
            wrong.push(format!("{name}: {} failed with {:?}: this is no workload about locks", call.sql, call.error));
        }
    }
    wrong
}

#[test]
fn reports_say_what_the_application_saw() {
    let number = |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |value| value.parse().unwrap());
    let (first, runs) = (number("LOCKTRACE_HONESTY_SEED", 1), number("LOCKTRACE_HONESTY_RUNS", 20));
    let mut sums = Sums::default();
    let mut wrong = Vec::new();
    for seed in first..first + runs {
        wrong.extend(judge(seed, &mut sums).into_iter().map(|what| format!("seed {seed}: {what}")));
    }
    println!(
        "{runs} runs: {} errors seen, {} reported, {} certain holders, {} unexplained",
        sums.seen, sums.reported, sums.certain, sums.unexplained
    );
    assert!(sums.seen > 0 && sums.certain > 0, "the workloads contend");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
