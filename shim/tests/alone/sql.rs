//! The tables that the extension registers, on the linked SQLite, through the extension's own entry point. `tests/sequences/sql_surface.rs` of the
//! workspace reads them on the system's SQLite, from outside.
#![allow(missing_docs)]
#![allow(clippy::undocumented_unsafe_blocks)] // tests of a C interface

use crate::common::sql::{ask, load, one, open};
use crate::common::{alone, own_trace, quiet};
use rusqlite::Connection;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

#[test]
fn who_holds_what_now() {
    let body = |dir: &Path| {
        let loader = load(dir);
        assert_eq!(ask(&loader, "SELECT * FROM locktrace_locks"), [""; 0]);
        let db = dir.join("a.db");
        let (writer, other) = (open(&db), open(&db));
        writer.execute_batch("CREATE TABLE t(v); BEGIN IMMEDIATE").unwrap();
        other.execute_batch("INSERT INTO t VALUES (1)").unwrap_err();
        let what = "connection, lock, slots, trim(sql), refused, refused_sql, flags";
        assert_eq!(
            ask(&loader, &format!("SELECT {what} FROM locktrace_locks ORDER BY 1")),
            ["1|RESERVED|-|BEGIN IMMEDIATE|-|-|-", "2|NONE|-|-|RESERVED|INSERT INTO t VALUES (1)|-"]
        );
        let me = (std::process::id(), unsafe { libc::gettid() });
        let who =
            "SELECT database, pid, thread_id, held BETWEEN 0 AND 60, reading >= held, since LIKE '20__-__-__ __:__:__.______',
                   abs(julianday('now') - julianday(since)) * 86400 < 60, handle, vfs, sqlite, length(sql_hash), thread NOT NULL
                   FROM locktrace_locks WHERE connection = 1";
        let handle = unsafe { writer.handle() } as usize;
        let expected = format!("{}|{}|{}|1|1|1|1|{handle}|locktrace|{}|16|1", db.display(), me.0, me.1, rusqlite::version());
        assert_eq!(one(&loader, who), expected);
        writer.execute_batch("COMMIT; PRAGMA journal_mode=WAL; BEGIN IMMEDIATE").unwrap();
        other.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        assert_eq!(
            ask(&loader, "SELECT connection, lock, slots, trim(sql) FROM locktrace_locks ORDER BY 1"),
            // Both read the WAL that has just been made, from its beginning on.
            ["1|SHARED|S READ0, X WRITE|BEGIN IMMEDIATE", "2|SHARED|S READ0|SELECT * FROM t"]
        );
        // Every way to ask is the same table: twice in one query, on a later connection, under another name.
        let all = "SELECT a.connection, b.slots FROM locktrace_locks a JOIN locktrace_locks b USING (connection)";
        assert_eq!(ask(&loader, all), ["1|S READ0, X WRITE", "2|S READ0"]);
        let late = Connection::open_in_memory().unwrap();
        late.execute_batch("CREATE VIRTUAL TABLE temp.held USING locktrace_locks").unwrap();
        assert_eq!(one(&late, "SELECT count(*) FROM temp.held WHERE slots LIKE '%WRITE'"), "1");
        late.execute_batch("DROP TABLE temp.held").unwrap();
        assert!(late.execute("DELETE FROM locktrace_locks", []).is_err(), "read-only");
        drop((writer, other));
        assert_eq!(ask(&loader, "SELECT * FROM locktrace_locks"), [""; 0]);
    };
    alone(body, quiet);
}

#[test]
fn what_happened_last() {
    let body = |dir: &Path| {
        let loader = load(dir);
        assert_eq!(ask(&loader, "SELECT * FROM locktrace_events"), [""; 0]);
        let db = dir.join("a.db");
        let (first, second) = (open(&db), open(&db));
        first.execute_batch("CREATE TABLE t(v); BEGIN IMMEDIATE").unwrap();
        second.execute_batch("INSERT INTO t VALUES (1)").unwrap_err();
        let last = "SELECT connection, call, lock, result, after, sql FROM locktrace_events ORDER BY number DESC LIMIT 3";
        assert_eq!(
            ask(&loader, last),
            [
                "2|xUnlock|NONE|OK|NONE|-",
                "2|xLock|RESERVED|BUSY|SHARED|INSERT INTO t VALUES (1)",
                "2|xLock|SHARED|OK|SHARED|INSERT INTO t VALUES (1)"
            ]
        );
        let sound = format!(
            "SELECT count(*), count(DISTINCT number), min(number), sum(database = '{}'), sum(duration < 0 OR duration > 60),
                    sum(abs(julianday('now') - julianday(time)) * 86400 > 60) FROM locktrace_events",
            db.display()
        );
        let trace = own_trace(&dir.join("trace"), std::process::id());
        let n = trace.records.len();
        assert_eq!(one(&loader, &sound), format!("{n}|{n}|0|{n}|0|0"));
        first.execute_batch("COMMIT; PRAGMA synchronous=OFF; PRAGMA journal_mode=WAL; INSERT INTO t VALUES (2)").unwrap();
        let wal = "SELECT lock, duration IS NULL FROM locktrace_events WHERE call = 'xShmLock' AND connection = 1
                   ORDER BY number DESC LIMIT 2";
        assert_eq!(ask(&loader, wal), ["U READ1|1", "U WRITE|1"]);
        // The ring wraps: the newest are there, each once.
        let (mut head, mut capacity) = (0, 0);
        for i in 0..20_000 {
            first.execute("UPDATE t SET v = ?1", [i]).unwrap();
            if i % 1000 == 0 {
                let header = own_trace(&dir.join("trace"), std::process::id()).header;
                (head, capacity) = (header.head, header.capacity);
                if head > capacity {
                    break;
                }
            }
        }
        assert!(head > capacity, "{head}");
        let what = "SELECT count(*), min(number), max(number) FROM locktrace_events";
        assert_eq!(one(&loader, what), format!("{capacity}|{}|{}", head - capacity, head - 1));
        // No file is read for it: the records are in memory.
        std::fs::remove_dir_all(dir.join("trace")).unwrap();
        assert_eq!(one(&loader, what), format!("{capacity}|{}|{}", head - capacity, head - 1));
        assert_eq!(one(&loader, "SELECT count(*) FROM locktrace_locks"), "2");
    };
    alone(body, quiet);
}

