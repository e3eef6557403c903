//! Exports that cannot go on: Ctrl-C, a full disk, a reader that closes the pipe, a terminal that cannot show binary data.
#![allow(clippy::unwrap_used)]

use crate::common::{self, Process, contended};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Files that may not grow beyond this, as on a full disk: the export says so, and takes what it wrote away.
#[test]
fn a_full_disk_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    fs::create_dir(&trace).unwrap();
    many(&trace, 20_000);
    let formats =
        [("perfetto", "out"), ("firefox", "out"), ("csv --table events", "out"), ("sqlite", "out"), ("parquet", "new/fleet")];
    for (format, to) in formats {
        let binary = env!("CARGO_BIN_EXE_locktrace");
        let limited = format!("trap '' XFSZ; ulimit -f 8; exec {binary} export trace --format {format} -o {to}");
        let output =
            Command::new("bash").args(["-c", &limited]).current_dir(dir.path()).env("TMPDIR", dir.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{format}: {}", said(&output));
        let why = if format == "sqlite" { "disk" } else { "File too large" };
        assert!(said(&output).contains(&format!("{to}: cannot be written: ")), "{format}: {}", said(&output));
        assert!(said(&output).contains(why), "{format}: {}", said(&output));
        let left: Vec<PathBuf> = below(dir.path()).into_iter().filter(|path| !path.starts_with(&trace)).collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "{format}");
    }
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    many(dir.path(), 20_000);
    let mut command = Command::new(env!("CARGO_BIN_EXE_locktrace"));
    command.args(["export", dir.path().to_str().unwrap(), "-f", "csv", "--table", "events"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), said(&output)), (Some(0), String::new()));
}

/// Every file and directory below this one.
fn below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| [vec![path.clone()], if path.is_dir() { below(&path) } else { Vec::new() }].concat()).collect()
}

/// An export, in a directory of its own, of JSON lines that do not end.
fn endless(format: &str, file: &str, place: &Path) -> (Child, std::thread::JoinHandle<()>) {
    let trace = tempfile::tempdir().unwrap();
    contended(trace.path());
    let lines = Command::new(env!("CARGO_BIN_EXE_locktrace")).args(["cat", "--json"]).arg(trace.path()).output().unwrap();
    let lines = String::from_utf8(lines.stdout).unwrap();
    let (head, records): (Vec<&str>, Vec<&str>) = lines.lines().partition(|line| !line.starts_with(r#"{"t":"record""#));
    let (head, record) = (head.join("\n") + "\n", records[0].to_owned() + "\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_locktrace"));
    command.args(["export", "-", "--format", format, "-o", file]).current_dir(place).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        let mut fed = input.write_all(head.as_bytes());
        while fed.is_ok() {
            fed = input.write_all(record.repeat(100).as_bytes());
        }
    });
    (child, feeder)
}

/// Ctrl-C, or the end of the session: an error that says what is removed, and nothing is left, but what was there before.
#[test]
fn an_interrupted_export_leaves_nothing() {
    let formats = ["perfetto", "firefox", "csv", "folded", "sqlite"];
    let files = formats.into_iter().map(|format| (format, "out", "INT", 130, "/out.partial is removed\n"));
    let more = [
        ("csv", "out", "TERM", 143, "/out.partial is removed\n"),
        (
            "parquet",
            "new/fleet",
            "INT",
            130,
            "new/fleet/events/host=h/day=2023-11-14/.100-17979cfe362a0000.0.parquet.partial is removed\n",
        ),
        ("parquet", "new/fleet", "HUP", 129, ".parquet.partial is removed\n"),
        ("parquet", "there", "INT", 130, ".parquet.partial is removed\n"),
    ];
    for (format, file, signal, code, removed) in files.chain(more) {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("there/events/host=other")).unwrap();
        fs::write(place.path().join("there/events/host=other/1-1.0.parquet"), "precious").unwrap();
        fs::write(place.path().join("out"), "precious").unwrap();
        if format == "sqlite" {
            fs::write(place.path().join("out"), "").unwrap();
        }
        let before: Vec<_> = below(place.path()).into_iter().map(|path| (fs::read(&path).ok(), path)).collect();
        let (mut child, feeder) = endless(format, file, place.path());
        let is_partial = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "partial");
        let begun = common::within(30, || below(place.path()).iter().any(is_partial));
        assert!(begun, "{format} began");
        assert!(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap().success());
        let status = child.wait().unwrap();
        feeder.join().unwrap();
        let mut errors = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut errors).unwrap();
        assert_eq!(status.code(), Some(code), "{format}: {errors}");
        assert!(errors.contains("\nlocktrace: interrupted; ") && errors.ends_with(removed), "{format}: {errors}");
        let after: Vec<_> = below(place.path()).into_iter().map(|path| (fs::read(&path).ok(), path)).collect();
        assert_eq!(after, before, "{format} into {file}");
    }
}

