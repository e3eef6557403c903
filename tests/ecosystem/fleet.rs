//! Datasets and databases of `locktrace export` in the hands of others: DuckDB and Spark run `examples/fleet.sql` over the traces of several hosts and find
//! what `report --json` says of each; Datasette serves a view.

use crate::fleet_hosts::{self as hosts, HOSTS, Host};
use crate::packages::{self, skipped};
use crate::place::{Place, parts};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

const QUERIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/fleet.sql");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ecosystem/fleet.py");

/// A dataset of all hosts, and what the report says of each.
fn fleet(place: &Place) -> Vec<(&'static Host, Value)> {
    let traces = HOSTS.iter().zip(1..).map(|(host, number)| {
        let trace = format!("trace{number}");
        std::fs::create_dir(place.path(&trace)).unwrap();
        hosts::write(host, &place.path(&trace));
        let (code, out, err) = parts(&place.locktrace(&["export", &trace, "--format", "parquet", "-o", "fleet"]));
        assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
        let (_, report, _) = parts(&place.locktrace(&["report", "--json", &trace]));
        (host, serde_json::from_str(&report).unwrap())
    });
    traces.collect()
}

/// What the queries answer.
fn asked(python: &str, engine: &str, place: &Place) -> BTreeMap<String, Vec<Vec<Value>>> {
    let output =
        place.command("timeout").args(["500", python, SCRIPT, engine, "fleet", QUERIES]).stdin(Stdio::null()).output().unwrap();
    let (code, out, err) = parts(&output);
    assert_eq!(code, Some(0), "{err}");
    serde_json::from_str(&out).unwrap()
}

fn each<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().unwrap().iter()
}

/// Holds the answers against the reports, number by number.
fn agree(answers: &BTreeMap<String, Vec<Vec<Value>>>, reports: &[(&Host, Value)]) {
    let rows = |name: &str| answers[name].iter().map(|row| Value::Array(row.clone()).to_string()).collect::<BTreeSet<_>>();
    let mut causes: BTreeMap<(String, String, String), [i64; 3]> = BTreeMap::new();
    let mut culprits: BTreeMap<String, (String, BTreeSet<&str>, [i64; 3])> = BTreeMap::new();
    let (mut refusals, mut exposed, mut losses) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut days = BTreeSet::new();
    for (host, report) in reports {
        for incident in each(report, "incidents") {
            let day = &incident["first"].as_str().unwrap()[..10];
            days.insert((host.name, day.to_owned()));
            let harm = [1, i64::from(incident["outcome"] == "gave-up"), incident["waited_ns"].as_i64().unwrap()];
            let add = |sums: &mut [i64; 3]| sums.iter_mut().zip(harm).for_each(|(sum, more)| *sum += more);
            let cause = incident["cause"].as_str().unwrap().to_owned();
            add(causes.entry((host.name.to_owned(), day.to_owned(), cause)).or_default());
            let blocker = &incident["blockers"][0];
            if let Some(hash) = blocker["sql_hash"].as_str() {
                let text = blocker["sql"].as_str().unwrap().to_owned();
                let known = culprits.entry(hash.to_owned()).or_insert((text, BTreeSet::new(), [0; 3]));
                known.1.insert(host.name);
                add(&mut known.2);
            }
        }
        for database in each(report, "databases") {
            for lock in each(database, "locks") {
                let mode = lock["mode"].as_str().unwrap_or_default();
                let refused = lock["refused"].as_i64().unwrap();
                if refused > 0 {
                    refusals.insert(json!([host.name, database["path"], lock["lock"], mode, refused]).to_string());
                }
                // Each day's holds together are the trace's; on one day, so is the percentile, to the three digits the report has.
                let of_lock = answers["hold_lengths"]
                    .iter()
                    .filter(|row| row[0] == host.name && row[2] == database["path"] && row[3] == lock["lock"] && row[4] == mode);
                let of_lock: Vec<&Vec<Value>> = of_lock.collect();
                let sum = |column: usize| of_lock.iter().map(|row| row[column].as_i64().unwrap()).sum::<i64>();
                let held = &lock["held"];
                assert_eq!((Some(sum(5)), Some(sum(8))), (held["count"].as_i64(), held["total_ns"].as_i64().or(Some(0))), "{lock}");
                if let [row] = of_lock[..] {
                    let [p99, report] = [&row[6], &held["p99_ns"]].map(|value| value.as_f64().unwrap());
                    assert!((p99 - report).abs() <= report / 1000.0, "{lock}: {p99}");
                    assert_eq!(row[7], held["max_ns"]);
                }
            }
        }
        for hazard in each(report, "hazards").filter(|hazard| hazard["id"] == "wal-reset-exposure") {
            let path = &report["databases"][hazard["database"].as_u64().unwrap() as usize]["path"];
            exposed.insert(json!([host.name, path, host.sqlite]).to_string());
        }
        losses.insert(json!([host.name, 2, report["records"], report["records"], 0, 0]).to_string());
    }
    let causes: BTreeSet<String> = causes
        .into_iter()
        .map(|((host, day, cause), [count, errors, waited])| json!([host, day, cause, count, errors, waited]).to_string())
        .collect();
    let culprits: BTreeSet<String> = culprits
        .into_iter()
        .map(|(hash, (text, hosts, [count, errors, waited]))| json!([hash, text, hosts.len(), count, errors, waited]).to_string())
        .collect();
    assert!(
        days.len() > HOSTS.len() && causes.len() > 9 && culprits.len() >= 2 && exposed.len() == 2,
        "the traces are worth asking about"
    );
    assert_eq!(rows("top_causes"), causes);
    assert_eq!(rows("culprits"), culprits);
    assert_eq!(rows("refusals"), refusals);
    assert_eq!(rows("exposed"), exposed);
    assert_eq!(rows("losses"), losses);
    let longest = &answers["longest_holds"];
    assert_eq!((longest.len(), rows("longest_holds").len()), (20, 20), "each once, on however many hosts its statement runs");
    assert!(longest.iter().all(|row| row[8].is_string()), "every one has its statement: {longest:?}");
    let most =
        reports.iter().flat_map(|(_, report)| each(report, "databases")).flat_map(|database| each(database, "longest_holds"));
    assert_eq!(longest[0][5].as_i64(), most.filter_map(|hold| hold["ns"].as_i64()).max());
}

