//! The origin of each call: the connection, the file, the statement, the thread, and how many bytes it wrote.
#![allow(clippy::unwrap_used)]

use crate::live::host::Kind as Host;
use crate::live::render::render;
use crate::live::stage::{Stage, locktrace, on_both};
use serde_json::Value;
use shim::event::{FileKind, Flags, Kind};
use shim::format::record::Record;
use std::collections::BTreeSet;

/// The records of the last step.
fn last(s: &Stage) -> Vec<Record> {
    s.last.iter().map(|event| event.record).collect()
}

/// Those of the last step that satisfy this.
fn those(s: &Stage, is: impl Fn(&Record) -> bool) -> Vec<Record> {
    last(s).into_iter().filter(|record| is(record)).collect()
}

/// The connections in the records of the last step.
fn conns(s: &Stage) -> BTreeSet<u32> {
    last(s).iter().map(|record| record.conn).collect()
}

/// The statements in the records of the last step, each with its call: `RESERVED: INSERT …`; `-` where none was running.
fn statements(s: &Stage) -> Vec<String> {
    let trace = s.trace();
    let text = |hash: u64| match hash {
        0 => "-".to_owned(),
        hash => trace.logs()[0].names.sql(hash).unwrap().text.text.clone(),
    };
    let locks = those(s, |record| matches!(record.kind, Kind::LOCK | Kind::SHM_LOCK) && !record.flags.has(Flags::SHM_UNLOCK));
    locks.iter().map(|record| format!("{}: {}", render(record), text(record.sql))).collect()
}

#[test]
fn journals_and_logs_belong_to_their_connection() {
    on_both(|s| {
        // Four connections on three databases, all on one thread, whose transactions interleave.
        let path = |s: &Stage, name: &str| s.dir().join(name).to_str().unwrap().to_owned();
        for (conn, name, mode) in [("A", "one.db", "DELETE"), ("B", "two.db", "DELETE"), ("C", "three.db", "WAL")] {
            let path = path(s, name);
            s.open_at(conn, &path);
            s.sql(conn, &format!("PRAGMA journal_mode={mode}"));
            s.sql(conn, "CREATE TABLE t(v)");
        }
        let three = path(s, "three.db");
        s.open_at("D", &three);
        for conn in ["A", "B", "C"] {
            s.sql(conn, "BEGIN IMMEDIATE");
            s.sql(conn, "INSERT INTO t VALUES(1)");
        }
        s.sql("D", "SELECT * FROM t");
        let rollback = "EXCLUSIVE, sync journal, sync journal, sync database, delete journal, wrote database, wrote journal, \
                        U(SHARED), U(NONE)";
        // A call of another connection would be marked with its name, and an unknown one with its number.
        assert_eq!(s.sql("A", "COMMIT"), rollback);
        assert_eq!(conns(s), BTreeSet::from([1]));
        assert_eq!(s.sql("C", "COMMIT"), "sync wal, wrote wal, U WRITE, U READ1");
        assert_eq!(conns(s), BTreeSet::from([3]));
        assert_eq!(s.sql("B", "COMMIT"), rollback);
        assert_eq!(conns(s), BTreeSet::from([2]));
        // xDelete names no connection: that is inferred, and says so.
        let deleted = those(s, |record| record.kind == Kind::DELETE);
        assert_eq!(deleted.len(), 1);
        assert!(deleted[0].flags.has(Flags::ASSUMED));
        s.close("C");
        assert_eq!(conns(s), BTreeSet::from([3]));
        let calls = s.close("D");
        assert!(calls.ends_with("close wal, delete wal, U(NONE), close"), "{calls}");
        assert_eq!(conns(s), BTreeSet::from([4]));
    });
}

