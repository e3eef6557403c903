//! Traces with nothing in them, with losses only, with one process, with very many processes or statements: every format is whole, its own reader
//! finds what the analysis found, and the export says what is missing.
//!
//! In a debug build the large ones are smaller. `cargo test --release --test export inputs -- --nocapture` has them whole, and prints how long each took.

use crate::common::{self, Process};
use crate::perfetto::Timeline;
use inferno::flamegraph;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;
use shim::format::record::Record;
use shim::format::sql_hash;
use sqlite_locktrace::analysis::{Analysis, Options};
use sqlite_locktrace::trace::Trace;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const PROCESSES: u32 = 500;
const STATEMENTS: u64 = if cfg!(debug_assertions) { 2_000 } else { 100_000 };

/// What a format has of a trace, as far as it has that.
#[derive(PartialEq, Eq, Debug)]
struct Found {
    holds: Option<usize>,
    incidents: Option<usize>,
    statements: Option<usize>,
}

/// Formats with their options, and the names of their files.
const FORMATS: [(&[&str], &str); 8] = [
    (&["-f", "perfetto"], "out.pftrace"),
    (&["-f", "firefox"], "out.firefox"),
    (&["-f", "folded"], "out.folded"),
    (&["-f", "csv", "--table", "events"], "events.csv"),
    (&["-f", "csv", "--table", "holds"], "holds.csv"),
    (&["-f", "csv"], "incidents.csv"),
    (&["-f", "sqlite"], "out.db"),
    (&["-f", "parquet"], "fleet"),
];

fn count<'a>(list: impl Iterator<Item = &'a Value>, is: impl Fn(&Value) -> bool) -> Option<usize> {
    Some(list.filter(|each| is(each)).count())
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Rows of a table of a dataset.
fn rows(dir: &Path) -> Option<usize> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let count = |path: std::path::PathBuf| match path.is_dir() {
        true => rows(&path).unwrap(),
        false => {
            let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
            // Every page of every column is read.
            reader.get_row_iter(None).unwrap().collect::<Result<Vec<_>, _>>().unwrap().len()
        }
    };
    Some(entries.map(count).sum())
}

/// Reads a file with the reader that its format has.
fn read(path: &Path) -> Found {
    let none = Found { holds: None, incidents: None, statements: None };
    match path.file_name().and_then(|name| name.to_str()).unwrap() {
        "out.pftrace" => {
            let timeline = Timeline::of(&fs::read(path).unwrap());
            Found {
                holds: Some(timeline.of_category("hold").count()),
                incidents: Some(timeline.of_category("wait").count()),
                ..none
            }
        }
        "out.firefox" => {
            let firefox = json(path);
            let markers =
                || firefox["threads"].as_array().unwrap().iter().flat_map(|thread| thread["markers"]["data"].as_array().unwrap());
            Found {
                holds: count(markers(), |marker| marker["type"] == "hold"),
                incidents: count(markers(), |marker| marker["incident"].is_u64()),
                ..none
            }
        }
        "out.folded" => {
            let folded = fs::read(path).unwrap();
            let drawn = flamegraph::from_reader(&mut flamegraph::Options::default(), &folded[..], std::io::sink());
            assert_eq!(drawn.is_ok(), !folded.is_empty(), "{drawn:?}");
            none
        }
        name if name.ends_with(".csv") => {
            // Rows of other lengths are an error.
            let rows: Result<Vec<_>, _> = csv::Reader::from_path(path).unwrap().into_records().collect();
            let rows = Some(rows.unwrap().len());
            match name {
                "holds.csv" => Found { holds: rows, ..none },
                "incidents.csv" => Found { incidents: rows, ..none },
                _ => none,
            }
        }
        "out.db" => {
            let db = rusqlite::Connection::open(path).unwrap();
            assert_eq!(db.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(), "ok");
            let count = |table: &str| {
                db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))
                    .ok()
                    .map(|rows| rows as usize)
            };
            Found { holds: count("holds"), incidents: count("incidents"), statements: count("statements WHERE text IS NOT NULL") }
        }
        "fleet" => Found {
            holds: rows(&path.join("holds")),
            incidents: rows(&path.join("incidents")),
            statements: rows(&path.join("statements")),
        },
        name => panic!("{name}"),
    }
}

/// Exports a trace in every format, reads it, and holds it against the analysis; each gets what was printed on stderr.
fn every_format(dir: &Path, holds: usize, statements: usize, says: impl Fn(&str, &str)) {
    let trace = Trace::open(dir).unwrap();
    let analysis = Analysis::of(&trace, Options::default()).unwrap();
    let (records, incidents) = (analysis.records, analysis.incidents.len());
    let check = |name: &str, found: Found| {
        for (what, found, truth) in
            [("holds", found.holds, holds), ("incidents", found.incidents, incidents), ("statements", found.statements, statements)]
        {
            assert!(found.is_none_or(|found| found == truth), "{name} has {found:?} {what}, not {truth}");
        }
    };
    let out = tempfile::tempdir().unwrap();
    for (arguments, name) in FORMATS {
        let begun = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_locktrace"));
        command.arg("export").arg(dir).args(arguments).args(["-o", name]).current_dir(out.path()).stdin(Stdio::null());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        println!("{name}: {:.2} s", begun.elapsed().as_secs_f64());
        assert_eq!(output.status.code(), Some(0), "{name}: {said}");
        let numbers = said.lines().next().unwrap().replace(',', "");
        assert!(numbers.contains(&format!("{records} records {holds} holds {incidents} incidents")), "{name}: {said}");
        says(name, &said);
        check(name, read(&out.path().join(name)));
    }
    check("cat --json", json_lines(dir, &out.path().join("trace.jsonl")));
}

