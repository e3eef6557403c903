//! `locktrace export`: the expected text of each format for a small trace, and what the verb does with files.
#![allow(clippy::unwrap_used)]

use crate::common::{contended, expect};
use crate::perfetto;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn export(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_locktrace"));
    command.arg("export").args(arguments).env_remove("LOCKTRACE_DIR").stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What a format makes of a trace, written to a file and to standard output alike.
fn exported(trace: &Path, arguments: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out");
    let trace = trace.to_str().unwrap();
    let output = export(&[&[trace, "-o", file.to_str().unwrap()], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).starts_with("locktrace: wrote "), "{}", said(&output));
    let piped = export(&[&[trace], arguments].concat());
    let bytes = fs::read(&file).unwrap();
    assert_eq!((piped.status.code(), piped.stdout == bytes), (Some(0), true), "{arguments:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    bytes
}

fn text(trace: &Path, arguments: &[&str]) -> String {
    String::from_utf8(exported(trace, arguments)).unwrap()
}

#[test]
fn every_format_that_is_text_or_shown_as_text() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    expect("export-perfetto.txt", &perfetto::text(&exported(dir.path(), &["-f", "perfetto"])));
    expect("export-firefox.json", &text(dir.path(), &["-f", "firefox"]));
    expect("export.folded", &text(dir.path(), &["-f", "folded"]));
    for table in ["incidents", "holds", "events"] {
        expect(&format!("export-{table}.csv"), &text(dir.path(), &["-f", "csv", "--table", table]));
    }
}

#[test]
fn the_name_of_the_file_gives_the_format() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    let trace = dir.path().to_str().unwrap();
    for (name, begins) in [("a.csv", "id,database"), ("a.FOLDED", "app 200;")] {
        let file = dir.path().join(name);
        let output = export(&[trace, "-o", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(fs::read_to_string(&file).unwrap().starts_with(begins), "{name}");
    }
    for name in ["a.json", "a", "-", "a.txt"] {
        let output = export(&[trace, "-o", name]);
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains("which format? Give --format perfetto|firefox|csv|folded"), "{}", said(&output));
    }
    let output = export(&[trace, "-f", "folded", "--table", "holds"]);
    assert_eq!((output.status.code(), said(&output)), (Some(2), "locktrace: --table is for --format csv\n".to_owned()));
}

#[test]
fn a_removed_format_names_its_replacement() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    let trace = dir.path().to_str().unwrap();
    let out = dir.path().join("out.jsonl");
    let out = out.to_str().unwrap();
    for (arguments, replacement) in [
        (["-f", "jsonl", "-o", out], "`locktrace cat --json "),
        (["--format=chrome", "-o", out, "--events"], "--format perfetto"),
        (["-o", out, "--table", "holds"], "`locktrace cat --json "),
    ] {
        let output = export(&[&[trace], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(replacement) && !Path::new(out).exists(), "{}", said(&output));
    }
}

#[test]
fn a_file_is_whole_or_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    let trace = dir.path().to_str().unwrap();
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("out.csv");
    let path = file.to_str().unwrap();
    // It replaces what was there, and behind a symbolic link what that leads to.
    fs::write(&file, "old").unwrap();
    let link = out.path().join("link.csv");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert_eq!(export(&[trace, "-o", link.to_str().unwrap()]).status.code(), Some(0));
    assert!(link.is_symlink() && fs::read_to_string(&file).unwrap().starts_with("id,"));
    // Nothing is written where there is no trace, where the disk is full, or where a directory has the name.
    fs::write(&file, "old").unwrap();
    assert_eq!(export(&["/nowhere/at/all", "-o", path]).status.code(), Some(2));
    let output = export(&[trace, "-f", "csv", "-o", "/dev/full"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).starts_with("locktrace: /dev/full: cannot be written: No space left on device"), "{}", said(&output));
    assert!(!Path::new("/dev/full.partial").exists());
    let output = export(&[trace, "-f", "csv", "-o", out.path().to_str().unwrap()]);
    assert!(said(&output).contains("is a directory"), "{}", said(&output));
    let output = export(&[trace, "-o", "/nowhere/at/all.csv"]);
    assert!(
        output.status.code() == Some(2) && said(&output).contains("/nowhere/at/all.csv.partial: cannot be written"),
        "{}",
        said(&output)
    );
    // Another one is at it.
    let partial = fs::File::create(out.path().join("out.csv.partial")).unwrap();
    partial.lock().unwrap();
    let output = export(&[trace, "-o", path]);
    assert!(output.status.code() == Some(2) && said(&output).contains("another export is writing it"), "{}", said(&output));
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    // One that was killed is not.
    drop(partial);
    assert_eq!(export(&[trace, "-o", path]).status.code(), Some(0));
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 2);
}