#[test]
fn attached_databases_share_a_handle() {
    on_both(|s| {
        s.open("A");
        s.sql("A", "CREATE TABLE t(v)");
        let mut handles = BTreeSet::new();
        let of_all: Vec<Record> = s.trace().events().unwrap().map(|event| event.record).collect();
        handles.extend(of_all.iter().filter(|record| record.kind == Kind::HANDLE).map(|record| (record.conn, record.arg)));
        s.sql("A", &format!("ATTACH '{}' AS other", s.dir().join("other.db").display()));
        handles.extend(those(s, |record| record.kind == Kind::HANDLE).iter().map(|record| (record.conn, record.arg)));
        let handles: Vec<(u32, u64)> = handles.into_iter().collect();
        assert_eq!(handles.iter().map(|(conn, _)| *conn).collect::<Vec<_>>(), [1, 2], "each file has a number of its own");
        assert_ne!(handles[0].1, 0);
        assert_eq!(handles[0].1, handles[1].1, "and both have the same sqlite3");
        s.sql("A", "CREATE TABLE other.u(v)");
        s.sql("A", "BEGIN");
        s.sql("A", "INSERT INTO t VALUES(1)");
        assert_eq!(conns(s), BTreeSet::from([1]));
        s.sql("A", "INSERT INTO u VALUES(1)");
        assert_eq!(conns(s), BTreeSet::from([2]));
        s.sql("A", "COMMIT");
        let files: BTreeSet<(u32, u32)> = last(s).iter().map(|record| (record.conn, record.file)).collect();
        assert_eq!(files, BTreeSet::from([(1, 1), (2, 2)]));
        let exclusive = those(s, |record| render(record) == "EXCLUSIVE");
        assert_eq!(exclusive.iter().map(|record| record.conn).collect::<Vec<_>>(), [1, 2]);
        let trace = s.trace();
        let names = &trace.logs()[0].names;
        assert!(names.file(1).unwrap().path.text.ends_with("/app.db"));
        assert!(names.file(2).unwrap().path.text.ends_with("/other.db"));
    });
}

#[test]
fn a_shared_cache_is_marked() {
    on_both(|s| {
        let uri = format!("file:{}?cache=shared", s.database().display());
        s.open_at("A", &uri);
        s.sql("A", "CREATE TABLE t(v)");
        assert!(last(s).iter().all(|record| !record.flags.has(Flags::SHARED_CACHE)), "one connection does not share");
        // No second xOpen: only another handle for the same file.
        assert_eq!(s.open_at("B", &uri), "");
        assert_eq!(those(s, |record| record.kind == Kind::HANDLE && record.conn == 1).len(), 1);
        s.sql("A", "INSERT INTO t VALUES(1)");
        assert!(!last(s).is_empty());
        let marked = those(s, |record| record.kind == Kind::DELETE || record.flags.has(Flags::SHARED_CACHE));
        assert_eq!(marked.len(), last(s).len());
        s.close("B");
    });
}

#[test]
fn the_statement_that_runs_is_named() {
    on_both(|s| {
        s.open("A");
        s.sql("A", "CREATE TABLE t(v)");
        s.sql("A", "INSERT INTO t VALUES(1), (1), (1) -- first");
        assert_eq!(
            statements(s),
            [
                "SHARED: INSERT INTO t VALUES(1), (1), (1) -- first",
                "RESERVED: INSERT INTO t VALUES(1), (1), (1) -- first",
                "EXCLUSIVE: INSERT INTO t VALUES(1), (1), (1) -- first"
            ]
        );
        s.sql("A", "BEGIN");
        s.sql("A", "SELECT v FROM t");
        assert_eq!(statements(s), ["SHARED: SELECT v FROM t"]);
        s.sql("A", "UPDATE t SET v=2");
        assert_eq!(statements(s), ["RESERVED: UPDATE t SET v=2"]);
        s.sql("A", "DELETE FROM t WHERE v=3");
        s.sql("A", "COMMIT");
        assert_eq!(statements(s), ["EXCLUSIVE: COMMIT"]);
        // Beside a cursor that has rows left, the newer one of the two that are busy.
        s.step("A", "SELECT v, 'cursor' FROM t");
        assert_eq!(statements(s), ["SHARED: SELECT v, 'cursor' FROM t"]);
        s.sql("A", "UPDATE t SET v=4");
        assert_eq!(statements(s), ["RESERVED: UPDATE t SET v=4", "EXCLUSIVE: UPDATE t SET v=4"]);
        s.reset("A");
        // Beside a cursor that was prepared after it (drivers keep statements): the one of the two that can write.
        s.step("A", "SELECT v, 'newer' FROM t");
        s.sql("A", "UPDATE t SET v=4");
        assert_eq!(statements(s), ["RESERVED: UPDATE t SET v=4", "EXCLUSIVE: UPDATE t SET v=4"]);
        s.reset("A");
        s.sql("A", "PRAGMA journal_mode=WAL");
        s.sql("A", "UPDATE t SET v=5");
        s.sql("A", "BEGIN");
        s.sql("A", "UPDATE t SET v=6");
        assert_eq!(statements(s).last().unwrap(), "X WRITE: UPDATE t SET v=6");
        s.sql("A", "COMMIT");
        assert_eq!(statements(s), [""; 0], "a commit takes no lock in WAL mode");
        s.step("A", "SELECT v, 'newest' FROM t");
        s.sql("A", "UPDATE t SET v=6");
        assert_eq!(statements(s), ["X WRITE: UPDATE t SET v=6"]);
        s.reset("A");
    });
}

