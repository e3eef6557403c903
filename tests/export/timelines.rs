//! The timelines of `locktrace export`: they draw what the analysis counted, whatever the trace is like.
#![allow(clippy::unwrap_used)]

use crate::common::{EPOCH, Process, contended};
use crate::perfetto::Timeline;
use serde_json::Value;
use shim::format::header::ClockKind;
use sqlite_locktrace::analysis::{Analysis, LockId, Options};
use sqlite_locktrace::trace::Trace;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a format makes of a trace, and what is said on stderr.
fn export(trace: &Path, arguments: &[&str]) -> (Vec<u8>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_locktrace"));
    command.arg("export").arg(trace).args(arguments).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    (output.stdout, said)
}

fn json(trace: &Path, arguments: &[&str]) -> Value {
    serde_json::from_slice(&export(trace, arguments).0).unwrap()
}

fn timeline(trace: &Path, arguments: &[&str]) -> Timeline {
    Timeline::of(&export(trace, &[&["-f", "perfetto"], arguments].concat()).0)
}

/// Two processes that write and read, with waits, in WAL mode and with a rollback journal; every call takes 2 µs.
fn busy(dir: &Path, rounds: u64) {
    let mut a = Process::new(100);
    let mut b = Process::new(200);
    a.run("1 c1 open\n4 c1 map\n7 c1 SHARED");
    b.run("1 c1 open\n4 c1 map\n7 c1 SHARED");
    for i in 0..rounds {
        let at = 100 + i * 100;
        a.run(&format!(
            "{} c1 S READ1 -- UPDATE t SET v = {}\n{} c1 X WRITE -- UPDATE t SET v = 1\n{}+3 c1 sync wal\n{} c1 wrote wal 4120\n{} c1 U WRITE\n{} c1 U READ1",
            at, i % 7, at + 5, at + 20, at + 30, at + 40 + i % 5, at + 50
        ));
        b.run(&format!(
            "{} c1 S READ2 -- INSERT INTO t VALUES ({i})\n{} c1 X WRITE=BUSY -- INSERT INTO t VALUES ({i})\n{} c1 U READ2\n{} c1 S READ2\n{} c1 U READ2",
            at + 10, at + 15, at + 18, at + 60, at + 61 + i % 30
        ));
    }
    b.database(2, "/data/other.db", 43);
    for i in 0..rounds {
        let at = 100 + i * 100;
        b.run(&format!(
            "{} c2 SHARED\n{} c2 RESERVED\n{} c2 EXCLUSIVE\n{} c2 U(SHARED)\n{} c2 U(NONE)",
            at,
            at + 5,
            at + 20,
            at + 60,
            at + 70
        ));
    }
    b.records.sort_by_key(|record| record.start);
    a.write(dir);
    b.write(dir);
}

#[test]
fn what_is_drawn_is_what_was_counted() {
    let dir = tempfile::tempdir().unwrap();
    busy(dir.path(), 150);
    let perfetto = timeline(dir.path(), &[]);
    let mut drawn: BTreeMap<String, (u64, i64)> = BTreeMap::new();
    for slice in perfetto.of_category("hold").filter(|slice| !slice.args.contains_key("end")) {
        let lock = drawn.entry(slice.name.clone()).or_default();
        // A slice begins with the call that took the lock; it is counted from its return, 2 µs later.
        *lock = (lock.0 + 1, lock.1 + (slice.to - slice.from) as i64 - 2_000);
    }
    let trace = Trace::open(dir.path()).unwrap();
    let analysis = Analysis::of(&trace, Options::default()).unwrap();
    let mut counted: BTreeMap<String, (u64, i64)> = BTreeMap::new();
    for (db, lock) in analysis.databases.iter().flat_map(|db| LockId::all().map(move |lock| (db, lock))) {
        let held = &db.lock(lock).held;
        let sum = counted.entry(lock.to_string()).or_default();
        *sum = (sum.0 + held.count, sum.1 + held.sum_ns as i64);
    }
    counted.retain(|_, held| held.0 > 0);
    assert_eq!(drawn, counted);
    assert!(counted.len() >= 6 && counted.values().all(|held| held.0 >= 150), "{counted:?}");

    // Every wait, with an arrow from a hold that blocked it, that begins before it.
    let waits = perfetto.of_category("wait").count();
    assert_eq!(waits, analysis.incidents.len());
    assert_eq!(waits, 150);
    let [begin, end] = perfetto.arrows();
    assert_eq!((begin.len(), end.len()), (150, 150));
    assert!(end.iter().all(|(id, end)| begin[id] <= *end));

    // The -wal grows by each write, and somebody has the lock to write half of the time.
    let counters: BTreeSet<&str> = perfetto.counters.keys().map(String::as_str).collect();
    let [wal, writing, other] =
        ["-wal bytes of database /data/app.db", "writing of database /data/app.db", "writing of database /data/other.db"];
    assert_eq!(counters, BTreeSet::from([wal, writing, other]));
    assert_eq!(perfetto.counters[wal].last().unwrap().1, 150 * 4120);

    // Firefox has the same.
    let firefox = json(dir.path(), &["-f", "firefox"]);
    let kinds = |kind: &str| markers(&firefox).iter().filter(|marker| marker["type"] == kind).count();
    for kind in ["hold", "work", "blocking"] {
        assert_eq!(kinds(kind), perfetto.of_category(kind).count(), "{kind}");
    }
    assert_eq!(kinds("wait"), 150 + perfetto.points.len());
}

