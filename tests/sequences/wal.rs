//! The calls readers and writers make in WAL mode, on the system's SQLite and on the bundled one.
#![allow(clippy::unwrap_used)]

use crate::live::stage::{Stage, on_both};

const BUSY: u64 = 5;
const BUSY_SNAPSHOT: u64 = 517;

/// Connections A and B in one process, with a table; each has read and written, so that nothing is left to be set up.
fn two(s: &mut Stage) {
    s.open("A");
    s.sql("A", "PRAGMA journal_mode=WAL");
    s.sql("A", "CREATE TABLE t(v)");
    s.open("B");
    s.sql("B", "INSERT INTO t VALUES(0)");
    s.sql("A", "SELECT * FROM t");
}

#[test]
fn read_and_write() {
    on_both(|s| {
        two(s);
        assert_eq!(s.sql("A", "SELECT * FROM t"), "S READ1, U READ1");
        assert_eq!(s.sql("A", "INSERT INTO t VALUES(1)"), "S READ1, X WRITE, sync wal, wrote wal, U WRITE, U READ1");
        // The read mark is behind the last commit: it is moved first, under the exclusive lock.
        assert_eq!(s.sql("A", "SELECT * FROM t"), "X READ1, U READ1, S READ1, U READ1");
        assert_eq!(s.sql("A", "SELECT * FROM t"), "S READ1, U READ1");
        assert_eq!(s.sql("A", "BEGIN"), "");
        assert_eq!(s.sql("A", "SELECT * FROM t"), "S READ1");
        assert_eq!(s.sql("A", "INSERT INTO t VALUES(2)"), "X WRITE");
        assert_eq!(s.sql("A", "COMMIT"), "sync wal, wrote wal, U WRITE, U READ1");
        assert_eq!(s.sql("A", "BEGIN IMMEDIATE"), "X READ1, U READ1, S READ1, X WRITE");
        assert_eq!(s.sql("A", "COMMIT"), "U WRITE, U READ1");
        assert_eq!(s.sql("A", "BEGIN IMMEDIATE"), "S READ1, X WRITE");
        assert_eq!(s.sql("A", "INSERT INTO t VALUES(3)"), "");
        assert_eq!(s.sql("A", "ROLLBACK"), "U WRITE, U READ1");
        // In FULL every commit syncs the -wal.
        s.sql("A", "PRAGMA synchronous=NORMAL");
        assert_eq!(s.sql("A", "INSERT INTO t VALUES(4)"), "S READ1, X WRITE, wrote wal, U WRITE, U READ1");
    });
}

#[test]
fn readers_at_different_marks_use_different_slots() {
    on_both(|s| {
        two(s);
        s.sql("A", "BEGIN");
        assert_eq!(s.sql("A", "SELECT * FROM t"), "S READ1");
        s.sql("B", "INSERT INTO t VALUES(1)");
        assert_eq!(s.sql("B", "SELECT * FROM t"), "X READ1=BUSY, X READ2, U READ2, S READ2, U READ2");
        assert_eq!(s.sql("A", "COMMIT"), "U READ1");
    });
}

#[test]
fn the_first_write_after_a_full_checkpoint_restarts_the_log() {
    on_both(|s| {
        two(s);
        s.sql("A", "PRAGMA wal_checkpoint(FULL)");
        assert_eq!(s.sql("A", "SELECT * FROM t"), "S READ0, U READ0");
        assert_eq!(
            s.sql("A", "INSERT INTO t VALUES(1)"),
            "S READ0, X WRITE, X READ1..READ4, U READ1..READ4, U READ0, S READ1, sync wal, sync wal, wrote wal, \
             U WRITE, U READ1"
        );
        assert_eq!(
            s.sql("A", "INSERT INTO t VALUES(2)"),
            "X READ1, U READ1, S READ1, X WRITE, sync wal, wrote wal, U WRITE, U READ1"
        );
        // Not while another reads from the old log, even one that was copied whole: then the log goes on growing.
        s.sql("B", "BEGIN");
        assert_eq!(s.sql("B", "SELECT * FROM t"), "X READ1, U READ1, S READ1");
        s.sql("A", "PRAGMA wal_checkpoint(FULL)");
        assert_eq!(
            s.sql("A", "INSERT INTO t VALUES(3)"),
            "S READ0, X WRITE, X READ1..READ4=BUSY, U READ0, S READ1, sync wal, wrote wal, U WRITE, U READ1"
        );
    });
}

