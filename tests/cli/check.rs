//! `locktrace check` on traces with losses: which losses make a clean result uncertain, and which do not.
//!
//! Each case is a trace with something missing, and what `check` prints with these limits, from the directory, from its export and
//! from standard input alike.
#![allow(clippy::unwrap_used)]

use crate::common::Process;
use std::path::Path;
use std::process::{Command, Stdio};

fn locktrace(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_locktrace"));
    command.args(arguments).env_remove("LOCKTRACE_DIR");
    command
}

/// Exit code and output, the same in all three ways to give the trace.
fn check(dir: &Path, limits: &[&str]) -> (i32, String) {
    let path = dir.to_str().unwrap();
    let output = locktrace(&[&["check", path], limits].concat()).output().unwrap();
    let direct = (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap());
    if direct.0 == 2 && direct.1.is_empty() {
        return (2, String::from_utf8(output.stderr).unwrap());
    }
    let lines = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(lines.path(), locktrace(&["cat", path, "--json"]).output().unwrap().stdout).unwrap();
    let export = locktrace(&[&["check", lines.path().to_str().unwrap()], limits].concat()).output().unwrap();
    assert_eq!((export.status.code().unwrap(), String::from_utf8(export.stdout).unwrap()), direct, "the export");
    let stdin = Stdio::from(std::fs::File::open(lines.path()).unwrap());
    let piped = locktrace(&[&["check", "-"], limits].concat()).stdin(stdin).output().unwrap();
    assert_eq!((piped.status.code().unwrap(), String::from_utf8(piped.stdout).unwrap()), direct, "standard input");
    direct
}

/// A process with ten short transactions, 10 ms apart, from 1 s on. Its ring has room for as many again.
fn healthy(pid: u32) -> Process {
    let mut process = Process::new(pid);
    process.names.iter_mut().for_each(|line| *line = line.replace(r#""options":null"#, r#""options":["THREADSAFE=1"]"#));
    process.run("1000 c1 open");
    for at in (0..10).map(|n| 1_000_000 + 10_000 * n) {
        process.run(&format!("{at} c1 SHARED\n{} c1 RESERVED -- UPDATE t SET v = 1\n{} c1 U(NONE)", at + 10, at + 300));
    }
    process.header.capacity = 256;
    process
}

/// Makes the records with these numbers unreadable.
fn tear(dir: &Path, process: &Process, numbers: std::ops::Range<usize>) {
    let path = dir.join(format!("{}.ring", process.id));
    let mut bytes = std::fs::read(&path).unwrap();
    for number in numbers {
        bytes[4096 + 64 * number + 9] ^= 1;
    }
    std::fs::write(path, bytes).unwrap();
}

#[track_caller]
fn says(dir: &Path, limits: &[&str], code: i32, what: &str) {
    let (found, text) = check(dir, limits);
    assert_eq!(found, code, "{limits:?}: {text}");
    assert!(text.contains(what), "{limits:?}: {text}");
}

#[test]
fn a_lost_record_may_have_been_a_refusal_but_no_long_wait() {
    let dir = tempfile::tempdir().unwrap();
    let process = healthy(100);
    process.write(dir.path());
    says(dir.path(), &[], 0, "within all limits");
    tear(dir.path(), &process, 11..12);
    says(dir.path(), &[], 2, "cannot decide: log 100-17979cfe362a0000 (pid 100 app): 1 record missing at +1.");
    says(dir.path(), &["--no-refusals"], 2, "no breach was found, but missing records may hide one");
    says(dir.path(), &["--no-hazards"], 2, "missing");
    // The records before and behind are 300 µs apart.
    says(dir.path(), &["--max-wait", "1ms"], 0, "within all limits");
    says(dir.path(), &["--max-wait", "100us"], 2, "missing");
    // What was taken there may have been held to the end of the process, 9 s later.
    says(dir.path(), &["--max-hold", "9s"], 0, "within all limits");
    says(dir.path(), &["--max-hold", "8s"], 2, "missing");
    // A SQLite that may have waited inside the system call.
    let names = dir.path().join(format!("{}.names", process.id));
    std::fs::write(&names, std::fs::read_to_string(&names).unwrap().replace("THREADSAFE=1", "ENABLE_SETLK_TIMEOUT=1")).unwrap();
    says(dir.path(), &["--max-wait", "1ms"], 2, "missing");
}

#[test]
fn a_wait_with_a_hole_is_as_long_as_both_its_parts() {
    let attempt = |at: u64| format!("{at} c1 S READ1\n{} c1 X WRITE=BUSY -- INSERT\n{} c1 U READ1\n", at + 10, at + 20);
    let sleep = |at: u64| format!("{at}+100000 c1 sleep 100000\n");
    let dir = tempfile::tempdir().unwrap();
    let mut process = healthy(100);
    process.run("2000000 c1 open\n2000001 c1 map\n2000002 c1 SHARED");
    let first = process.records.len();
    for n in 0..8 {
        let at = 2_100_000 + 100_100 * n;
        process.run(&format!("{}{}", attempt(at), sleep(at + 30)));
    }
    process.run("3000000 c1 S READ1\n3000010 c1 X WRITE -- INSERT\n3000100 c1 U WRITE\n3000110 c1 U READ1");
    process.write(dir.path());
    says(dir.path(), &["--max-wait", "1s"], 0, "within");
    says(dir.path(), &["--max-wait", "850ms"], 1, "max-wait: incident 1");
    // Whatever the two parts are taken for, together they are too long.
    tear(dir.path(), &process, first + 14..first + 17);
    let (code, text) = check(dir.path(), &["--max-wait", "600ms"]);
    assert_ne!(code, 0, "{text}");
    says(dir.path(), &["--max-wait", "2s"], 0, "within");
}

#[test]
fn a_record_in_flight_when_its_process_died_is_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = healthy(100);
    process.header.head = process.records.len() as u64 + 1;
    process.write(dir.path());
    for limits in [&[][..], &["--no-hazards"], &["--max-hold", "1ms"], &["--max-wait", "1ms"]] {
        says(dir.path(), limits, 0, "within all limits");
    }
    // One that was never written, with others behind it, is a loss: its program went on.
    let path = dir.path().join(format!("{}.ring", process.id));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096 + 64 * 7..4096 + 64 * 8].fill(0);
    std::fs::write(&path, bytes).unwrap();
    says(dir.path(), &[], 2, "1 record missing at +");
    process.write(dir.path());
    // Behind the end of a file that was cut there can have been anything.
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..4096 + 64 * 20]).unwrap();
    says(dir.path(), &["--max-wait", "1h"], 2, "missing at its end");
}