#[test]
fn bytes_written_are_those_of_the_files() {
    on_both(|s| {
        s.open("A");
        s.sql("A", "PRAGMA journal_mode=WAL");
        let wal = s.dir().join("app.db-wal");
        let size = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |file| file.len());
        let wrote = |s: &Stage, kind: FileKind| -> u64 {
            those(s, |record| record.kind == Kind::WROTE && record.file_kind == kind).iter().map(|record| record.arg).sum()
        };
        let mut before = 0;
        let rows =
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<30) INSERT INTO t SELECT zeroblob(3000) FROM n";
        for sql in ["CREATE TABLE t(v)", "INSERT INTO t VALUES(1)", rows, "INSERT INTO t VALUES(2)"] {
            s.sql("A", sql);
            let grown = size(&wal) - before;
            before += grown;
            assert!(grown > 0);
            assert_eq!(wrote(s, FileKind::WAL), grown, "{sql}");
            assert_eq!(wrote(s, FileKind::DATABASE), 0);
            // And it says so while the lock that covered it is held.
            let holds = those(s, |record| record.kind == Kind::WROTE && record.shm_exclusive == 1);
            assert_eq!(holds.len(), 1);
        }
        s.sql("A", "PRAGMA wal_checkpoint(TRUNCATE)");
        assert_eq!(wrote(s, FileKind::DATABASE), size(&s.database()));
        assert_eq!(wrote(s, FileKind::WAL), 0);

        s.sql("A", "PRAGMA journal_mode=DELETE");
        s.sql("A", "INSERT INTO t VALUES(3)");
        // The page with the change counter and the last page of the table; both as they were go to the journal.
        assert_eq!(wrote(s, FileKind::DATABASE), 2 * 4096);
        let journal = wrote(s, FileKind::JOURNAL);
        assert!((2 * 4096..3 * 4096).contains(&journal), "{journal}");
        assert_eq!(those(s, |record| record.kind == Kind::WROTE).len(), 2);
        let exclusive = those(s, |record| record.kind == Kind::WROTE && record.after == shim::event::Level::EXCLUSIVE);
        assert_eq!(exclusive.len(), 2);
    });
}

#[test]
fn an_unlock_of_nothing_is_no_transition() {
    on_both(|s| {
        s.open("A");
        s.sql("A", "CREATE TABLE t(v)");
        s.open("B");
        s.sql("A", "BEGIN EXCLUSIVE");
        s.fails(5, "B", "SELECT 1 FROM t");
        let unlocks = those(s, |record| record.kind == Kind::UNLOCK);
        assert_eq!(unlocks.len(), 1);
        assert!(unlocks[0].flags.has(Flags::REDUNDANT));
        s.sql("A", "COMMIT");
        s.close("B");
        s.close("A");
        let mut counts = [0; 2];
        for event in s.trace().events().unwrap() {
            let record = event.record;
            if matches!(record.kind, Kind::LOCK | Kind::UNLOCK | Kind::SHM_LOCK) && record.rc.is_ok() {
                counts[usize::from(record.flags.has(Flags::REDUNDANT))] += 1;
            }
        }
        // One of B's refused read, one each of B's and A's close.
        assert_eq!(counts[1], 3);
        let report: Value = serde_json::from_slice(&locktrace(&["report", s.traces().to_str().unwrap(), "--json"])).unwrap();
        let database = &report["databases"][0];
        assert_eq!((&database["redundant"], &database["transitions"]), (&counts[1].into(), &counts[0].into()));
    });
}

#[test]
fn threads_come_and_go() {
    on_both(|s| {
        s.open("A");
        s.sql("A", "CREATE TABLE t(v)");
        let mut named = Vec::new();
        for round in 0..8 {
            let name = format!("worker-{round}");
            s.sql_on(&name, "A", &format!("INSERT INTO t VALUES({round})"));
            let tid = s.answer["tid"].as_u64().unwrap() as u32;
            assert!(last(s).iter().all(|record| record.tid == tid), "every record of thread {tid}: {:?}", last(s));
            named.push((tid, name));
        }
        // And the thread that was there all along.
        s.sql("A", "INSERT INTO t VALUES(100)");
        let tid = s.answer["tid"].as_u64().unwrap() as u32;
        assert!(last(s).iter().all(|record| record.tid == tid));
        assert!(named.iter().all(|(other, _)| *other != tid));
        let trace = s.trace();
        for (tid, name) in named {
            let recorded = &trace.logs()[0].names.thread(tid).unwrap().text;
            match s.host {
                // A number can be given again to a later thread: then it has both names.
                Host::Bundled => assert!(recorded.contains(&name), "{recorded} of thread {tid}, {name}"),
                // Before 3.14, Python does not give the system its threads' names.
                Host::Stock => assert!(recorded.starts_with("python3") || recorded.contains(&name), "{recorded}"),
            }
        }
    });
}
