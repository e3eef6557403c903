//! Thousands of short processes, and thousands of short threads: what they leave is bounded, in proportion and readable.
#![allow(clippy::unwrap_used)]

use crate::live::host::again;
use crate::place::{PYTHON, Place, parts, text};
use rusqlite::Connection;
use sqlite_locktrace::trace::Trace;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/crowd.py");
const FORKS: usize = 1900;
const SHELLS: usize = 100;

/// Bytes that the files of a directory take on the disk, and how many there are.
fn space(dir: &Path) -> (u64, usize) {
    let sizes: Vec<u64> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512).collect();
    (sizes.iter().sum(), sizes.len())
}

#[test]
fn two_thousand_short_processes() {
    let place = Place::new();
    let made = Connection::open(place.path("a.db")).unwrap();
    made.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(v)").unwrap();
    // Seconds on a quiet machine.
    let command = ["300", env!("CARGO_BIN_EXE_locktrace"), "run", "--", PYTHON, PROGRAM, "a.db"];
    let counts = [FORKS.to_string(), SHELLS.to_string()];
    let begun = Instant::now();
    let (code, out, err) = parts(&place.command("timeout").args(command).args(counts).output().unwrap());
    println!("they took {:?}", begun.elapsed());
    assert_eq!((code, out), (Some(0), format!("{} ok\n", FORKS + SHELLS)), "{err}");
    drop(made);

    let traces = place.path("locktrace-trace");
    let processes = FORKS + SHELLS + 1;
    let (bytes, files) = space(&traces);
    println!("{processes} processes: {files} files, {} KiB a process", bytes / 1024 / processes as u64);
    assert_eq!(files, 2 * processes, "two files each, and nothing unfinished");
    // A header, the first piece of the ring, and the names, which are nearly a page.
    assert!(bytes < processes as u64 * (40 << 10), "{bytes} bytes for {processes} processes");

    let trace = Trace::open(&traces).unwrap();
    assert_eq!((trace.logs().len(), trace.problems().len()), (processes, 0), "{:?}", trace.problems().first());
    for tally in trace.events().unwrap().finish().tallies {
        assert!(tally.read > 5 && tally.read == tally.head, "{tally:?}");
    }
    drop(trace);
    // The reader needs little, too: it may use no more address space than this, nor as many descriptors as there are logs.
    let begun = Instant::now();
    let command = format!("ulimit -v 400000; ulimit -n 64; exec {} report locktrace-trace", env!("CARGO_BIN_EXE_locktrace"));
    let output = place.command("timeout").args(["60", "sh", "-c", &command]).output().unwrap();
    let report = text(&output.stdout);
    println!("reported in {:?}", begun.elapsed());
    assert!(output.status.success() && report.contains(&format!("from 2,{:03} process logs", processes - 2000)), "{report}");
}

const THREADS: u32 = 6000;

#[test]
#[ignore = "the other tests start it as a child process"]
fn many_threads() {
    let Some(database) = std::env::var_os("CROWD_DATABASE") else { return };
    sqlite_locktrace::Builder::new().install().unwrap();
    let mut connection = Connection::open(&database).unwrap();
    connection.execute_batch("CREATE TABLE t(v)").unwrap();
    for n in 0..THREADS {
        let work = move || {
            connection.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
            connection
        };
        connection = std::thread::Builder::new().name(format!("short-{n}")).spawn(work).unwrap().join().unwrap();
    }
}

#[test]
fn six_thousand_short_threads() {
    let place = Place::new();
    let mut command = again("many::many_threads");
    command.env("CROWD_DATABASE", place.path("a.db")).env("LOCKTRACE_DIR", place.path("trace"));
    let output = command.env_remove("LOCKTRACE_LIMIT").env_remove("LOCKTRACE_SQL").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stderr), "", "nothing failed");
    let trace = Trace::open(&place.path("trace")).unwrap();
    // Past the cap a thread is known by its number only, and that is said.
    let problems: Vec<&str> = trace.problems().iter().map(|problem| problem.what.as_str()).collect();
    assert_eq!(problems, ["more than 4096 names of kind `thread`: later ones are unknown"]);
    let log = &trace.logs()[0];
    assert_eq!((trace.logs().len(), log.lost_names), (1, 0));
    let mut threads = std::collections::BTreeSet::new();
    let mut named = 0;
    let mut events = trace.events().unwrap();
    for event in events.by_ref() {
        if threads.insert(event.record.tid) {
            named += usize::from(log.names.thread(event.record.tid).is_some());
        }
    }
    let tally = events.finish().tallies[0];
    assert_eq!((tally.read, tally.lost), (tally.head, 0));
    println!("{} thread numbers, {named} of them named, {tally:?}", threads.len());
    assert!(threads.len() > 5500 && (4000..=4096).contains(&named), "{} threads, {named} of them named", threads.len());
    let names = std::fs::read_dir(place.path("trace")).unwrap().map(|entry| entry.unwrap());
    let names = names.into_iter().find(|file| file.path().extension().unwrap() == "names").unwrap();
    let written = std::fs::read(names.path()).unwrap().iter().filter(|&&byte| byte != 0).count();
    assert!(written < 4096 * 100, "{written} bytes");
}