#[test]
fn the_state_of_the_recorder() {
    let body = |dir: &Path| {
        let loader = load(dir);
        let what =
            "SELECT recording, directory, records, lost, names_lost, record_limit, sql, open_files, pid FROM locktrace_status";
        let (trace, pid) = (dir.join("trace"), std::process::id());
        let fixed =
            |state: &str, records: u64, open: u32| format!("{state}|{}|{records}|0|0|4194304|text|{open}|{pid}", trace.display());
        assert_eq!(one(&loader, what), fixed("waiting", 0, 0));
        assert_eq!(one(&loader, "SELECT log, version FROM locktrace_status"), format!("-|{}", env!("CARGO_PKG_VERSION")));
        let connection = open(&dir.join("a.db"));
        let head = own_trace(&trace, pid).header.head;
        assert_eq!(one(&loader, what), fixed("on", head, 1));
        let log = one(&loader, "SELECT log FROM locktrace_status");
        assert!(Path::new(&log).is_file() && log.ends_with(".ring"), "{log}");
        let line = format!("recording on, {head} records, 0 lost, SQL text, limit 4194304 bytes, {}", trace.display());
        assert_eq!(one(&connection, "PRAGMA locktrace"), line);
        assert_eq!(one(&connection, "PRAGMA main.LockTrace_SQL"), "text");
    };
    alone(body, quiet);
}

#[test]
fn asking_never_waits_for_what_it_shows() {
    let body = |dir: &Path| {
        let loader = load(dir);
        // If anything hangs, this ends the process, and with it the test.
        unsafe { libc::alarm(300) };
        let db = dir.join("a.db");
        let holder = open(&db);
        holder.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(v)").unwrap();
        let locked = dir.join("locked.db");
        let exclusive = open(&locked);
        exclusive.execute_batch("CREATE TABLE t(v); BEGIN EXCLUSIVE").unwrap();
        let (asked, named, done) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (db, asked, done) = (&db, &asked, &done);
                scope.spawn(move || {
                    let connection = open(db);
                    connection.busy_timeout(Duration::from_secs(250)).unwrap();
                    connection.execute_batch("PRAGMA synchronous=OFF").unwrap();
                    let mut written = 0;
                    // Until everybody has asked often enough, and at least so much.
                    while written < 20 || !done.load(Ordering::Relaxed) {
                        connection.execute_batch(&format!("INSERT INTO t VALUES ({number})")).unwrap();
                        written += 1;
                    }
                    assert!(asked.load(Ordering::Relaxed) > 0);
                });
            }
            let askers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let mine = Connection::open_in_memory().unwrap();
                        for _ in 0..25 {
                            let rows =
                                ask(&mine, "SELECT sql FROM locktrace_locks WHERE slots LIKE '%X WRITE%' AND sql LIKE 'INSERT%'");
                            named.fetch_add(rows.len() as u32, Ordering::Relaxed);
                            let held = "SELECT lock FROM locktrace_locks WHERE database LIKE '%locked.db'";
                            assert_eq!(one(&mine, held), "EXCLUSIVE");
                            one(&mine, "SELECT recording FROM locktrace_status");
                            asked.fetch_add(1, Ordering::Relaxed);
                        }
                        assert_ne!(ask(&mine, "SELECT * FROM locktrace_events LIMIT 10"), [""; 0]);
                    })
                })
                .collect();
            askers.into_iter().for_each(|asker| asker.join().unwrap());
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(asked.into_inner(), 200);
        assert!(named.into_inner() > 0, "a writer was seen at work");
        // It took no lock of theirs: nothing of the askers is among the records.
        assert_eq!(one(&loader, "SELECT count(*) FROM locktrace_events WHERE sql LIKE '%locktrace_locks%'"), "0");
        assert_eq!(one(&exclusive, "PRAGMA integrity_check"), "ok");
        // A pragma needs no lock either, even where no statement could be prepared.
        let refused = open(&locked);
        assert!(refused.prepare("SELECT * FROM locktrace_locks").is_err(), "SQLite reads the schema first");
        assert!(one(&refused, "PRAGMA locktrace").starts_with("recording on"));
    };
    alone(body, quiet);
}
