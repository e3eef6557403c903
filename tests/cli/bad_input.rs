//! Traces that are mixed, damaged, newer, or none at all: what each verb prints, with which exit code, and that it uses the rest.
//!
//! A table of cases: `report`, `explain`, `check` and `audit` run on each, and on its export if there is one. One line names each file that cannot be
//! used. The rest is judged as if it were alone.
#![allow(clippy::unwrap_used)]

use crate::common::Process;
use shim::event::Kind;
use shim::format::header::Anchor;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Exit code, standard output, standard error.
fn run(verb: &str, trace: &Path) -> (i32, String, String) {
    let arguments: &[&str] = if verb == "check" { &["check", "--no-gave-up"] } else { &[verb] };
    let output =
        Command::new(env!("CARGO_BIN_EXE_locktrace")).args(arguments).arg(trace).env_remove("LOCKTRACE_DIR").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

const VERBS: [&str; 4] = ["report", "explain", "check", "audit"];

/// A process in which one connection holds the lock and another is refused, without a timeout.
fn refused(pid: u32) -> Process {
    let mut process = Process::new(pid);
    process.run(
        "1 c1 open\n2 c1 SHARED\n3 c1 open wal\n4 c1 map\n5 c2 open\n6 c2 SHARED\n7 c2 open wal\n8 c2 map
         100 c1 S READ1 -- BEGIN IMMEDIATE\n110 c1 X WRITE -- BEGIN IMMEDIATE
         200 c2 S READ2 -- INSERT INTO t VALUES (2)\n210 c2 X WRITE=BUSY -- INSERT INTO t VALUES (2)\n220 c2 U READ2
         900 c1 wrote wal 4120\n910 c1 U WRITE -- COMMIT\n920 c1 U READ1 -- COMMIT
         1000 c2 S READ2 -- SELECT 1\n1010 c2 U READ2",
    );
    process.header.capacity = 64;
    process
}

/// A process that blocks nobody.
fn quiet(pid: u32) -> Process {
    let mut process = Process::new(pid);
    process.run("5 c1 open\n6 c1 SHARED\n7 c1 open wal\n8 c1 map\n2000 c1 S READ1 -- SELECT 2\n2100 c1 U READ1");
    process.header.capacity = 64;
    process
}

fn ring(dir: &Path, process: &Process) -> PathBuf {
    dir.join(format!("{}.ring", process.id))
}

/// Nothing can be used: every verb ends with 2, has nothing on standard output, and says this.
#[test]
fn where_nothing_can_be_read_that_is_said() {
    type Make = fn(&Path);
    let cases: [(&str, Make, &str); 10] = [
        ("an empty directory", |_| {}, "no trace in this directory: expected <id>.ring files"),
        (
            "a directory of other things",
            |dir| {
                std::fs::write(dir.join("app.db"), "SQLite format 3\0").unwrap();
                std::fs::write(dir.join("README"), "").unwrap();
                std::fs::create_dir(dir.join("sub")).unwrap();
            },
            "no trace in this directory: expected <id>.ring files",
        ),
        (
            "a directory with the trace below it",
            |dir| {
                std::fs::create_dir(dir.join("trace")).unwrap();
                refused(7).write(&dir.join("trace"));
            },
            "no trace in this directory, but in ",
        ),
        ("names only", |dir| std::fs::write(dir.join("7-1.names"), refused(7).names()).unwrap(), "names without records"),
        ("an empty ring", |dir| std::fs::write(dir.join("7-1.ring"), "").unwrap(), "7-1.ring: byte 0: "),
        ("a ring of something else", |dir| std::fs::write(dir.join("7-1.ring"), [7; 9000]).unwrap(), "7-1.ring: byte 0: "),
        (
            "a newer version",
            |dir| {
                let process = refused(7);
                process.write(dir);
                let mut bytes = std::fs::read(ring(dir, &process)).unwrap();
                bytes[8] = 9;
                std::fs::write(ring(dir, &process), bytes).unwrap();
            },
            "version 9",
        ),
        ("a ring that is a directory", |dir| std::fs::create_dir(dir.join("7-1.ring")).unwrap(), "not a regular file"),
        ("a name that is not there", |dir| std::fs::remove_dir(dir).unwrap(), "there is nothing here"),
        (
            "a file of something else",
            |dir| {
                std::fs::remove_dir(dir).unwrap();
                std::fs::write(dir, "\u{0}\u{1}binary\nand more\n").unwrap();
            },
            "no `log` line before the first record",
        ),
    ];
    for (name, make, says) in cases {
        let dir = tempfile::tempdir().unwrap();
        let trace = dir.path().join("trace");
        std::fs::create_dir(&trace).unwrap();
        make(&trace);
        for verb in VERBS {
            let (code, out, err) = run(verb, &trace);
            assert_eq!((code, &*out), (2, ""), "{verb} on {name}: {err}");
            assert!(err.starts_with("locktrace: ") && err.contains(says) && err.lines().count() == 1, "{verb} on {name}: {err}");
        }
    }
}

/// What is wrong is said, and the refusal beside it is found all the same.
#[test]
fn what_cannot_be_used_is_said_and_the_rest_is_judged() {
    type Make = fn(&Path);
    let cases: [(&str, Make, &str); 11] = [
        ("names without records", |dir| std::fs::write(dir.join("9-1.names"), "").unwrap(), "9-1.names: no 9-1.ring beside it"),
        (
            "records without names",
            |dir| {
                let other = quiet(9);
                std::fs::write(ring(dir, &other), other.ring()).unwrap();
            },
            "its paths, threads and SQL are unknown",
        ),
        (
            "a log of a newer version",
            |dir| {
                let other = quiet(9);
                let mut bytes = other.ring();
                bytes[8] = 9;
                std::fs::write(ring(dir, &other), bytes).unwrap();
            },
            "version 9",
        ),
        ("a log of something else", |dir| std::fs::write(dir.join("9-1.ring"), [1; 5000]).unwrap(), "9-1.ring: byte 0: "),
        (
            "another boot",
            |dir| {
                let mut other = quiet(9);
                other.header.boot_id = [9; 16];
                other.write(dir);
            },
            "the logs do not share one clock",
        ),
        (
            "another host, whose boot is not known",
            |dir| {
                let mut other = quiet(9);
                other.names[0] = other.names[0].replace(r#""host":"h""#, r#""host":"elsewhere""#);
                other.header.boot_id = [0; 16];
                other.write(dir);
            },
            "the logs do not share one clock",
        ),
        (
            "a log of a clock that goes back",
            |dir| {
                let mut other = quiet(9);
                other.header.boot_id = [9; 16];
                other.header.last = Some(Anchor { monotonic_ns: 0, ..other.header.first });
                other.write(dir);
            },
            "no usable pair of clock anchors",
        ),
        (
            "records far out of order",
            |dir| {
                let mut other = quiet(9);
                let record = other.records[4];
                other.records.extend(std::iter::repeat_n(record, 17_000));
                other.records.push(other.records[0]);
                other.header.capacity = 32_768;
                other.write(dir);
            },
            "1 record came too late to be sorted by its time",
        ),
        (
            "a log that was cut",
            |dir| {
                let other = quiet(9);
                std::fs::write(ring(dir, &other), &other.ring()[..4096 + 64 * 3 + 1]).unwrap();
                std::fs::write(dir.join(format!("{}.names", other.id)), other.names()).unwrap();
            },
            "torn tail: the file ends here",
        ),
        (
            "names of a kind that is not known, and bad ones",
            |dir| {
                let mut other = quiet(9);
                other.name(r#"{"t":"weather","sun":true}"#).name(r#"{"t":"weather","sun":false}"#).name("no JSON");
                other.write(dir);
            },
            "lines of the unknown type \"weather\" are skipped",
        ),
        (
            "records of a kind that is not known",
            |dir| {
                let mut other = quiet(9);
                other.records[4].kind = Kind(99);
                other.write(dir);
            },
            "",
        ),
    ];
    for (name, make, says) in cases {
        let dir = tempfile::tempdir().unwrap();
        let trace = dir.path().join("trace");
        std::fs::create_dir(&trace).unwrap();
        refused(7).write(&trace);
        make(&trace);
        let export = dir.path().join("export.jsonl");
        let (_, lines, _) = run_cat(&trace);
        std::fs::write(&export, lines).unwrap();
        for given in [&trace, &export] {
            let (code, out, err) = run("report", given);
            assert_eq!((code, &*err), (0, ""), "report on {name}");
            assert!(out.contains("no-busy-timeout: 1 time, 1 error") && out.contains(says), "report on {name}: {out}");
            let (code, out, err) = run("explain", given);
            assert_eq!((code, &*err), (0, ""), "explain on {name}");
            assert!(out.starts_with("Incident 1 of 1: no-busy-timeout; the application saw an error"), "explain on {name}: {out}");
            let (code, out, _) = run("check", given);
            assert!(code == 1 && out.contains("no-gave-up: incident 1: no-busy-timeout"), "check on {name}: {out}");
            let (code, out, err) = run("audit", given);
            assert!(matches!(code, 0 | 2) && err.is_empty(), "audit on {name}: {code}: {out}{err}");
            assert!(out.contains("No violation found") && out.contains(says), "audit on {name}: {out}");
        }
        // The commands that a report prints name the trace.
        let report = |given: &Path| {
            let (code, out, err) = run("report", given);
            (code, out.replace(&format!("explain {} ", given.display()), "explain "), err)
        };
        assert_eq!(report(&trace), report(&export), "{name}");
    }
}

fn run_cat(trace: &Path) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_locktrace")).args(["cat", "--json"]).arg(trace).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// JSON lines of a later version, with more in them than is known.
#[test]
fn json_lines_may_say_more() {
    let dir = tempfile::tempdir().unwrap();
    refused(7).write(dir.path());
    let lines = run_cat(dir.path()).1;
    let lines = dir.path().join("trace.jsonl").to_str().map(|path| (path.to_owned(), lines)).unwrap();
    let (path, lines) = (Path::new(&lines.0), lines.1);
    let judged = |text: &str| {
        std::fs::write(path, text).unwrap();
        run("report", path)
    };
    let plain = judged(&lines);
    assert!(plain.1.contains("no-busy-timeout: 1 time, 1 error"), "{}", plain.1);
    // Keys in every line, in front and behind; a line type between the names.
    let more: String = lines.lines().map(|line| format!("{},\"later\":{{\"x\":[1]}}}}\n", &line[..line.len() - 1])).collect();
    assert_eq!(judged(&more), plain);
    let more = lines.replacen("{\"log\"", "{\"t\":\"weather\",\"log\":\"x\"}\n{\"log\"", 0);
    assert_eq!(judged(&more), plain);
    // A record of a kind that is not known counts, and changes nothing else.
    let (code, out, _) = judged(&lines.replacen("\"kind\":\"xShmMap\"", "\"kind\":\"kind#99\"", 1));
    assert!(code == 0 && out.contains("no-busy-timeout: 1 time, 1 error"), "{out}");
    // A word that stands for none: the line is said and skipped.
    let (code, out, _) = judged(&lines.replacen("\"kind\":\"xShmMap\"", "\"kind\":\"xTeleport\"", 1));
    assert!(code == 0 && out.contains("the line is skipped") && out.contains("xTeleport"), "{out}");
    assert!(out.contains("no-busy-timeout: 1 time, 1 error"), "{out}");
    assert_eq!(run("check", path).0, 1);
    // A format that is newer: nothing is guessed.
    std::fs::write(path, lines.replace("\"version\":1", "\"version\":9")).unwrap();
    for verb in VERBS {
        let (code, out, err) = run(verb, path);
        assert_eq!((code, &*out), (2, ""), "{verb}: {err}");
        assert!(err.contains("format version 9; this locktrace reads version 1"), "{verb}: {err}");
    }
    // Cut anywhere in its last third: what comes before is used, and the cut is said.
    let bytes = lines.as_bytes();
    for cut in (bytes.len() * 2 / 3..bytes.len() - 2).step_by(97) {
        std::fs::write(path, &bytes[..cut]).unwrap();
        let (code, out, err) = run("report", path);
        assert_eq!((code, &*err), (0, ""), "cut at {cut}");
        assert!(out.contains("cut short") || out.contains("torn last line"), "cut at {cut}: {out}");
        assert_ne!(run("check", path).0, 0, "cut at {cut}");
    }
}

/// Lines that somebody turned round: every record is there, and nobody can say what happened.
#[test]
fn lines_in_the_wrong_order_are_not_clean() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = refused(7);
    process.run("2000 c2 U(NONE)\n2005 c2 close\n2010 c1 U(NONE)\n2015 c1 close");
    process.write(dir.path());
    let (_, lines, _) = run_cat(dir.path());
    let (records, others): (Vec<&str>, Vec<&str>) = lines.lines().partition(|line| line.starts_with("{\"t\":\"record\""));
    let turned: Vec<&str> =
        others.into_iter().filter(|line| !line.contains("\"t\":\"end\"")).chain(records.into_iter().rev()).collect();
    let end = lines.lines().find(|line| line.starts_with("{\"t\":\"end\"")).unwrap();
    let export = dir.path().join("turned.jsonl");
    std::fs::write(&export, turned.join("\n") + "\n" + end + "\n").unwrap();
    let (code, out, _) = run("check", &export);
    assert!(code == 2 && out.starts_with("cannot decide: records out of order"), "{code}: {out}");
    let (_, out, _) = run("report", &export);
    assert!(out.starts_with("The trace shows no refused attempt to take a lock, but records are missing"), "{out}");
    // With nothing wrong it says so.
    let well = tempfile::tempdir().unwrap();
    quiet(9).write(well.path());
    assert!(run("report", well.path()).1.starts_with("No attempt to take a lock was refused.\n"));
}

/// What `follow` did not ask for is missing, and its account is taken as it is.
#[test]
fn lines_of_a_follower_that_came_late() {
    let dir = tempfile::tempdir().unwrap();
    refused(7).write(dir.path());
    let (_, lines, _) = run_cat(dir.path());
    let mut first = true;
    let late = lines.lines().filter(|line| !line.starts_with("{\"t\":\"record\"") || !std::mem::take(&mut first));
    let late: Vec<String> = late.map(|line| line.replace("\"read\":18", "\"read\":17,\"skipped\":1")).collect();
    let export = dir.path().join("late.jsonl");
    std::fs::write(&export, late.join("\n") + "\n").unwrap();
    let (code, out, _) = run("report", &export);
    assert!(code == 0 && out.contains(": 17 of 18 records read; 1 missing from the file\n"), "{out}");
    assert!(out.contains("no-busy-timeout: 1 time, 1 error") && !out.contains("problem"), "{out}");
}

#[test]
fn a_database_is_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    std::fs::write(&path, b"SQLite format 3\0\x10\0").unwrap();
    for verb in VERBS {
        let (code, out, err) = run(verb, &path);
        assert_eq!((code, &*out), (2, ""), "{verb}: {err}");
        assert!(err.contains("app.db: this is a SQLite database. Give the trace directory") && err.lines().count() == 1, "{err}");
    }
}
