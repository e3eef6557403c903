//! The loadable extension in programs that were not written for it: the `sqlite3` shell and Python.
#![allow(clippy::unwrap_used)]

use crate::live::host::{extension, system};
use crate::live::render::render;
use crate::live::replay::Replay;
use shim::event::{Kind, Level};
use sqlite_locktrace::trace::{Event, Trace};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs a program in this directory with this input, traced into `trace` there.
fn run(mut command: Command, dir: &Path, input: &str) -> Output {
    command.current_dir(dir).env("LOCKTRACE_DIR", dir.join("trace"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The `sqlite3` shell, which reads no settings of the user's.
fn shell() -> Command {
    let mut command = system("/usr/bin/sqlite3", "sqlite3");
    command.args(["-batch", "-init", "/dev/null"]).env_remove("LOCKTRACE_SQL").env_remove("LOCKTRACE_LIMIT");
    command
}

fn python(program: &str) -> Command {
    let mut command = system("/usr/bin/python3", "python3");
    command.arg("-c").arg(program).arg(extension()).env_remove("LOCKTRACE_SQL").env_remove("LOCKTRACE_LIMIT");
    command
}

fn succeeded(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{}: {error}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Every record of the one process of a trace in which nothing may be missing.
fn records(dir: &Path) -> (Trace, Vec<Event>) {
    let trace = Trace::open(&dir.join("trace")).unwrap();
    assert_eq!((trace.logs().len(), trace.problems()), (1, &[][..]));
    Replay::of(&trace, true).assert_all_released();
    let mut events: Vec<Event> = trace.events().unwrap().collect();
    events.sort_by_key(|event| event.number);
    (trace, events)
}

fn calls(events: &[Event]) -> String {
    let calls: Vec<String> =
        events.iter().filter(|event| event.record.kind != Kind::HANDLE).map(|event| render(&event.record)).collect();
    calls.join(", ")
}

const INSERT: &str = "SHARED, RESERVED, EXCLUSIVE, sync journal, sync journal, sync database, delete journal, \
                      wrote database, wrote journal, U(SHARED), U(NONE)";

#[test]
fn the_shell_loads_it_and_opens_a_database() {
    let dir = tempfile::tempdir().unwrap();
    let load = format!(".load {}\n", extension().display());
    let output =
        run(shell(), dir.path(), &format!("{load}.open app.db\nCREATE TABLE t(v);\nINSERT INTO t VALUES(7);\nSELECT v FROM t;\n"));
    assert_eq!(succeeded(&output), "7\n");
    let (trace, events) = records(dir.path());
    assert!(calls(&events).contains(INSERT), "{}", calls(&events));
    let log = &trace.logs()[0];
    assert!(log.names.exe().unwrap().ends_with("/sqlite3"), "{:?}", log.names.exe());
    assert_eq!(log.names.files().count(), 1);
    let of = |text: &str, kind: Kind, level: Level| {
        let is = |event: &&Event| log.names.sql(event.record.sql).is_some_and(|sql| sql.text.text == text);
        let is = events.iter().filter(is).filter(|event| event.record.kind == kind && event.record.requested == level);
        is.count()
    };
    assert_eq!(of("INSERT INTO t VALUES(7);", Kind::LOCK, Level::RESERVED), 1);
    assert_eq!(of("INSERT INTO t VALUES(7);", Kind::LOCK, Level::EXCLUSIVE), 1);
    assert_eq!(of("SELECT v FROM t;", Kind::LOCK, Level::SHARED), 1);
    // A trace holds SQL: it is its owner's alone.
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("trace")), 0o700);
    for entry in std::fs::read_dir(dir.path().join("trace")).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn the_database_of_the_shell_command_line_is_not_traced_before_it_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let load = format!(".load {}\n", extension().display());
    let mut command = shell();
    command.arg("before.db");
    let sql = "CREATE TABLE t(v);\nINSERT INTO t VALUES(1);\n";
    let output = run(command, dir.path(), &format!("SELECT 1;\n{load}{sql}SELECT count(*) FROM t;\n"));
    assert_eq!(succeeded(&output), "1\n1\n");
    assert!(!dir.path().join("trace").exists(), "a process that opens no database while it is traced leaves no trace");
}

#[test]
fn loading_it_twice_is_harmless() {
    let once = tempfile::tempdir().unwrap();
    let twice = tempfile::tempdir().unwrap();
    let load = format!(".load {}\n", extension().display());
    let work = ".open app.db\nCREATE TABLE t(v);\nINSERT INTO t VALUES(7);\nSELECT v FROM t;\n";
    succeeded(&run(shell(), once.path(), &format!("{load}{work}")));
    let output = run(shell(), twice.path(), &format!("{load}{load}{work}{load}SELECT count(*) FROM t;\n"));
    assert_eq!(succeeded(&output), "7\n1\n");
    let (_, first) = records(once.path());
    let (_, second) = records(twice.path());
    // Everything once, and then the count that the second run asked for before it closed.
    let (first, second) = (calls(&first), calls(&second));
    let end = "U(NONE) redundant, close";
    let (head, tail) = second.split_at(first.len() - end.len());
    assert_eq!(first, format!("{head}{end}"));
    assert_eq!(tail, format!("SHARED, U(NONE), {end}"));
}

#[test]
fn python_loads_it_once_for_all_later_connections() {
    let dir = tempfile::tempdir().unwrap();
    let program = r#"
import sqlite3, sys
loader = sqlite3.connect(":memory:")
loader.enable_load_extension(True)
loader.load_extension(sys.argv[1])
loader.close()
for name in "one.db", "two.db", ":memory:", "one.db":
    connection = sqlite3.connect(name)
    connection.execute("CREATE TABLE IF NOT EXISTS t(v)")
    with connection:
        connection.execute("INSERT INTO t VALUES(1)")
    print(connection.execute("SELECT count(*) FROM t").fetchone()[0])
    connection.close()
"#;
    let output = run(python(program), dir.path(), "");
    assert_eq!(succeeded(&output), "1\n1\n1\n2\n");
    let (trace, events) = records(dir.path());
    let opened: Vec<u32> = events.iter().filter(|event| event.record.kind == Kind::OPEN).map(|event| event.record.file).collect();
    let path = |file: &u32| trace.logs()[0].names.file(*file).unwrap().path.text.rsplit('/').next().unwrap().to_owned();
    assert_eq!(opened.iter().map(path).collect::<Vec<_>>(), ["one.db", "two.db", "one.db"]);
    let conns: Vec<u32> = events.iter().filter(|event| event.record.kind == Kind::CLOSE).map(|event| event.record.conn).collect();
    assert_eq!(conns, [1, 2, 3]);
    let writes =
        |conn| events.iter().filter(|event| event.record.conn == conn && event.record.requested == Level::RESERVED).count();
    assert_eq!([writes(1), writes(2), writes(3)], [2, 2, 1]);
}

#[test]
fn nonsense_in_a_variable_is_an_error_that_says_what_it_may_be() {
    for (variable, value, says) in [
        ("LOCKTRACE_SQL", "everything", r#"locktrace: LOCKTRACE_SQL is "everything"; expected text, hash or off"#),
        ("LOCKTRACE_LIMIT", "lots", r#"locktrace: LOCKTRACE_LIMIT is "lots"; expected bytes from 256K to 64G"#),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = shell();
        command.env(variable, value);
        let input = format!(".load {}\n.open app.db\nCREATE TABLE t(v);\nSELECT 'goes on';\n", extension().display());
        let output = run(command, dir.path(), &input);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(says), "{error}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "goes on\n");
        assert!(!dir.path().join("trace").exists());
    }
}
