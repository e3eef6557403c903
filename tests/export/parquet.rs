//! `locktrace export --format parquet`: where rows go, what another export replaces, and that names stay what they are. `tests/ecosystem` tests what
//! others read in the files.
#![allow(clippy::unwrap_used)]

use crate::common::{self, Process};
use crate::hosts::{self, HOSTS};
use parquet::file::reader::{FileReader, SerializedFileReader};
use shim::format::record::Record;
use shim::format::sql_hash;
use sqlite_locktrace::analysis::Options;
use sqlite_locktrace::export::{self, parquet::Parquet, unfinished::Unfinished};
use sqlite_locktrace::trace::Trace;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

fn export(trace: &Path, to: &Path) {
    let trace = Trace::open(trace).unwrap();
    export::run(&trace, Options::default(), Box::new(Parquet::create(&trace, to, Unfinished::default()).unwrap())).unwrap();
}

/// Every file of a dataset, by its path in it.
fn files(root: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), path);
            }
        }
    }
    found
}

/// The rows of a file: its columns by name, as text.
fn rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let row = |row: parquet::record::Row| row.get_column_iter().map(|(name, field)| (name.clone(), field.to_string())).collect();
    reader.get_row_iter(None).unwrap().map(|each| row(each.unwrap())).collect()
}

/// The rows of a table in the whole dataset.
fn all(root: &Path, table: &str) -> Vec<BTreeMap<String, String>> {
    files(root).iter().filter(|(name, _)| name.starts_with(&format!("{table}/"))).flat_map(|(_, path)| rows(path)).collect()
}

fn place(fill: impl FnOnce(&Path)) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (trace, to) = (dir.path().join("trace"), dir.path().join("a/fleet"));
    std::fs::create_dir(&trace).unwrap();
    fill(&trace);
    export(&trace, &to);
    (dir, trace, to)
}

#[test]
fn rows_go_to_their_host_and_day() {
    let (_dir, _, to) = place(|trace| hosts::write(&HOSTS[0], trace));
    let names: Vec<String> = files(&to).into_keys().collect();
    let id = Process::new(100).id;
    for table in ["events", "holds", "incidents"] {
        for day in ["2023-11-14", "2023-11-15"] {
            assert!(names.contains(&format!("{table}/host=web-1/day={day}/{id}.0.parquet")), "{names:?}");
        }
    }
    assert_eq!(names.len(), 9, "{names:?}");
    for (name, path) in files(&to).iter().filter(|(name, _)| name.starts_with("events/") || name.starts_with("holds/")) {
        let day = name.split("day=").nth(1).unwrap()[..10].to_owned();
        let rows = rows(path);
        assert!(!rows.is_empty() && rows.iter().all(|row| row["time"].contains(&day)), "{name}: {:?}", rows[0]);
        assert!(rows.iter().all(|row| row["time_ns"].parse::<i64>().is_ok()));
    }
    // A hold past midnight belongs to the day on which it began.
    let midnight = 1_700_006_400_000_000_000i64;
    let past = |row: &BTreeMap<String, String>| {
        row["time_ns"].parse::<i64>().unwrap() < midnight && row["until_ns"].parse::<i64>().unwrap() > midnight
    };
    assert_eq!(
        all(&to, "holds").iter().filter(|row| past(row) && row["lifetime"] == "false").count(),
        2,
        "WRITE and READ1 of one transaction"
    );
    let file = File::open(files(&to).values().next().unwrap()).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let about = reader.metadata().file_metadata().key_value_metadata().unwrap();
    let about: BTreeMap<&str, &str> = about.iter().map(|pair| (pair.key.as_str(), pair.value.as_deref().unwrap())).collect();
    assert_eq!(about["locktrace.schema"], "1");
    assert!(about["locktrace.columns"].contains("how long the call took"));
}

#[test]
fn another_export_of_a_trace_replaces_it_and_others_stay() {
    let (dir, trace, to) = place(|trace| hosts::write(&HOSTS[0], trace));
    let before = files(&to).into_keys().collect::<Vec<_>>();
    let counts =
        |to: &Path| ["events", "holds", "incidents", "hazards", "statements", "processes"].map(|table| all(to, table).len());
    let first = counts(&to);
    // As if there had been more rows at that time.
    let whole = files(&to).into_values().next().unwrap();
    std::fs::copy(&whole, whole.to_str().unwrap().replace(".0.parquet", ".1.parquet")).unwrap();
    export(&trace, &to);
    assert_eq!((files(&to).into_keys().collect::<Vec<_>>(), counts(&to)), (before, first));

    // Another host's trace, with logs of the same names.
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    hosts::write(&HOSTS[1], &other);
    export(&other, &to);
    let both = counts(&to);
    assert!(both.iter().zip(first).all(|(both, first)| *both > first || HOSTS[1].sqlite == "3.54.1"), "{both:?} {first:?}");
    assert_eq!(both[5], 4);

    // The first trace again, of which nothing is left but its beginning: the second day goes.
    for mut process in hosts::processes(&HOSTS[0]) {
        process.records.truncate(20);
        process.write(&trace);
    }
    export(&trace, &to);
    let names: BTreeSet<String> = files(&to).into_keys().collect();
    assert!(names.iter().all(|name| !name.contains("host=web-1/day=2023-11-15")), "{names:?}");
    assert!(names.iter().any(|name| name.starts_with("events/host=web 2") || name.starts_with("events/host=web%202")), "{names:?}");
    let others = all(&to, "events").len();
    assert_eq!(others, 40 + both[0] - first[0]);
    assert!(!to.join("events/host=web-1/day=2023-11-15").exists(), "no empty directory is left");
}