#[test]
fn what_a_ring_has_overwritten_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = healthy(100);
    process.header.capacity = 16;
    process.write(dir.path());
    says(
        dir.path(),
        &[],
        2,
        "the 15 records before were overwritten; record with a larger LOCKTRACE_LIMIT, or check only what is kept: --kept",
    );
    says(dir.path(), &["--kept"], 0, "notice: log 100-17979cfe362a0000 (pid 100 app): checked from 2023-11-14T22:13:21.040Z on");
    // Within the second that the log had been there, there is no room for a longer wait.
    says(dir.path(), &["--max-wait", "2s"], 0, "within");
    says(dir.path(), &["--max-wait", "500ms"], 2, "overwritten");
    // What is lost behind the overwritten ones is lost.
    tear(dir.path(), &process, 4..5);
    says(dir.path(), &["--kept"], 2, "1 record missing");
}

#[test]
fn only_losses_of_the_database_in_question_matter() {
    let dir = tempfile::tempdir().unwrap();
    healthy(100).write(dir.path());
    let mut other = healthy(200);
    other
        .names
        .iter_mut()
        .for_each(|line| *line = line.replace("/data/app.db", "/data/other.db").replace(r#""ino":42"#, r#""ino":43"#));
    other.write(dir.path());
    tear(dir.path(), &other, 5..6);
    says(dir.path(), &[], 2, "log 200-");
    says(dir.path(), &["--database", "app.db"], 0, "within");
    says(dir.path(), &["--database", "/data/app.db"], 0, "within");
    says(dir.path(), &["--database", "other.db"], 2, "log 200-");
    says(dir.path(), &["--database", "app.db", "--database", "other.db"], 2, "log 200-");
    says(dir.path(), &["--database", "pp.db"], 2, "its databases are /data/app.db, /data/other.db");
    // Which databases it opened is not known for certain.
    other.header.lost_names = 1;
    other.write(dir.path());
    tear(dir.path(), &other, 5..6);
    says(dir.path(), &["--database", "app.db"], 2, "log 200-");
}

#[test]
fn breaches_are_those_of_the_database_in_question() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = healthy(100);
    process.run(
        "2000000 c2 open\n2000010 c2 SHARED\n2000020 c2 RESERVED -- BEGIN IMMEDIATE
         2000100 c1 SHARED\n2000110 c1 RESERVED=BUSY -- UPDATE t SET v = 2\n2000120 c1 U(NONE)
         2900000 c2 U(NONE)",
    );
    process.database(2, "/data/other.db", 43).run("3000000 c3 open\n3000010 c3 SHARED\n3000020 c3 U(NONE)");
    process.write(dir.path());
    says(dir.path(), &["--database", "app.db"], 1, "no-gave-up: incident 1");
    says(dir.path(), &["--database", "other.db"], 0, "within");
    says(dir.path(), &["--database", "app.db", "--max-hold", "100ms"], 1, "max-hold: /data/app.db");
    says(dir.path(), &["--database", "other.db", "--max-hold", "100ms"], 0, "within");
}

#[test]
fn lost_names_hide_no_breach() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = healthy(100);
    process.header.lost_names = 3;
    process.name("not JSON").name(r#"{"t":"weather","sun":true}"#);
    process.write(dir.path());
    says(dir.path(), &[], 0, "within all limits");
}

#[test]
fn a_log_that_cannot_be_read_may_hide_anything() {
    for (name, bytes) in [("200-1.ring", &b"not a ring"[..]), ("200-1.names", b"")] {
        let dir = tempfile::tempdir().unwrap();
        healthy(100).write(dir.path());
        std::fs::write(dir.path().join(name), bytes).unwrap();
        says(dir.path(), &["--max-wait", "1h"], 2, "cannot decide: ");
        says(dir.path(), &["--kept"], 2, "200-1");
    }
}

#[test]
fn a_recording_that_was_stopped_saw_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = healthy(100);
    process.name(r#"{"t":"recording","on":false,"ticks":"00000000000000ff"}"#);
    process.write(dir.path());
    says(dir.path(), &[], 2, "paused the recording");
}

#[test]
fn two_short_holds_are_not_one_long_one() {
    let holding = "2000000 c1 SHARED\n2000010 c1 RESERVED -- BEGIN IMMEDIATE
                   2100000 c1 wrote journal 10\n2200000 c1 wrote journal 10\n2300000 c1 wrote journal 10\n2400000 c1 U(NONE)";
    let dir = tempfile::tempdir().unwrap();
    let mut process = healthy(100);
    let first = process.records.len();
    process.run(holding).write(dir.path());
    says(dir.path(), &["--max-hold", "300ms"], 1, "max-hold");
    // One record is a release or an acquisition, but not both.
    tear(dir.path(), &process, first + 3..first + 4);
    says(dir.path(), &["--max-hold", "300ms"], 1, "max-hold");
    tear(dir.path(), &process, first + 4..first + 5);
    says(dir.path(), &["--max-hold", "300ms"], 2, "or several shorter holds: records in between are missing");
}

/// Twelve attempts without a sleep of SQLite's, and the lock in the end.
#[test]
fn attempts_without_a_sleep_may_all_be_errors() {
    let tries = |program: &str| {
        let mut process = Process::new(7);
        process.names.iter_mut().for_each(|line| *line = line.replace("/usr/bin/app", program));
        process.run("10 c1 open\n20 c2 open\n100 c1 SHARED -- UPDATE a\n110 c1 RESERVED -- UPDATE a\n");
        for at in (0..12).map(|n| 1_000 + n * 50_000) {
            process.run(&format!("{at} c2 SHARED -- UPDATE b\n{} c2 RESERVED=BUSY -- UPDATE b\n{} c2 U(NONE)", at + 10, at + 20));
        }
        process.run("590000 c1 U(NONE)\n601000 c2 SHARED -- UPDATE b\n601010 c2 RESERVED -- UPDATE b\n601100 c2 U(NONE)");
        let dir = tempfile::tempdir().unwrap();
        process.write(dir.path());
        dir
    };
    // It may have a busy handler of its own.
    let (code, said) = check(tries("/usr/bin/app").path(), &[]);
    assert!(code == 0 && said.starts_with("notice: incident 1: pid 7 thread 102 c2 made 12 attempts"), "{said}");
    // The shell has none: somebody tried again.
    let shell = tries("/usr/bin/sqlite3");
    let (code, said) = check(shell.path(), &[]);
    assert!(code == 2 && said.starts_with("cannot decide: incident 1: pid 7 thread 102 c2 made 12 attempts"), "{said}");
    for limits in [&["--no-gave-up", "--allow", "hold-exceeds-timeout"][..], &["--max-wait", "10s"]] {
        assert_eq!(check(shell.path(), limits), (0, "within all limits\n".to_owned()), "{limits:?}");
    }
}
