//! The README and `docs/` show what the commands print: each sample is produced here and compared, and every command in them exists.
//!
//! A block is either in a language (`rust`, `toml`, `python`), or a picture (`mermaid`), or calls of several connections (`text`), or lines to type, or a sample with a name. One that is none of these fails.
#![allow(clippy::unwrap_used)]

use crate::place::{PYTHON, Place, parts};
use crate::sample;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// Made here, or (the last two) in `tests/recorder/examples.rs` and `tests/cli/top`.
const SAMPLES: [&str; 6] = ["verdict", "run", "doctor", "from-sql", "tracing", "top"];

/// What a line to type begins with.
const TYPED: [&str; 4] = ["locktrace ", "cargo ", "sqlite> ", "  "];

#[test]
fn every_block_is_covered() {
    let blocks = sample::blocks();
    let mut samples: Vec<&str> = Vec::new();
    for block in &blocks {
        let typed = block.text.lines().all(|line| line.is_empty() || TYPED.iter().any(|start| line.starts_with(start)));
        match (&block.sample, block.language.as_str()) {
            (Some(name), "") => samples.push(name),
            (None, "rust" | "toml" | "python" | "mermaid" | "text") => {}
            (None, "") if typed => block.text.lines().for_each(|line| is_a_command(line, &place(block))),
            _ => panic!("{}: this block is neither code nor commands, and no sample with a name:\n{}", place(block), block.text),
        }
    }
    samples.sort_unstable();
    let mut known = SAMPLES;
    known.sort_unstable();
    assert_eq!(samples, known);
}

fn place(block: &sample::Block) -> String {
    format!("{}:{}", block.page.display(), block.line)
}

/// `locktrace` takes this line: its verb and its options are there.
fn is_a_command(line: &str, place: &str) {
    let line = line.split('#').next().unwrap_or_default().split('|').next().unwrap_or_default();
    let mut words = line.split_whitespace();
    if words.next() != Some("locktrace") {
        return;
    }
    // What follows `--` belongs to another program, and `--help` in its place keeps ours from doing anything.
    let words: Vec<&str> = words.take_while(|&word| word != "--").collect();
    let output = Command::new(env!("CARGO_BIN_EXE_locktrace")).args(&words).arg("--help").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{place}: {line}: {error}");
}

/// Somebody begins a transaction in a shell and does not end it; another shell wants to write.
#[test]
fn the_verdict() {
    let place = Place::new();
    let shell = |arguments: &[&str]| {
        let mut command = place.command(env!("CARGO_BIN_EXE_locktrace"));
        command.args(["run", "--add", "--", "sqlite3", "-batch", "-init", "/dev/null", "app.db"]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let made = place.command("sqlite3").args(["app.db", "pragma journal_mode=wal; create table t(x)"]).output().unwrap();
    assert!(made.status.success());
    let mut holder = shell(&[]);
    let mut input = holder.stdin.take().unwrap();
    input.write_all(b"begin immediate;\nselect 'begun';\n").unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "begun\n");
    let victim = shell(&["-cmd", ".timeout 500", "insert into t values (1)"]).wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&victim.stderr).contains("database is locked"), "{victim:?}");
    drop(input);
    assert!(holder.wait().unwrap().success());
    let (code, out, err) = parts(&place.locktrace(&["report"]));
    assert_eq!((code, &*err), (Some(0), ""));
    sample::compare("verdict", out.split("\n\n").next().unwrap());
}

/// The whole program of the sample, whose output is not shown.
const APP: &str = "
import sqlite3, threading

db = sqlite3.connect('app.db', isolation_level=None)
db.executescript('pragma journal_mode=wal; create table jobs(id)')
db.execute('begin immediate')
db.execute('insert into jobs values (1)')

def work():
    worker = sqlite3.connect('app.db', timeout=0.5)
    try:
        worker.execute('insert into jobs values (2)')
    except sqlite3.OperationalError:
        pass

thread = threading.Thread(target=work)
thread.start()
thread.join()
db.execute('commit')
";

#[test]
fn what_run_ends_with() {
    let place = Place::new();
    std::fs::write(place.path("app.py"), APP).unwrap();
    let (code, out, err) = parts(&place.run(&[PYTHON, "app.py"]));
    assert_eq!((code, &*out), (Some(0), ""), "{err}");
    let dir = place.path("").to_str().unwrap().trim_end_matches('/').to_owned();
    sample::compare("run", &err.replace(&dir, "…"));
}

#[test]
fn what_doctor_says() {
    let place = Place::new();
    std::fs::write(place.path("app.py"), APP).unwrap();
    let (code, out, err) = parts(&place.locktrace(&["doctor", "--", PYTHON, "app.py"]));
    assert_eq!((code, &*err), (Some(0), ""), "{out}");
    let lines = out.lines().skip_while(|line| !line.starts_with("SQLite ")).take_while(|line| !line.contains("load_extension(\""));
    sample::compare("doctor", &lines.map(|line| format!("{line}\n")).collect::<String>());
}

#[test]
fn what_sql_says() {
    let place = Place::new();
    let program = "
import sqlite3, sys, threading

loader = sqlite3.connect(':memory:')
loader.enable_load_extension(True)
loader.load_extension(sys.argv[1])
held, refused = threading.Event(), threading.Event()

def work():
    with open(f'/proc/self/task/{threading.get_native_id()}/comm', 'w') as name:
        name.write('worker-3')
    worker = sqlite3.connect('app.db', isolation_level=None)
    worker.executescript('pragma journal_mode=wal; create table jobs(id, state)')
    worker.execute('begin immediate')
    held.set()
    assert refused.wait(60)
    worker.execute('commit')

worker = threading.Thread(target=work)
worker.start()
assert held.wait(60)
db = sqlite3.connect('app.db', timeout=0, isolation_level=None)
try:
    db.execute(\"insert into jobs values (2,'new')\")
except sqlite3.OperationalError:
    pass
for asking, query in (
    (loader, 'SELECT connection, lock, slots, round(held, 3), thread, sql, refused FROM locktrace_locks;'),
    (loader, \"SELECT time, connection, call, lock, result, sql FROM locktrace_events WHERE result = 'BUSY';\"),
    (db, 'PRAGMA locktrace;'),
):
    print(query)
    for row in asking.execute(query):
        print(*('' if value is None else value for value in row), sep='|')
refused.set()
worker.join()
";
    let mut python = place.command("timeout");
    let python = python.args(["60", PYTHON, "-c", program, &place.extension()]).stdin(Stdio::null()).output().unwrap();
    let (code, out, err) = parts(&python);
    assert_eq!((code, &*err), (Some(0), ""), "{out}");
    let dir = place.path("").to_str().unwrap().trim_end_matches('/').to_owned();
    sample::compare("from-sql", &out.replace(&dir, "/srv/app"));
}

/// The page of causes says what `locktrace explain --cause` says: it is written from the same table.
#[test]
fn the_page_of_causes() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/causes.md");
    let text = sqlite_locktrace::report::causes::markdown();
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&page, &text).unwrap();
    }
    let known = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(known == text, "docs/causes.md is stale: UPDATE_EXPECTED=1 cargo test the_page_of_causes writes it");
}
