//! `tests/programs/kitchen_*.c` with the recorder and without it: the same transcript, exit code, files and bytes.
//!
//! Each way in, on the system's SQLite and on the bundled source: a shared library under `locktrace run`, and the extension
//! (for the bundled source linked into the program). And each place for an application's own VFS: none, under ours, over ours.

use crate::bundled::{library, source};
use crate::packages::{skipped, succeed};
use crate::place::{Place, parts};
use crate::seen::Seen;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};

/// The programs: `system`, which finds a libsqlite3.so.0 at its start, and `linked`, which has the bundled SQLite in it; beside them that
/// SQLite as a libsqlite3.so.0. SQLite is compiled once, the programs each time.
fn programs(place: &Place) -> Option<PathBuf> {
    let (source, library) = (source(), library()?);
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/kitchen_");
    let cc =
        format!("cc -Wall -Wextra -Wno-unused-parameter -Werror -I{} {files}sink.c {files}hooks.c {files}vfs.c", source.display());
    let both = format!(
        "{cc} -rdynamic -o linked {}/sqlite3.o -lm -lpthread -ldl && {cc} -o system -l:libsqlite3.so.0 -lpthread",
        library.display()
    );
    let built = succeed(place.command("timeout").args(["120", "sh", "-c", &both]));
    built.map_err(|why| skipped(&format!("the program cannot be compiled here: {why}"))).ok()?;
    Some(library)
}

/// What a run of the program leaves to see.
#[derive(PartialEq, Eq, Debug)]
struct Outcome {
    code: Option<i32>,
    transcript: Vec<String>,
    /// The files, and what is in them.
    files: BTreeMap<String, Vec<u8>>,
}

/// Runs a command in a new directory, which always has the same path: SQLite's messages have it in them.
fn outcome(place: &Place, command: &mut Command) -> Outcome {
    let here = place.path("here");
    if here.exists() {
        std::fs::remove_dir_all(&here).unwrap();
    }
    std::fs::create_dir(&here).unwrap();
    let output: Output = command.current_dir(&here).output().unwrap();
    let (code, out, err) = parts(&output);
    assert_eq!(code, Some(0), "{command:?}: {err}\n{out}");
    // An extension is loaded before the first line.
    let transcript: Vec<String> = out.lines().skip_while(|line| !line.starts_with("SQLite ")).map(str::to_owned).collect();
    let files = std::fs::read_dir(&here).unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
    });
    Outcome { code, transcript, files: files.collect() }
}

/// The first difference, in words.
fn assert_same(what: &str, bare: &Outcome, traced: &Outcome) {
    for (number, (bare, traced)) in bare.transcript.iter().zip(&traced.transcript).enumerate() {
        assert_eq!(bare, traced, "{what}: line {} of the transcript", number + 1);
    }
    assert_eq!(bare.transcript.len(), traced.transcript.len(), "{what}: the transcript's length");
    assert!(bare.files.keys().eq(traced.files.keys()), "{what}: {:?} and {:?}", bare.files.keys(), traced.files.keys());
    for (name, bytes) in &bare.files {
        assert!(*bytes == traced.files[name], "{what}: {name} has other bytes");
    }
    assert_eq!(bare, traced, "{what}");
}

/// Runs the program bare twice and traced once.
fn the_same(program: &str, library: bool, by_extension: bool) {
    let place = Place::new();
    let Some(compiled) = programs(&place) else { return };
    let extension = place.extension();
    let program = place.path(program).to_str().unwrap().to_owned();
    for mode in ["app", "before", "after"] {
        let trace = place.path("locktrace-trace");
        let what = format!("{program} {mode}");
        let command = |arguments: &[&str]| {
            let mut command = place.command("timeout");
            command.args(["60"]).args(arguments).env("LOCKTRACE_DIR", &trace);
            if library {
                command.env("LD_LIBRARY_PATH", &compiled);
            }
            command
        };
        let bare = outcome(&place, &mut command(&[&program, mode]));
        assert!(bare.transcript.len() > 400, "{what}: {:?}", bare.transcript);
        assert_same(&format!("{what}: bare and bare"), &bare, &outcome(&place, &mut command(&[&program, mode])));
        assert!(!trace.exists());
        let traced = if by_extension {
            outcome(&place, &mut command(&[&program, mode, &extension]))
        } else {
            outcome(&place, &mut command(&[env!("CARGO_BIN_EXE_locktrace"), "run", "--", &program, mode]))
        };
        assert_same(&format!("{what}: bare and traced"), &bare, &traced);
        let seen = Seen::of(&place);
        let version = bare.transcript[0].strip_prefix("SQLite ").unwrap();
        assert_eq!((seen.logs().len(), &seen.logs()[0]["sqlite"]), (1, &serde_json::json!([version])), "{what}");
        assert!(seen.records.len() > 300 && !seen.report["refusals"].as_array().unwrap().is_empty(), "{what}: it was traced");
        std::fs::remove_dir_all(&trace).unwrap();
    }
}

#[test]
fn on_the_systems_sqlite_under_run() {
    the_same("system", false, false);
}

#[test]
fn on_the_systems_sqlite_with_the_extension() {
    the_same("system", false, true);
}

#[test]
fn on_the_bundled_sqlite_under_run() {
    the_same("system", true, false);
}

#[test]
fn on_the_bundled_sqlite_with_the_extension() {
    the_same("linked", false, true);
}