#[test]
fn two_hosts_in_one_trace_have_their_statements_each() {
    let (_dir, _, to) = place(|trace| {
        for (pid, host) in [(100, "a"), (200, "b"), (300, "b")] {
            let mut process = Process::new(pid);
            process.names[0] = process.names[0].replace(r#""host":"h""#, &format!(r#""host":"{host}""#));
            process.run("10 c1 open\n20 c1 SHARED -- SELECT 1\n30 c1 U(NONE)");
            process.write(trace);
        }
    });
    let names: Vec<String> = files(&to).into_keys().filter(|name| name.starts_with("statements/")).collect();
    assert!(names.len() == 2 && names[0].contains("host=a") && names[1].contains("host=b"), "{names:?}");
    assert_eq!(all(&to, "statements").len(), 2);
}

/// What an incident says of its worst blocker.
#[test]
fn incidents_name_who_was_in_the_way() {
    let (_dir, _, to) = place(|trace| {
        let mut process = Process::new(100);
        // One thread is in its own way; two threads are in each other's.
        process.run(
            "10 c1@7 open\n20 c2@7 open\n30 c3@8 open
             40 c1@7 SHARED -- BEGIN IMMEDIATE\n50 c1@7 RESERVED -- BEGIN IMMEDIATE
             60 c2@7 SHARED\n70 c2@7 RESERVED=BUSY -- UPDATE a\n80 c2@7 U(NONE)
             90 c3@8 SHARED\n100 c3@8 RESERVED=BUSY -- UPDATE b\n110 c3@8 U(NONE)\n120 c1@7 U(NONE)",
        );
        process.write(trace);
    });
    let columns = ["statement", "blocker_statement", "blocker_tid", "blocker_lock", "blocker_certain", "same_thread", "blockers"];
    let found: Vec<[String; 7]> = all(&to, "incidents").iter().map(|row| columns.map(|column| row[column].clone())).collect();
    assert_eq!(
        found,
        [
            ["\"UPDATE a\"", "\"BEGIN IMMEDIATE\"", "7", "\"RESERVED\"", "true", "true", "1"],
            ["\"UPDATE b\"", "\"BEGIN IMMEDIATE\"", "7", "\"RESERVED\"", "true", "false", "1"],
        ]
    );
}

#[test]
fn hosts_days_and_texts_may_be_anything() {
    let long = format!("SELECT '{}'", "x".repeat(1 << 20));
    let cases = [
        ("../../etc", "host=%2E.%2F..%2Fetc"),
        ("a/b=c", "host=a%2Fb%3Dc"),
        ("\\\"\\u0000", "host=%22%00"),
        ("", "host=__HIVE_DEFAULT_PARTITION__"),
        ("__HIVE_DEFAULT_PARTITION__", "host=%5F_HIVE_DEFAULT_PARTITION__"),
        ("h\u{f6}st", "host=h\u{f6}st"),
    ];
    for (host, partition) in cases {
        let (dir, _, to) = place(|trace| {
            let mut process = Process::new(100);
            process.names[0] = process.names[0].replace(r#""host":"h""#, &format!(r#""host":"{host}""#));
            process.thread(101, "a\0\"'\u{202e}");
            process.run("10 c1 open\n20 c1 SHARED\n30 c1 U(NONE)");
            let hash = sql_hash(long.as_bytes());
            process.name(format!(r#"{{"t":"sql","sql":"{hash:016x}","text":"{long}","len":{}}}"#, long.len()));
            process.records[1].sql = hash;
            process.write(trace);
        });
        let names: Vec<String> = files(&to).into_keys().collect();
        assert!(names.iter().all(|name| name.contains(&format!("/{partition}/day=2023-11-14/"))), "{host}: {names:?}");
        assert_eq!(files(dir.path()).len(), names.len() + 2, "nothing is written elsewhere");
        let text = &all(&to, "statements")[0]["text"];
        assert_eq!(text.trim_matches('"'), long);
        assert!(all(&to, "holds")[0]["thread"].contains("a\0"), "{:?}", all(&to, "holds"));
    }
}

#[test]
fn little_or_no_knowledge_makes_tables_all_the_same() {
    // No records.
    let (_dir, _, to) = place(|trace| Process::new(100).write(trace));
    let names: Vec<String> = files(&to).into_keys().collect();
    assert_eq!(names.len(), 6, "{names:?}");
    assert_eq!(
        ["events", "holds", "incidents", "hazards", "statements", "processes"].map(|table| all(&to, table).len()),
        [0, 0, 0, 0, 0, 1]
    );

    // Only losses; and one anchor, so that times are not known.
    let (_dir, _, to) = place(|trace| {
        let mut process = Process::new(100);
        (process.header.capacity, process.header.head, process.header.lost_space, process.header.lost_names) = (1024, 900, 100, 3);
        process.header.last = None;
        process.write(trace);
    });
    let row = &all(&to, "processes")[0];
    assert_eq!(
        ["records", "records_read", "lost", "lost_names", "lengths_known"].map(|name| row[name].as_str()),
        ["900", "0", "100", "3", "false"]
    );

    let (_dir, _, to) = place(|trace| {
        let mut process = Process::new(100);
        process.header.last = None;
        process.names.retain(|line| !line.contains(r#""t":"process""#));
        process.run("10 c1 open\n20 c1 SHARED\n30 c1 U(NONE)");
        process.write(trace);
    });
    let name = files(&to).into_keys().find(|name| name.starts_with("holds/")).unwrap();
    assert!(name.starts_with("holds/host=__HIVE_DEFAULT_PARTITION__/day=__HIVE_DEFAULT_PARTITION__/"), "{name}");
    let hold = &all(&to, "holds")[0];
    assert_eq!(["time", "time_ns", "until_ns", "held_ns"].map(|name| hold[name].as_str()), ["null"; 4]);
}

/// Fewer in a debug build, where it would take a quarter of a minute.
const STATEMENTS: u64 = if cfg!(debug_assertions) { 5_000 } else { 100_000 };

#[test]
fn many_statements_processes_and_days() {
    let (_dir, _, to) = place(|trace| {
        let mut process = Process::new(1);
        process.run("10 c1 open\n20 c1 SHARED\n30 c1 U(NONE)");
        let [shared, unlock] = [process.records[1], process.records[2]];
        for i in 0..STATEMENTS {
            let sql = format!("SELECT {i}");
            let hash = sql_hash(sql.as_bytes());
            process.name(format!(r#"{{"t":"sql","sql":"{hash:016x}","text":"{sql}","len":{}}}"#, sql.len()));
            // Twelve days: files are closed, and opened again for the holds that come at the end.
            let start = shared.start + (i / (STATEMENTS / 12 + 1)) * 86_400_000_000 * common::TICKS_PER_US + (i + 1) * 50_000;
            process.records.push(Record { start, sql: hash, ..shared });
            process.records.push(Record { start: start + 10_000, sql: hash, ..unlock });
        }
        process.header.last = Some(common::anchor_at(13 * 86_400_000_000));
        process.write(trace);
        for pid in 2..=500 {
            let mut process = Process::new(pid);
            // Held through all days: each comes when the trace ends, for the day on which it began.
            process.run(&format!(
                "{} c1 open\n{} c1 SHARED -- SELECT 1",
                u64::from(pid % 12) * 86_400_000_000,
                u64::from(pid % 12) * 86_400_000_000 + 10
            ));
            process.header.last = Some(common::anchor_at(13 * 86_400_000_000));
            process.write(trace);
        }
    });
    let count = |table: &str| {
        let files = files(&to).into_iter().filter(|(name, _)| name.starts_with(&format!("{table}/")));
        let rows = files.map(|(_, path)| {
            let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
            let groups = reader.metadata().row_groups();
            assert!(groups.iter().all(|group| group.num_rows() <= 65_536), "row groups are bounded");
            reader.metadata().file_metadata().num_rows()
        });
        rows.sum::<i64>()
    };
    let rows = STATEMENTS as i64;
    assert_eq!(["statements", "events", "holds", "processes"].map(count), [rows, 2 * rows + 3 + 499 * 2, rows + 1 + 499, 500]);
    let names: Vec<String> = files(&to).into_keys().collect();
    assert!(names.iter().any(|name| name.starts_with("holds/") && name.ends_with(".1.parquet")), "{names:?}");
    assert!(names.iter().all(|name| name.ends_with(".parquet") && !name.contains("/.")));
}

#[test]
fn what_cannot_be_written_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let trace_dir = dir.path().join("trace");
    std::fs::create_dir(&trace_dir).unwrap();
    hosts::write(&HOSTS[2], &trace_dir);
    let trace = Trace::open(&trace_dir).unwrap();
    // A file where the directory should be, and one where a table should be.
    let file = dir.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(Parquet::create(&trace, &file, Unfinished::default()).err().unwrap().to_string().contains("file"));
    let to = dir.path().join("fleet");
    std::fs::create_dir(&to).unwrap();
    std::fs::write(to.join("incidents"), "precious").unwrap();
    let stopped = export::run(&trace, Options::default(), Box::new(Parquet::create(&trace, &to, Unfinished::default()).unwrap()));
    assert!(matches!(stopped, Err(export::ExportError::Output(error)) if error.to_string().contains("incidents")));
    assert_eq!(files(&to).into_keys().collect::<Vec<_>>(), ["incidents"]);
    assert_eq!(std::fs::read(to.join("incidents")).unwrap(), b"precious");
}