/// One who waits is refused by a second one, who took the lock meanwhile: its arrow leads to that moment of the wait, and so forward in time, too.
#[test]
fn arrows_lead_forward_in_time() {
    let mut process = Process::new(100);
    process.run(
        "10 c1 open\n20 c2 open\n30 c3 open
         100 c1 SHARED -- UPDATE a\n110 c1 RESERVED -- UPDATE a
         200 c2 SHARED -- UPDATE b\n210 c2 RESERVED=BUSY -- UPDATE b\n220 c2 U(NONE)\n230+1000 c2 sleep 1000
         500 c1 U(NONE)
         600 c3 SHARED -- UPDATE c\n610 c3 RESERVED -- UPDATE c
         1240 c2 SHARED -- UPDATE b\n1250 c2 RESERVED=BUSY -- UPDATE b\n1260 c2 U(NONE)\n1270+2000 c2 sleep 2000
         2000 c3 U(NONE)
         3280 c2 SHARED -- UPDATE b\n3290 c2 RESERVED -- UPDATE b\n3400 c2 U(NONE)",
    );
    let dir = tempfile::tempdir().unwrap();
    process.write(dir.path());
    let perfetto = timeline(dir.path(), &[]);
    let [from, to] = perfetto.arrows();
    assert!(from.len() == 2 && from.iter().all(|(id, at)| *at <= to[id]), "{from:?} {to:?}");
    let wait = perfetto.of_category("wait").next().unwrap();
    let moment = EPOCH.real_ns + 610_000;
    assert_eq!(to.values().copied().collect::<BTreeSet<_>>(), BTreeSet::from([wait.from, moment]));
    let later = perfetto.points.iter().find(|point| point.from == moment).unwrap();
    assert_eq!(later.name, "now refused by app 100 c3 (running): RESERVED by UPDATE c");
}

/// The data of all markers, once every reference in the profile has been followed.
fn markers(firefox: &Value) -> Vec<Value> {
    let strings = firefox["shared"]["stringArray"].as_array().unwrap();
    let schemas: BTreeMap<&str, &Value> = firefox["meta"]["markerSchema"]
        .as_array()
        .unwrap()
        .iter()
        .map(|schema| (schema["name"].as_str().unwrap(), schema))
        .collect();
    let mut all = Vec::new();
    for thread in firefox["threads"].as_array().unwrap() {
        let markers = &thread["markers"];
        let length = markers["length"].as_u64().unwrap() as usize;
        for column in ["startTime", "endTime", "phase", "name", "category", "data"] {
            assert_eq!(markers[column].as_array().unwrap().len(), length, "{column}");
        }
        for index in 0..length {
            assert!(strings.get(markers["name"][index].as_u64().unwrap() as usize).is_some());
            assert!(firefox["meta"]["categories"].get(markers["category"][index].as_u64().unwrap() as usize).is_some());
            assert_eq!(markers["endTime"][index].is_null(), markers["phase"][index] == 0);
            let data = markers["data"][index].as_object().unwrap();
            let fields = schemas[data["type"].as_str().unwrap()]["fields"].as_array().unwrap();
            for (key, value) in data.iter().filter(|(key, _)| *key != "type") {
                let field =
                    fields.iter().find(|field| field["key"] == **key).unwrap_or_else(|| panic!("{key} is not in the schema"));
                match field["format"].as_str().unwrap() {
                    "unique-string" => assert!(strings.get(value.as_u64().unwrap() as usize).is_some()),
                    "integer" => assert!(value.is_u64()),
                    _ => assert!(value.is_string()),
                }
            }
            all.push(Value::Object(data.clone()));
        }
    }
    all
}

