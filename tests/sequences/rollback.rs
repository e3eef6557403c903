//! The calls SQLite makes on a database with a rollback journal, on the system's SQLite and on the bundled one.
#![allow(clippy::unwrap_used)]

use crate::live::stage::{Stage, on_both};

const BUSY: u64 = 5;

/// Connections A and B in one process, with a table, everything they need to know read already.
fn two(s: &mut Stage) {
    s.open("A");
    s.sql("A", "CREATE TABLE t(v)");
    s.open("B");
    s.sql("B", "SELECT * FROM t");
}

#[test]
fn read_and_write() {
    on_both(|s| {
        assert_eq!(s.open("A"), "open");
        // The first SHARED loads the (empty) schema.
        assert_eq!(
            s.sql("A", "CREATE TABLE t(v)"),
            "SHARED, U(NONE), SHARED, RESERVED, EXCLUSIVE, sync journal, sync journal, sync database, \
             delete journal, wrote database, wrote journal, U(SHARED), U(NONE)"
        );
        assert_eq!(s.sql("A", "SELECT * FROM t"), "SHARED, U(NONE)");
        // EXCLUSIVE is taken before the journal is synced. The journal is synced twice: its records, then its header.
        assert_eq!(
            s.sql("A", "INSERT INTO t VALUES(1)"),
            "SHARED, RESERVED, EXCLUSIVE, sync journal, sync journal, sync database, delete journal, \
             wrote database, wrote journal, U(SHARED), U(NONE)"
        );
        assert_eq!(s.sql("A", "BEGIN"), "");
        assert_eq!(s.sql("A", "SELECT * FROM t"), "SHARED");
        assert_eq!(s.sql("A", "INSERT INTO t VALUES(2)"), "RESERVED");
        assert_eq!(
            s.sql("A", "COMMIT"),
            "EXCLUSIVE, sync journal, sync journal, sync database, delete journal, wrote database, wrote journal, \
             U(SHARED), U(NONE)"
        );
        // Rows that are stepped keep SHARED until the statement ends.
        assert_eq!(s.step("A", "SELECT * FROM t"), "SHARED");
        assert_eq!(s.reset("A"), "U(NONE)");
        assert_eq!(s.close("A"), "U(NONE) redundant, close");
    });
}

#[test]
fn an_immediate_transaction_that_writes_nothing_still_takes_exclusive() {
    on_both(|s| {
        two(s);
        assert_eq!(s.sql("A", "BEGIN IMMEDIATE"), "SHARED, RESERVED");
        assert_eq!(s.sql("A", "COMMIT"), "EXCLUSIVE, U(SHARED), U(NONE)");
        assert_eq!(s.sql("A", "BEGIN IMMEDIATE"), "SHARED, RESERVED");
        assert_eq!(s.sql("A", "ROLLBACK"), "U(SHARED), U(NONE)");
        assert_eq!(s.sql("A", "BEGIN EXCLUSIVE"), "SHARED, RESERVED, EXCLUSIVE");
        assert_eq!(s.sql("A", "ROLLBACK"), "U(SHARED), U(NONE)");
    });
}

#[test]
fn two_deferred_writers_stop_each_other() {
    on_both(|s| {
        two(s);
        s.sql("A", "PRAGMA busy_timeout=60");
        s.sql("B", "PRAGMA busy_timeout=60");
        for conn in ["A", "B"] {
            assert_eq!(s.sql(conn, "BEGIN"), "");
            assert_eq!(s.sql(conn, "SELECT * FROM t"), "SHARED");
        }
        assert_eq!(s.sql("A", "INSERT INTO t VALUES(1)"), "RESERVED");
        // The busy timeout does not apply once a transaction is open: one attempt, no sleep, SHARED kept.
        assert_eq!(s.fails(BUSY, "B", "INSERT INTO t VALUES(2)"), "RESERVED=BUSY");
        // At the commit it does: 60 ms are waited for in steps of 1, 2, 5, 10, 15, 20 and the rest.
        assert_eq!(
            s.fails(BUSY, "A", "COMMIT"),
            "EXCLUSIVE=BUSY(PENDING), sleep 1000, EXCLUSIVE=BUSY, sleep 2000, EXCLUSIVE=BUSY, sleep 5000, \
             EXCLUSIVE=BUSY, sleep 10000, EXCLUSIVE=BUSY, sleep 15000, EXCLUSIVE=BUSY, sleep 20000, \
             EXCLUSIVE=BUSY, sleep 7000, EXCLUSIVE=BUSY"
        );
        // A stays at PENDING, and so no new reader gets in.
        s.open("C");
        assert_eq!(s.fails(BUSY, "C", "SELECT * FROM t"), "SHARED=BUSY, U(NONE) redundant");
        assert_eq!(s.sql("B", "ROLLBACK"), "U(NONE)");
        assert_eq!(
            s.sql("A", "COMMIT"),
            "EXCLUSIVE, sync journal, sync journal, sync database, delete journal, wrote database, wrote journal, \
             U(SHARED), U(NONE)"
        );
    });
}

