//! Exports read by tools that others wrote: Perfetto's own schema, and more if they can be had.

use crate::common::contended;
use crate::packages::python;
use crate::place::{Place, parts};
use crate::seen::Seen;
use serde_json::Value;
use std::collections::BTreeMap;

/// A writer that holds the lock until four others have been refused; one of them waits until it releases it.
const PROGRAM: &str = "
import sqlite3, threading
def connect(timeout):
    return sqlite3.connect('app.db', isolation_level=None, timeout=timeout, check_same_thread=False)
holder = connect(0)
holder.execute('PRAGMA journal_mode=wal')
holder.execute('CREATE TABLE t(v)')
patient = connect(60)
patient.execute('SELECT * FROM t').fetchall()
holder.execute('BEGIN IMMEDIATE')
holder.execute('INSERT INTO t VALUES (1)')
slept = threading.Event()
def wait():
    patient.execute('INSERT INTO t VALUES (2)')
waiter = threading.Thread(target=wait)
waiter.start()
for number in range(3):
    hasty = connect(0.02)
    try:
        hasty.execute('BEGIN IMMEDIATE')
        raise SystemExit('it should have been refused')
    except sqlite3.OperationalError as error:
        print(error)
    hasty.close()
holder.execute('COMMIT')
waiter.join()
";

#[test]
fn perfetto_reads_what_report_says() {
    let Some(python) = python() else { return };
    let place = Place::new();
    std::fs::write(place.path("program.py"), PROGRAM).unwrap();
    let (code, out, err) = parts(&place.locktrace(&["run", "-o", "locktrace-trace", "--", "/usr/bin/python3", "program.py"]));
    assert_eq!((code, out.matches("database is locked").count()), (Some(0), 3), "{err}");
    let seen = Seen::of(&place);
    let (code, _, err) = parts(&place.locktrace(&["export", "locktrace-trace", "-o", "out.pftrace"]));
    assert_eq!(code, Some(0), "{err}");

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ecosystem/perfetto_trace.py");
    let (code, out, err) = parts(&place.command(&python).args([script, "out.pftrace"]).output().unwrap());
    assert_eq!(code, Some(0), "{err}");
    let perfetto: Value = serde_json::from_str(&out).unwrap();

    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    for lock in seen.report["databases"].as_array().unwrap().iter().flat_map(|db| db["locks"].as_array().unwrap()) {
        let mode = lock["mode"].as_str().map_or("", |mode| if mode == "SHARED" { "S " } else { "X " });
        assert_eq!(lock["unknown_holds"], 0, "{lock}");
        let count = lock["held"]["count"].as_u64().unwrap();
        *counted.entry(format!("{mode}{}", lock["lock"].as_str().unwrap())).or_default() += count;
    }
    counted.retain(|_, count| *count > 0);
    // The lifetime SHARED of WAL mode is drawn, and not counted.
    counted.remove("SHARED");
    let mut drawn: BTreeMap<String, u64> = serde_json::from_value(perfetto["count"].clone()).unwrap();
    drawn.remove("SHARED");
    assert_eq!(drawn, counted);

    let incidents = seen.report["incidents"].as_array().unwrap();
    let waits = perfetto["waits"].as_array().unwrap();
    let of = |list: &[Value], id: &str| -> Vec<(u64, String, String)> {
        let text = |item: &Value, key: &str| item[key].as_str().unwrap().to_owned();
        let mut all: Vec<_> =
            list.iter().map(|item| (item[id].as_u64().unwrap(), text(item, "cause"), text(item, "outcome"))).collect();
        all.sort();
        all
    };
    assert_eq!(of(waits, "incident"), of(incidents, "id"));
    assert!(waits.len() >= 4, "{waits:?}");
    let blockers: usize = incidents.iter().map(|incident| incident["blockers"].as_array().unwrap().len()).sum();
    assert_eq!(perfetto["arrows"].as_u64().unwrap(), blockers as u64);
    assert!(waits.iter().any(|wait| wait["blocked by"].as_str().unwrap().contains("X WRITE by BEGIN IMMEDIATE")), "{waits:?}");
    assert_eq!(perfetto["connections"], 5);
}

/// The text of `tests/expected`, which is made without Perfetto's schema, means by it what the file says.
#[test]
fn perfetto_has_the_names_that_we_have_for_its_fields() {
    let Some(python) = python() else { return };
    let place = Place::new();
    std::fs::create_dir(place.path("trace")).unwrap();
    contended(&place.path("trace"));
    let (code, _, err) = parts(&place.locktrace(&["export", "trace", "-o", "out.pftrace"]));
    assert_eq!(code, Some(0), "{err}");
    let script = "import sys
from google.protobuf import text_format
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace
binary = Trace.FromString(open('out.pftrace', 'rb').read())
text = text_format.Parse(open(sys.argv[1]).read(), Trace())
assert text == binary, next((a, b) for a, b in zip(text.packet, binary.packet) if a != b)
print(len(text.packet))";
    let expected = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/expected/export-perfetto.txt");
    let (code, out, err) = parts(&place.command(&python).args(["-c", script, expected]).output().unwrap());
    assert_eq!((code, out.trim().parse::<usize>().is_ok_and(|packets| packets > 40)), (Some(0), true), "{err}");
}