#[test]
fn duckdb_asks_a_fleet_and_finds_what_the_reports_say() {
    let Some(python) = packages::venv("fleet", "fleet-requirements.txt", "import duckdb, datasette") else { return };
    let place = Place::new();
    let mut reports = fleet(&place);
    let answers = asked(&python, "duckdb", &place);
    agree(&answers, &reports);
    // The same trace again, once it has grown: it takes its own place. A hold that has not ended is the longest, and counts for no length.
    let mut grown = hosts::processes(&HOSTS[2]);
    grown[0].run("3999000000 c1 S READ1 -- SELECT 1\n3999000500 c1 U READ1\n3999001000 c1 S READ1 -- SELECT 1");
    for process in &grown {
        process.write(&place.path("trace3"));
    }
    let (code, _, err) = parts(&place.locktrace(&["export", "trace3", "--format", "parquet", "-o", "fleet"]));
    assert_eq!(code, Some(0), "{err}");
    let again = asked(&python, "duckdb", &place);
    let (_, report, _) = parts(&place.locktrace(&["report", "--json", "trace3"]));
    reports[2].1 = serde_json::from_str(&report).unwrap();
    agree(&again, &reports);
    assert_eq!((&again["top_causes"], &again["refusals"]), (&answers["top_causes"], &answers["refusals"]));
    let records =
        |answers: &BTreeMap<String, Vec<Vec<Value>>>| answers["losses"].iter().map(|row| row[2].as_i64().unwrap()).sum::<i64>();
    assert_eq!(records(&again), records(&answers) + 3);
}

#[test]
#[ignore = "Spark is 400 MB and slow to begin: a step of its own in .ci/run"]
fn spark_finds_the_same() {
    if Command::new("java").arg("-version").output().is_err() {
        return skipped("java is not installed");
    }
    let Some(python) = packages::venv("spark", "spark-requirements.txt", "import pyspark") else { return };
    let place = Place::new();
    let reports = fleet(&place);
    agree(&asked(&python, "spark", &place), &reports);
}

/// Ends a program that serves until it is ended.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        // `timeout` hands a SIGTERM on.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

#[test]
fn datasette_serves_the_views() {
    let Some(python) = packages::venv("fleet", "fleet-requirements.txt", "import duckdb, datasette") else { return };
    let place = Place::new();
    std::fs::create_dir(place.path("trace")).unwrap();
    hosts::write(&HOSTS[0], &place.path("trace"));
    let (code, _, err) = parts(&place.locktrace(&["export", "trace", "--format", "sqlite", "-o", "trace.db"]));
    assert_eq!(code, Some(0), "{err}");
    let (_, report, _) = parts(&place.locktrace(&["report", "--json", "trace"]));
    let report: Value = serde_json::from_str(&report).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut datasette = place.command("timeout");
    datasette.args(["120", &python, "-m", "datasette", "serve", "trace.db", "-h", "127.0.0.1", "-p", &port.to_string()]);
    let mut served = Served(datasette.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let begun = std::time::Instant::now();
    let answer = loop {
        match get(port, "/trace/causes_by_harm.json?_shape=array") {
            Some(answer) => break answer,
            None => assert!(
                begun.elapsed().as_secs() < 100 && served.0.try_wait().unwrap().is_none(),
                "Datasette did not begin to serve"
            ),
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    let rows: Vec<Value> = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
    let found: Vec<_> = rows.iter().map(|row| (&row["cause"], &row["incidents"], &row["gave_up"])).collect();
    let mut causes: Vec<_> = each(&report, "causes").map(|cause| (&cause["id"], &cause["count"], &cause["gave_up"])).collect();
    let mut sorted = found.clone();
    for list in [&mut causes, &mut sorted] {
        list.sort_by_key(|cause| cause.0.to_string());
    }
    assert_eq!(sorted, causes);
    assert!(get(port, "/trace/longest_holds.json?_shape=array&_size=3").unwrap().contains("BEGIN IMMEDIATE"));
    let waits = get(port, "/trace/waits.json?_shape=array&_size=1").unwrap();
    let waits: Vec<Value> = serde_json::from_str(&waits).unwrap_or_else(|error| panic!("{error}: {waits}"));
    let longest = each(&report, "incidents").map(|incident| incident["waited_ns"].as_f64().unwrap() / 1e6).fold(0.0, f64::max);
    assert_eq!((waits.len(), &waits[0]["waited_ms"]), (1, &json!(longest)), "the longest first");
}
