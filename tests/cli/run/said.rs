//! The summary that `locktrace run` prints at the end, and the place of the trace.

use super::{Seen, WRITES, seen};
use crate::place::{PYTHON, Place, parts};

#[test]
fn a_trace_that_is_there_stays_as_it_is() {
    let place = Place::new();
    assert_eq!(place.run(&[PYTHON, "-c", WRITES, "a.db"]).status.code(), Some(0));
    let before = seen(&place);
    let (code, out, err) = parts(&place.run(&[PYTHON, "-c", WRITES, "b.db"]));
    assert_eq!((code, &*out), (Some(2), ""));
    assert!(err.contains("-o DIR") && err.contains("--add"), "{err}");
    assert!(!place.path("b.db").exists(), "nothing was started");
    assert_eq!(seen(&place).records, before.records);
    let add = ["run", "--add", "--sql", "off", "--limit", "1M", "--report", PYTHON, "-c", WRITES, "b.db"];
    let (code, out, err) = parts(&place.locktrace(&add));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("1\n") && out.contains("No attempt to take a lock was refused.") && out.contains("b.db"), "{out}");
    assert!(err.contains("from 2 processes") && err.contains("with what was there before"), "{err}");
    assert_eq!(seen(&place).writers, ["CREATE TABLE t(x)", "INSERT INTO t VALUES(1)", "", ""]);
    // The directory may be there, as long as no trace is in it; and the environment names it where no option does.
    std::fs::create_dir(place.path("other")).unwrap();
    let other = place.path("other");
    let mut command = place.command(env!("CARGO_BIN_EXE_locktrace"));
    let output = command.env("LOCKTRACE_DIR", &other).args(["run", PYTHON, "-c", WRITES, "c.db"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(Seen::in_directory(&other).opened, ["c.db"]);
}

/// The lines of `locktrace run` itself.
fn own_lines(err: &str) -> Vec<&str> {
    err.lines().filter(|line| line.starts_with("locktrace: ")).collect()
}

#[test]
fn the_summary_names_who_was_in_the_way() {
    let place = Place::new();
    let program = "
import sqlite3
a, b = sqlite3.connect('a.db'), sqlite3.connect('a.db', timeout=0)
a.execute('BEGIN IMMEDIATE')
try: b.execute('BEGIN IMMEDIATE')
except sqlite3.OperationalError as error: print(error)
";
    let (code, out, err) = parts(&place.run(&[PYTHON, "-c", program]));
    assert_eq!((code, &*out), (Some(0), "database is locked\n"), "{err}");
    let [saw, worst, next] = own_lines(&err)[..] else { panic!("{err}") };
    assert!(saw.starts_with("locktrace: the application saw `database is locked` 1 time ("), "{err}");
    assert!(worst.starts_with("locktrace: worst: no-busy-timeout (1 time, 1 error, "), "{err}");
    // On a busy machine the second connection comes so late that the first one was idle by then.
    let holder = [" c1, running, with RESERVED: BEGIN IMMEDIATE", " c1, idle-in-transaction, with RESERVED: BEGIN IMMEDIATE"];
    assert!(worst.contains("): blocked by pid ") && holder.iter().any(|holder| worst.ends_with(holder)), "{err}");
    let dir = next.split_once("locktrace explain ").unwrap().1.split(' ').next().unwrap();
    assert!(
        next.ends_with(&format!("; its proof: locktrace explain {dir} --incident 1; everything: locktrace report {dir}")),
        "{err}"
    );
    let explained = place.locktrace(&["explain", dir, "--incident", "1"]);
    assert!(parts(&explained).1.starts_with("Incident 1 of 1: no-busy-timeout; the application saw an error"));
}

#[test]
fn a_program_that_was_refused_nothing_gets_one_line() {
    let place = Place::new();
    let (code, _, err) = parts(&place.run(&[PYTHON, "-c", "import sqlite3; sqlite3.connect('a.db').execute('create table t(x)')"]));
    assert_eq!(code, Some(0), "{err}");
    let [line] = own_lines(&err)[..] else { panic!("{err}") };
    assert!(line.starts_with("locktrace: no lock was refused that an application could see: "), "{err}");
    assert!(line.contains(" records from 1 process; the trace is in /"), "{err}");
}

#[test]
fn a_huge_trace_does_not_keep_a_program_from_ending() {
    use shim::format::header::{Anchor, ClockKind, Header};
    let place = Place::new();
    let dir = place.path("huge");
    std::fs::create_dir(&dir).unwrap();
    // 64 GB of nothing: the file has a header and no blocks behind it.
    let capacity = 1 << 30;
    let header = Header { head: capacity, ..Header::new(ClockKind::Monotonic, capacity, 1, [1; 16], Anchor::default()) };
    let ring = std::fs::File::create(dir.join("1-1.ring")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&ring, &header.encode()[..], 0).unwrap();
    ring.set_len(4096 + 64 * capacity).unwrap();
    let begun = std::time::Instant::now();
    let program = "import sqlite3; sqlite3.connect('a.db').execute('create table t(x)'); raise SystemExit(7)";
    let output = place.locktrace(&["run", "--add", "-o", "huge", "--", PYTHON, "-c", program]);
    let (code, _, err) = parts(&output);
    assert_eq!(code, Some(7), "{err}");
    let [line] = own_lines(&err)[..] else { panic!("{err}") };
    assert!(line.contains("too large to be summed up in 3 seconds: locktrace report /"), "{err}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
}