/// What one that was killed left in a dataset goes with the next export of the same trace; while one goes on, no other begins.
#[test]
fn what_was_left_in_a_dataset_is_removed_by_the_next_export() {
    let place = tempfile::tempdir().unwrap();
    let (mut child, feeder) = endless("parquet", "fleet", place.path());
    let partial = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "partial");
    let unfinished = || below(place.path()).into_iter().filter(partial).collect::<Vec<_>>();
    assert!(common::within(30, || !unfinished().is_empty()));
    let trace = place.path().join("trace");
    fs::create_dir(&trace).unwrap();
    contended(&trace);
    let export = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_locktrace"));
        let output = command.args(["export", "trace", "-f", "parquet", "-o", "fleet"]).current_dir(place.path()).output().unwrap();
        (output.status.code(), said(&output))
    };
    let (code, error) = export();
    assert!(code == Some(2) && error.contains(".partial: another export is writing it"), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    feeder.join().unwrap();
    // It was at a file that the next one does not get to.
    let left = unfinished();
    let other = left[0].to_str().unwrap().replace(".0.parquet", ".17.parquet");
    fs::write(&other, "half").unwrap();
    let strange = left[0].with_file_name(".of-another-trace.0.parquet.partial");
    fs::write(&strange, "half").unwrap();
    assert_eq!(export().0, Some(0));
    assert_eq!(unfinished(), [strange]);
}

/// Runs it with a terminal as its standard output, whose name stands for TTY in the arguments: its exit code, what the terminal got, what it said.
fn on_a_terminal(trace: &Path, arguments: &[&str]) -> (i64, String, String) {
    let script = "import os, subprocess, sys, json
master, slave = os.openpty()
arguments = [os.ttyname(slave) if argument == 'TTY' else argument for argument in sys.argv[1:]]
done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=slave, stderr=subprocess.PIPE, timeout=60)
os.set_blocking(master, False)
try:
    got = os.read(master, 1 << 16)
except BlockingIOError:
    got = b''
print(json.dumps([done.returncode, got.decode(), done.stderr.decode()]))";
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", script, env!("CARGO_BIN_EXE_locktrace"), "export", trace.to_str().unwrap()]).args(arguments);
    let output = command.output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)))
}

#[test]
fn a_terminal_gets_no_bytes_that_it_cannot_show() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    let refused = [
        (["-f", "perfetto", "-o", "-"], "locktrace: a terminal cannot show this format: give a file with -o FILE, or pipe it on\n"),
        (["-f", "perfetto", "-o", "TTY"], ": a terminal cannot show this format: give a file with -o FILE, or pipe it on\n"),
        (["-f", "sqlite", "-o", "-"], "locktrace: this format cannot go to standard output: give a file with -o FILE\n"),
        (["-f", "parquet", "-o", "-"], "locktrace: this format cannot go to standard output: give a file with -o FILE\n"),
    ];
    for (arguments, why) in refused {
        let (code, got, error) = on_a_terminal(dir.path(), &arguments);
        assert_eq!((code, got.as_str()), (2, ""), "{arguments:?}: {error}");
        assert!(error.ends_with(why), "{arguments:?}: {error}");
    }
    for to in ["-", "TTY"] {
        let (code, got, error) = on_a_terminal(dir.path(), &["-f", "folded", "-o", to]);
        assert!(code == 0 && got.starts_with("app 200;"), "{code} {got} {error}");
    }
}

/// A trace that takes a while to read.
fn many(dir: &Path, rounds: u64) {
    let mut process = Process::new(100);
    process.run("100 c1 open");
    for i in 0..rounds {
        process.run(&format!("{} c1 SHARED -- SELECT 1\n{} c1 U(NONE) -- SELECT 1", 200 + i * 10, 205 + i * 10));
    }
    process.write(dir);
}
