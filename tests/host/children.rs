//! Children that no fork handler sees: each has a log of its own, and its records are never taken for the parent's.

use crate::harness::{Host, With};
use serde_json::Value;
use sqlite_locktrace::trace::Trace;

const BOTH: [With; 2] = [With::Run, With::Extension];

/// The child's statements are in its log alone, and the report names it as the holder.
fn kept_apart(words: &[&str]) {
    let Some(host) = Host::of(&["children"]) else { return };
    for ran in host.same(&BOTH, &[&["children"], words].concat()) {
        let trace = Trace::open(&ran.trace).unwrap();
        let mut of = Vec::new();
        for log in trace.logs() {
            let texts: Vec<&str> = log.names.sqls().map(|sql| &*sql.text.text).collect();
            of.push((texts.iter().any(|sql| sql.contains("of the parent")), texts.iter().any(|sql| sql.contains("of the child"))));
        }
        of.sort_unstable();
        of.retain(|of| *of != (false, false));
        assert_eq!(of, [(false, true), (true, false)], "{words:?}: a log with the parent's statements and one with the child's");
        let report = host.command(env!("CARGO_BIN_EXE_locktrace")).args(["report", "--json"]).arg(&ran.trace).output().unwrap();
        let report: Value = serde_json::from_slice(&report.stdout).unwrap();
        let refusals = report["refusals"].as_array().unwrap();
        assert!(!refusals.is_empty(), "{words:?}: the parent was refused");
        for refusal in refusals {
            let holders = refusal["holders"].as_array().unwrap();
            assert!(!holders.is_empty(), "{words:?}: {refusal}");
            for holder in holders {
                assert_ne!(holder["pid"], Value::Null, "{words:?}: {refusal}");
                assert_ne!(holder["pid"], refusal["pid"], "{words:?}: the holder is another process: {refusal}");
            }
            assert_ne!(refusal["in_process"], Value::Bool(true), "{words:?}: {refusal}");
        }
    }
}

#[test]
fn a_child_of_fork() {
    kept_apart(&["fork"]);
}

#[test]
fn a_child_of_the_raw_clone_call() {
    kept_apart(&["clone"]);
}

#[test]
fn a_child_of_the_raw_clone3_call() {
    kept_apart(&["clone3"]);
}

#[test]
fn a_child_of_fork_without_handlers() {
    kept_apart(&["_fork"]);
}

#[test]
fn a_child_of_a_thread_by_the_raw_clone_call() {
    kept_apart(&["thread", "clone"]);
}

#[test]
fn a_child_of_vfork_that_executes_a_program() {
    kept_apart(&["vfork"]);
}

#[test]
fn a_child_of_posix_spawn() {
    kept_apart(&["spawn"]);
}