const FORMATS: [&str; 4] = ["perfetto", "firefox", "folded", "csv"];

/// Every format, read as far as a test can read it; what each says on stderr.
fn all(trace: &Path) -> BTreeMap<&'static str, (Vec<u8>, String)> {
    let made: BTreeMap<_, _> = FORMATS.into_iter().map(|format| (format, export(trace, &["-f", format]))).collect();
    Timeline::of(&made["perfetto"].0);
    markers(&serde_json::from_slice(&made["firefox"].0).unwrap());
    for line in String::from_utf8(made["folded"].0.clone()).unwrap().lines() {
        let (stack, weight) = line.rsplit_once(' ').unwrap();
        assert!(
            stack.split(';').count() == 6 && stack.split(';').all(|frame| !frame.is_empty()) && weight.parse::<u64>().unwrap() > 0
        );
    }
    made
}

fn shows(made: &BTreeMap<&'static str, (Vec<u8>, String)>, format: &str, what: &str) -> bool {
    made[format].0.windows(what.len()).any(|bytes| bytes == what.as_bytes())
}

#[test]
fn an_empty_trace_and_one_of_losses_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::new(100);
    process.write(dir.path());
    let made = all(dir.path());
    for format in ["perfetto", "firefox"] {
        assert!(shows(&made, format, "no records were read"), "{format}");
        assert!(made[format].1.contains(": 0 records, 0 holds, 0 incidents"), "{}", made[format].1);
    }
    process.header.lost_space = 1_000;
    process.header.head = 1_000;
    process.header.capacity = 1_024;
    process.write(dir.path());
    let made = all(dir.path());
    for format in ["perfetto", "firefox"] {
        assert!(shows(&made, format, "records lost: 0 of 1000 records read"), "{format}");
        assert!(made[format].1.contains("1,000 more records are lost"), "{}", made[format].1);
    }
}

#[test]
fn unknown_times_are_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    // A clock of which there is only one reading.
    for pid in [100, 200] {
        let mut process = Process::new(pid);
        process.header.clock = ClockKind::Tsc;
        process.header.last = None;
        process.run("100 c1 open\n110 c1 SHARED\n120 c1 RESERVED -- UPDATE t\n130 c1 U(NONE)\n140 c1 SHARED\n150 c1 RESERVED=BUSY\n160 c1 U(NONE)");
        process.write(dir.path());
    }
    let made = all(dir.path());
    for format in ["perfetto", "firefox"] {
        assert!(
            made[format].1.contains("left out: ") && made[format].1.contains("their times are not known"),
            "{}",
            made[format].1
        );
        assert!(shows(&made, format, "left out: ") && !shows(&made, format, "UPDATE t"), "{format}");
    }
    assert!(made["folded"].1.contains("how long they took is not known"), "{}", made["folded"].1);
    // A table needs no times: those fields are empty.
    let (holds, _) = export(dir.path(), &["-f", "csv", "--table", "holds"]);
    assert!(String::from_utf8(holds).unwrap().contains(",RESERVED,"));
}