#[test]
fn a_writer_busy_at_the_start_sleeps_and_tries_again() {
    on_both(|s| {
        two(s);
        s.sql("A", "BEGIN IMMEDIATE");
        s.sql("B", "PRAGMA busy_timeout=400");
        let calls = s.fails(BUSY, "B", "INSERT INTO t VALUES(1)");
        let once = "S READ1, X WRITE=BUSY, U READ1";
        let delays = [1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, 100];
        let tries: String = delays.iter().map(|ms| format!("{once}, sleep {}, ", ms * 1000)).collect();
        let rest = 400 - delays.iter().sum::<u64>();
        assert_eq!(calls, format!("{tries}{once}, sleep {}, {once}", rest * 1000));
        s.sql("B", "PRAGMA busy_timeout=0");
        assert_eq!(s.fails(BUSY, "B", "BEGIN IMMEDIATE"), once);
        assert_eq!(s.sql("B", "SELECT * FROM t"), "S READ1, U READ1");
    });
}

#[test]
fn a_writer_busy_inside_a_read_transaction_is_refused_once() {
    on_both(|s| {
        two(s);
        s.sql("B", "PRAGMA busy_timeout=60");
        s.sql("B", "BEGIN");
        assert_eq!(s.sql("B", "SELECT * FROM t"), "S READ1");
        s.sql("A", "BEGIN IMMEDIATE");
        assert_eq!(s.fails(BUSY, "B", "INSERT INTO t VALUES(1)"), "X WRITE=BUSY");
        // It is still reading.
        assert_eq!(s.sql("B", "SELECT * FROM t"), "");
        assert_eq!(s.sql("B", "COMMIT"), "U READ1");
    });
}

#[test]
fn an_upgrade_from_a_stale_snapshot_fails_without_a_refused_call() {
    on_both(|s| {
        two(s);
        s.sql("B", "PRAGMA busy_timeout=60");
        s.sql("B", "BEGIN");
        assert_eq!(s.sql("B", "SELECT * FROM t"), "S READ1");
        s.sql("A", "INSERT INTO t VALUES(1)");
        assert_eq!(s.fails(BUSY_SNAPSHOT, "B", "INSERT INTO t VALUES(2)"), "X WRITE, U WRITE");
        assert_eq!(s.sql("B", "ROLLBACK"), "U READ1");
    });
}

#[test]
fn the_index_is_recovered_after_a_killed_writer() {
    on_both(|s| {
        s.open("A");
        s.sql("A", "PRAGMA journal_mode=WAL");
        s.sql("A", "CREATE TABLE t(v)");
        s.sql("A", "INSERT INTO t VALUES(1)");
        s.sql("A", "BEGIN IMMEDIATE");
        s.sql("A", "INSERT INTO t VALUES(2)");
        s.kill("A");
        s.process();
        assert_eq!(s.open("B"), "open");
        assert_eq!(
            s.sql("B", "SELECT count(*) FROM t"),
            "SHARED, open wal, map, X WRITE, X CKPT..RECOVER, X READ1, U READ1, X READ2, U READ2, X READ3, \
             U READ3, X READ4, U READ4, U CKPT..RECOVER, U WRITE, S READ1, U READ1, S READ1, U READ1"
        );
        assert_eq!(s.rows()[0][0], 1);
        // Another one finds the index in order.
        assert_eq!(s.open("C"), "open");
        assert_eq!(s.sql("C", "SELECT count(*) FROM t"), "SHARED, open wal, map, S READ1, U READ1, S READ1, U READ1");
    });
}

#[test]
fn exclusive_locking_mode_makes_no_more_calls() {
    on_both(|s| {
        two(s);
        s.close("B");
        s.sql("A", "PRAGMA locking_mode=EXCLUSIVE");
        assert_eq!(s.sql("A", "SELECT * FROM t"), "S READ1, U READ1");
        assert_eq!(s.sql("A", "SELECT * FROM t"), "S READ1, U READ1");
        assert_eq!(s.sql("A", "INSERT INTO t VALUES(1)"), "S READ1, EXCLUSIVE, U READ1, sync wal");
        s.open("B");
        assert_eq!(s.fails(BUSY, "B", "SELECT * FROM t"), "SHARED=BUSY, U(NONE) redundant");
        s.sql("A", "PRAGMA locking_mode=NORMAL");
        assert_eq!(s.sql("A", "SELECT * FROM t"), "S READ1, wrote wal, U(SHARED), U READ1");
        assert_eq!(s.sql("B", "SELECT * FROM t"), "SHARED, open wal, map, S READ1, U READ1, S READ1, U READ1");
    });
}

#[test]
fn exclusive_locking_mode_from_the_start_needs_no_shared_memory() {
    on_both(|s| {
        two(s);
        s.close("A");
        s.close("B");
        s.open("A");
        assert_eq!(s.sql("A", "PRAGMA locking_mode=EXCLUSIVE"), "");
        assert_eq!(s.sql("A", "INSERT INTO t VALUES(1)"), "SHARED, EXCLUSIVE, open wal, sync wal, sync wal");
        assert_eq!(s.sql("A", "SELECT * FROM t"), "");
        assert_eq!(
            s.close("A"),
            "EXCLUSIVE redundant, sync wal, ckpt start, ckpt done, sync database, close wal, delete wal, \
             wrote database, wrote wal, U(NONE), close"
        );
    });
}
