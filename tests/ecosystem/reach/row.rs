//! A row of the reach matrix: a program, bare and under `locktrace run`.

use crate::packages::skipped;
use crate::place::Place;
use crate::seen::Seen;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the programs print.
const SAID: &str = "busy\ndone 2\n";
/// The database and what SQLite keeps beside it.
const DATABASE: [&str; 4] = ["a.db", "a.db-wal", "a.db-shm", "a.db-journal"];

/// Whether a trace has the text of statements.
#[derive(Clone, Copy, PartialEq)]
pub enum Sql {
    Text,
    /// A library prepares both statements, with this text.
    Prepared(&'static str),
    /// The SQLite has neither symbols nor the table of its functions.
    Without,
}

/// How a program ended: its exit code, its standard output, its standard error.
#[derive(Debug, PartialEq)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A place that has some of the programs, for a bare and a traced run.
pub struct Row {
    pub place: Place,
}

impl Row {
    /// A place with copies of these programs, which other users can read.
    pub fn new(programs: &[&str]) -> Row {
        let place = Place::new();
        fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        for name in programs {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ecosystem/reach/programs").join(name);
            fs::copy(&source, place.path(name)).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
        }
        Row { place }
    }

    /// Runs a command; `prefix` runs it, in turn. The program's output goes to files, so that `locktrace run`'s own summary is not among it.
    fn redirected(&self, prefix: &[&str], command: &[&str]) -> (Ended, String) {
        let mut all = self.place.command("timeout");
        all.args(["--kill-after=5", "60"]).args(prefix).args(["sh", "-c", "exec \"$@\" >stdout 2>stderr", "sh"]).args(command);
        let output = all.stdin(Stdio::null()).output().unwrap();
        let file = |name: &str| String::from_utf8_lossy(&fs::read(self.place.path(name)).unwrap_or_default()).into_owned();
        let ended = Ended { code: output.status.code(), out: file("stdout"), err: file("stderr") };
        (ended, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Runs a command as it is.
    pub fn bare(&self, command: &[&str]) -> Ended {
        self.redirected(&[], command).0
    }

    /// Runs a command under `locktrace run`, and gives what the latter wrote on standard error, too.
    pub fn traced(&self, command: &[&str]) -> (Ended, String) {
        self.traced_with(&[], command)
    }

    /// The same, with these options.
    pub fn traced_with(&self, options: &[&str], command: &[&str]) -> (Ended, String) {
        let run = [&[env!("CARGO_BIN_EXE_locktrace"), "run", "-o", "locktrace-trace"], options, &["--"]].concat();
        self.redirected(&run, command)
    }

    /// What `locktrace doctor` says of this command's way in by `locktrace run`: its verdict.
    pub fn doctor(&self, command: &[&str]) -> String {
        let output = self.place.locktrace(&[&["doctor", "--json", "--"], command].concat());
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let run = said["ways"].as_array().unwrap().iter().find(|way| way["way"] == "run");
        run.unwrap_or_else(|| panic!("nothing of `run`: {said}"))["verdict"].as_str().unwrap().to_owned()
    }

    /// The names in the place, but for the trace and the cache.
    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.place.path("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.filter(|name| !["cache", "locktrace-trace"].contains(&&**name)).collect();
        names.sort_unstable();
        names
    }

    /// Removes the database, for another run.
    pub fn without_database(&self) {
        for name in DATABASE {
            let _ = fs::remove_file(self.place.path(name));
        }
    }

    /// Runs a command that prints what all programs here print, bare and traced: no difference, and one refusal in the trace, which it gives.
    fn refused_in_trace(&self, command: &[&str], sql: Sql) -> Seen {
        let bare = self.bare(command);
        assert_eq!((bare.code, &*bare.out), (Some(0), SAID), "the bare program does not work: {}", bare.err);
        let files = self.files();
        self.without_database();
        let (traced, summary) = self.traced(command);
        assert_eq!(traced, bare, "traced, and bare; locktrace says: {summary}");
        assert_eq!(self.files(), files, "traced, and bare");
        assert!(self.place.path("locktrace-trace").exists(), "there is no trace; locktrace says: {summary}");
        let seen = Seen::of(&self.place);
        one_refusal(&seen, sql, &summary);
        if sql != Sql::Without {
            assert!(summary.contains("the application saw `database is locked` 1 time"), "{summary}");
        } else {
            assert!(summary.contains("without the text of its SQL"), "it says what is missing: {summary}");
            assert!(!summary.contains("did not see"), "nobody can know that without SQL: {summary}");
        }
        seen
    }

    /// The same, of a program whose SQLite `locktrace doctor` cannot see before it runs.
    pub fn refused(&self, command: &[&str], sql: Sql) -> Seen {
        let seen = self.refused_in_trace(command, sql);
        assert_ne!(self.doctor(command), "no", "it was traced");
        seen
    }

    /// The same, of a program whose SQLite `locktrace doctor` finds.
    pub fn refused_and_known(&self, command: &[&str], sql: Sql) -> Seen {
        let seen = self.refused_in_trace(command, sql);
        assert_eq!(self.doctor(command), "works");
        seen
    }
}

/// The trace has one refusal that the program saw: of the write lock, by the other connection of the same process.
fn one_refusal(seen: &Seen, sql: Sql, summary: &str) {
    // The first connection to close may not have the database for itself; SQLite does not mind, and the program does not see that.
    let refusals = seen.report["refusals"].as_array().unwrap().iter().filter(|refusal| refusal["closing"] == false);
    let [refusal] = &refusals.collect::<Vec<_>>()[..] else {
        panic!("one refusal: {}\n{}\nlocktrace says: {summary}", seen.report["refusals"], seen.report["logs"])
    };
    let text = |text: &str| match sql {
        Sql::Text => json!(text),
        Sql::Prepared(text) => json!(text),
        Sql::Without => Value::Null,
    };
    let named = [&refusal["slots"], &refusal["result"], &refusal["text"]];
    assert_eq!(named, [&json!(["WRITE"]), &json!("BUSY"), &text("INSERT INTO t VALUES (2)")], "{refusal}");
    let [by] = &refusal["holders"].as_array().unwrap()[..] else { panic!("one holder: {refusal}") };
    let named = [&by["pid"], &by["lock"], &by["text"], &by["certain"]];
    assert_eq!(named, [&refusal["pid"], &json!("WRITE"), &text("BEGIN IMMEDIATE"), &json!(true)], "{refusal}");
    assert_ne!(by["conn"], refusal["conn"], "{refusal}");
}

/// Whether this command ends well; otherwise a line says that `what` is missing.
pub fn have(command: &[&str], what: &str) -> bool {
    let output = Command::new("timeout").arg("30").args(command).stdin(Stdio::null()).output();
    let works = output.is_ok_and(|output| output.status.success());
    if !works {
        skipped(&format!("{what} does not work here ({})", command.join(" ")));
    }
    works
}