#[test]
fn hostile_names_stay_text() {
    let dir = tempfile::tempdir().unwrap();
    let hostile = "</script><script>alert(1)</script>\";\n\r\t'=cmd|x;a,b\u{202e}\u{0}\u{1b}[2J";
    let mut process = Process::new(100);
    process.thread(101, hostile).database(1, &format!("/data/{hostile}.db"), 42);
    let long = format!("SELECT '{}'", "x".repeat(1 << 20));
    for (index, sql) in [hostile.replace(['\n', '\r'], " "), long].iter().enumerate() {
        let at = index * 1_000;
        process.run(&format!("{} c1 SHARED -- {sql}\n{} c1 RESERVED -- {sql}\n{} c2 SHARED\n{} c2 RESERVED=BUSY -- {sql}\n{} c2 U(NONE)\n{} c1 U(NONE)", at + 100, at + 110, at + 120, at + 130, at + 140, at + 150));
    }
    // A path that was not UTF-8.
    process.name(
        r#"{"t":"file","file":9,"lib":0,"path":"/data/\ufffd.db","path_hex":"2f646174612fff2e6462","dev":8,"ino":77,"fs":"ext4"}"#,
    );
    process.write(dir.path());
    let made = all(dir.path());
    let slices = Timeline::of(&made["perfetto"].0).slices;
    assert!(slices.iter().any(|slice| slice.args.get("thread") == Some(&format!("{hostile} 101"))));
    for format in ["perfetto", "firefox"] {
        assert!(made[format].0.len() < 100_000, "{format}: a megabyte of SQL is cut, {} bytes", made[format].0.len());
        assert!(shows(&made, format, "bytes)"), "{format}");
    }
    let (table, _) = export(dir.path(), &["-f", "csv", "--table", "holds"]);
    let mut reader = csv_rows(&table);
    let header = reader.remove(0);
    assert!(reader.iter().all(|row| row.len() == header.len()) && reader.iter().any(|row| row[3] == hostile));
    assert!(String::from_utf8(made["folded"].0.clone()).unwrap().lines().all(|line| !line.contains('\u{1b}')));
}

/// RFC 4180, read the simple way.
fn csv_rows(bytes: &[u8]) -> Vec<Vec<String>> {
    let text = std::str::from_utf8(bytes).unwrap();
    let (mut rows, mut row, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.push(chars.next().unwrap()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            c => field.push(c),
        }
    }
    rows
}

#[test]
fn five_hundred_processes_and_two_of_one_number() {
    let dir = tempfile::tempdir().unwrap();
    for pid in 1..=500 {
        let mut process = Process::new(pid);
        process.run("100 c1 open\n110 c1 SHARED -- SELECT 1\n120 c1 U(NONE)\n130 c1 close");
        if pid == 500 {
            process.header.pid = 7;
            process.run("200 c2 open\n210 c2 SHARED -- SELECT 2\n220 c2 U(NONE)\n230 c2 SHARED\n240 c2 U(NONE)");
        }
        process.write(dir.path());
    }
    let made = all(dir.path());
    let perfetto = Timeline::of(&made["perfetto"].0);
    let pids = &perfetto.processes;
    assert_eq!((pids.len(), pids.iter().collect::<BTreeSet<_>>().len()), (500, 500));
    assert_eq!(perfetto.slices.len(), 502);
    let firefox: Value = serde_json::from_slice(&made["firefox"].0).unwrap();
    let threads = firefox["threads"].as_array().unwrap();
    let ids: BTreeSet<_> = threads.iter().map(|thread| thread["tid"].as_str().unwrap()).collect();
    assert_eq!((threads.len(), ids.len()), (1_001, 1_001));
    // The busiest of them are seen first, and it is the last one.
    let visible = firefox["meta"]["initialVisibleThreads"].as_array().unwrap();
    let busiest = threads.iter().position(|thread| thread["markers"]["length"] == 2).unwrap();
    assert!(visible.len() == 100 && visible.contains(&busiest.into()), "{busiest}: {visible:?}");
}

#[test]
fn short_holds_are_left_out_where_asked() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    for format in ["perfetto", "firefox"] {
        let (_, said) = export(dir.path(), &["-f", format, "--min-hold", "1ms"]);
        assert!(said.contains("left out: 3 holds shorter than 1.00 ms"), "{said}");
    }
    let perfetto = timeline(dir.path(), &["--min-hold", "1ms"]);
    let lengths: Vec<u64> = perfetto.of_category("hold").map(|slice| slice.to - slice.from).collect();
    assert!(lengths.len() > 1 && lengths.iter().all(|&length| length >= 1_000_000), "{lengths:?}");
    let output =
        Command::new(env!("CARGO_BIN_EXE_locktrace")).args(["export", "-f", "perfetto", "--min-hold", "soon"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(fs::metadata("soon").is_err());
}