#[test]
fn a_writer_busy_at_the_start_sleeps_and_tries_again() {
    on_both(|s| {
        two(s);
        s.sql("B", "PRAGMA busy_timeout=400");
        s.sql("A", "BEGIN IMMEDIATE");
        let once = "SHARED, RESERVED=BUSY, U(NONE)";
        let delays = [1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, 100];
        let tries: String = delays.iter().map(|ms| format!("{once}, sleep {}, ", ms * 1000)).collect();
        let rest = 400 - delays.iter().sum::<u64>();
        let whole = format!("{tries}{once}, sleep {}, {once}", rest * 1000);
        assert_eq!(s.fails(BUSY, "B", "INSERT INTO t VALUES(2)"), whole);
        s.sql("B", "PRAGMA busy_timeout=0");
        assert_eq!(s.fails(BUSY, "B", "BEGIN IMMEDIATE"), once);
        // Readers do not mind.
        assert_eq!(s.sql("B", "SELECT * FROM t"), "SHARED, U(NONE)");
    });
}

#[test]
fn a_reader_is_refused_while_a_commit_is_under_way() {
    on_both(|s| {
        two(s);
        s.sql("A", "BEGIN EXCLUSIVE");
        s.sql("B", "PRAGMA busy_timeout=3");
        assert_eq!(
            s.fails(BUSY, "B", "SELECT * FROM t"),
            "SHARED=BUSY, sleep 1000, SHARED=BUSY, sleep 2000, SHARED=BUSY, U(NONE) redundant"
        );
        assert_eq!(s.sql("A", "ROLLBACK"), "U(SHARED), U(NONE)");
    });
}

#[test]
fn a_hot_journal_is_played_back() {
    on_both(|s| {
        two(s);
        s.process();
        s.open("C");
        s.sql("C", "PRAGMA cache_size=1");
        assert_eq!(s.sql("C", "BEGIN IMMEDIATE"), "SHARED, RESERVED");
        // More pages than its cache holds: they spill into the database, which takes EXCLUSIVE and makes the journal hot.
        let big =
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<40) INSERT INTO t SELECT zeroblob(3000) FROM n";
        assert_eq!(s.sql("C", big), "EXCLUSIVE, sync journal, sync journal");
        s.kill("C");
        // No RESERVED on the way: that is how the others know that it is no writer.
        assert_eq!(
            s.sql("A", "SELECT count(*) FROM t"),
            "SHARED, check=0, EXCLUSIVE, sync journal, sync database, delete journal, wrote database, U(SHARED), \
             U(NONE)"
        );
        assert_eq!(s.rows()[0][0], 0);
        assert_eq!(s.sql("B", "SELECT count(*) FROM t"), "SHARED, U(NONE)");
    });
}

#[test]
fn a_journal_that_is_being_written_is_not_hot() {
    on_both(|s| {
        two(s);
        s.sql("A", "BEGIN IMMEDIATE");
        assert_eq!(s.sql("A", "INSERT INTO t VALUES(1)"), "");
        assert_eq!(s.sql("B", "SELECT * FROM t"), "SHARED, check=1, U(NONE)");
        assert_eq!(s.sql("A", "ROLLBACK"), "delete journal, wrote journal, U(SHARED), U(NONE)");
    });
}

#[test]
fn exclusive_locking_mode_keeps_what_it_has() {
    on_both(|s| {
        two(s);
        s.sql("A", "PRAGMA locking_mode=EXCLUSIVE");
        assert_eq!(s.sql("A", "SELECT * FROM t"), "SHARED");
        assert_eq!(
            s.sql("A", "INSERT INTO t VALUES(1)"),
            "RESERVED, EXCLUSIVE, sync journal, sync journal, sync database, sync journal"
        );
        assert_eq!(s.sql("A", "INSERT INTO t VALUES(2)"), "sync journal, sync journal, sync database, sync journal");
        assert_eq!(s.fails(BUSY, "B", "SELECT * FROM t"), "SHARED=BUSY, U(NONE) redundant");
        s.sql("A", "PRAGMA locking_mode=NORMAL");
        assert_eq!(s.sql("A", "SELECT * FROM t"), "delete journal, wrote database, wrote journal, U(SHARED), U(NONE)");
        assert_eq!(s.sql("B", "SELECT * FROM t"), "SHARED, U(NONE)");
    });
}