/// What `--help` says of formats: each has an example, and each example does what it says.
#[test]
fn every_example_of_the_help_works() {
    let output = Command::new(env!("CARGO_BIN_EXE_locktrace")).args(["export", "--help"]).env("COLUMNS", "80").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains(include_str!("../../src/cli/export.txt")), "as it stands there, no line of it wrapped: {help}");
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("trace")).unwrap();
    contended(&dir.path().join("trace"));
    let path = format!("{}:/usr/bin:/bin", Path::new(env!("CARGO_BIN_EXE_locktrace")).parent().unwrap().display());
    let mut made = Vec::new();
    let formats = help.lines().take_while(|line| *line != "Examples:");
    for line in formats.map(str::trim).filter(|line| line.contains("locktrace ") && line.contains(" trace")) {
        if !line.starts_with("locktrace ") && !line.starts_with("zcat ") {
            continue;
        }
        let shell = format!("set -o pipefail; {line}");
        let output = Command::new("bash").args(["-c", &shell]).current_dir(dir.path()).env("PATH", &path).output().unwrap();
        assert!(output.status.success(), "{line}: {}", said(&output));
        made.push(line.rsplit(' ').next().unwrap().to_owned());
        assert!(dir.path().join(made.last().unwrap()).exists(), "{line}");
    }
    let expected = [
        "trace.pftrace",
        "trace.json",
        "waits.folded",
        "incidents.csv",
        "holds.csv",
        "trace.db",
        "fleet",
        "trace.gz",
        "incidents.csv",
    ];
    assert_eq!(made, expected);
}

/// The record that took a lock was overwritten: when it was taken is not known, and nothing says so by a number.
#[test]
fn a_hold_whose_beginning_was_overwritten_has_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = crate::common::Process::new(100);
    let reads: String = (0..20).map(|n| format!("{} c1 S READ1\n{} c1 U READ1\n", 1_000 + n * 20, 1_010 + n * 20)).collect();
    process.run(&format!("10 c1 SHARED\n{reads}"));
    process.header.capacity = 16;
    process.write(dir.path());
    let trace = dir.path().to_str().unwrap();
    let holds = export(&[trace, "-f", "csv", "--table", "holds"]).stdout;
    let mut rows = csv::Reader::from_reader(&*holds);
    let column = |name: &str, rows: &csv::StringRecord| rows.iter().position(|column| column == name).unwrap();
    let head = rows.headers().unwrap().clone();
    let [lock, since, held, beginning] = ["lock", "since", "held_ns", "beginning"].map(|name| column(name, &head));
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    let shared = rows.iter().find(|row| &row[lock] == "SHARED").unwrap();
    assert_eq!((&shared[since], &shared[held], &shared[beginning]), ("", "", "unseen"));
    assert!(rows.iter().filter(|row| &row[lock] != "SHARED" && &row[beginning] == "seen").all(|row| !row[since].is_empty()));
    // A timeline begins with the first record that is left.
    let timeline = perfetto::Timeline::of(&export(&[trace, "-f", "perfetto"]).stdout);
    let from = timeline.slices.iter().map(|slice| slice.from).min();
    assert!(from >= Some(1_700_000_000_000_000_000), "{from:?} is before the trace");
}