/// Writes a trace as JSON lines and reads those.
fn json_lines(dir: &Path, path: &Path) -> Found {
    let mut command = Command::new(env!("CARGO_BIN_EXE_locktrace"));
    command.args(["cat", "--json"]).arg(dir).stdout(File::create(path).unwrap());
    assert!(command.status().unwrap().success());
    let trace = Trace::open(path).unwrap();
    let analysis = Analysis::of(&trace, Options::default()).unwrap();
    let statements: BTreeSet<u64> = trace.logs().iter().flat_map(|log| log.names.numbered_sqls().map(|sql| sql.0)).collect();
    Found { holds: None, incidents: Some(analysis.incidents.len()), statements: Some(statements.len()) }
}

fn written(processes: impl IntoIterator<Item = Process>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    processes.into_iter().for_each(|process| process.write(dir.path()));
    dir
}

#[test]
fn nothing() {
    every_format(written([Process::new(100)]).path(), 0, 0, |name, said| {
        assert_eq!(said.contains("the output has no stacks"), name == "out.folded", "{said}");
        assert!(!said.contains("lost"), "{said}");
    });
}

#[test]
fn losses_only() {
    let mut process = Process::new(100);
    (process.header.capacity, process.header.head, process.header.lost_space) = (1_024, 900, 100);
    every_format(written([process]).path(), 0, 0, |_, said| {
        assert!(
            said.contains("locktrace: 900 more records are lost or could not be read; `locktrace report` shows which\n"),
            "{said}"
        );
    });
}

#[test]
fn one_process() {
    let mut process = Process::new(100);
    process.run(
        "10 c1 open\n20 c1 SHARED\n30 c1 RESERVED -- UPDATE t\n40 c2 open\n50 c2 SHARED\n60 c2 RESERVED=BUSY -- DELETE FROM t\n70 c2 U(NONE)\n80 c1 U(NONE)",
    );
    every_format(written([process]).path(), 3, 2, |_, said| assert!(said.lines().count() == 1, "{said}"));
}

/// Each refused by the first one, whose end nobody saw; the last has the number of another one.
#[test]
fn very_many_processes() {
    let processes = (1..=PROCESSES).map(|pid| {
        let mut process = Process::new(pid);
        let at = 100 * u64::from(pid);
        process.run(&match pid {
            1 => "10 c1 open\n20 c1 SHARED\n30 c1 RESERVED -- BEGIN IMMEDIATE".to_owned(),
            _ => format!("{at} c1 open\n{} c1 SHARED\n{} c1 RESERVED=BUSY -- UPDATE t\n{} c1 U(NONE)", at + 10, at + 20, at + 50),
        });
        if pid == PROCESSES {
            process.header.pid = 7;
        }
        process
    });
    let dir = written(processes);
    every_format(dir.path(), PROCESSES as usize + 1, 2, |_, said| assert!(said.lines().count() == 1, "{said}"));
}

/// Each for a hold of its own, and every tenth for a refusal, too.
#[test]
fn very_many_statements() {
    let mut process = Process::new(100);
    process.run(
        "10 c1 open\n20 c2 open\n30 c1 SHARED\n40 c1 RESERVED\n50 c2 SHARED\n60 c2 RESERVED=BUSY\n70 c2 U(NONE)\n80 c1 U(NONE)
         90 c1 SHARED\n100 c1 U(NONE)",
    );
    let fight: Vec<Record> = process.records[2..8].to_vec();
    let read: Vec<Record> = process.records[8..].to_vec();
    process.records.truncate(2);
    let mut refused = 0;
    for number in 0..STATEMENTS {
        let sql = format!("SELECT {number}");
        let hash = sql_hash(sql.as_bytes());
        process.name(format!(r#"{{"t":"sql","sql":"{hash:016x}","text":"{sql}","len":{}}}"#, sql.len()));
        let at = fight[0].start + (number + 1) * 100_000;
        let steps = if number % 10 == 0 { &fight } else { &read };
        refused += usize::from(number % 10 == 0);
        process.records.extend((0..).zip(steps).map(|(step, &record)| Record { start: at + step * 15_000, sql: hash, ..record }));
    }
    process.header.last = Some(common::anchor_at(STATEMENTS * 40 + 1_000));
    let dir = written([process]);
    let holds = STATEMENTS as usize + 2 * refused;
    every_format(dir.path(), holds, STATEMENTS as usize, |_, said| assert!(!said.contains("lost"), "{said}"));
}
