//! Calls of checkpoints, and of the connections that block them, on the system's SQLite and on the bundled one.
#![allow(clippy::unwrap_used)]

use crate::live::stage::{Stage, on_both};

/// Connections A and B in one process, with a table and a log that has something to copy.
fn two(s: &mut Stage) {
    s.open("A");
    s.sql("A", "PRAGMA journal_mode=WAL");
    s.sql("A", "CREATE TABLE t(v)");
    s.open("B");
    s.sql("B", "INSERT INTO t VALUES(0)");
    s.sql("A", "SELECT * FROM t");
}

/// The three numbers a checkpoint answers with: refused, frames in the log, frames copied.
fn answered(s: &Stage, refused: u64, log: u64, copied: u64) {
    assert_eq!(*s.rows(), serde_json::json!([[refused, log, copied]]));
}

#[test]
fn passive() {
    on_both(|s| {
        two(s);
        assert_eq!(
            s.sql("A", "PRAGMA wal_checkpoint(PASSIVE)"),
            "X CKPT, X READ0, sync wal, ckpt start, ckpt done, sync database, U READ0, wrote database, U CKPT"
        );
        answered(s, 0, 3, 3);
        // Nothing left to copy.
        assert_eq!(s.sql("A", "PRAGMA wal_checkpoint(PASSIVE)"), "X CKPT, U CKPT");
    });
}

#[test]
fn full() {
    on_both(|s| {
        two(s);
        assert_eq!(
            s.sql("A", "PRAGMA wal_checkpoint(FULL)"),
            "X CKPT, X WRITE, X READ0, sync wal, ckpt start, ckpt done, sync database, U READ0, wrote database, \
             U WRITE, U CKPT"
        );
        answered(s, 0, 3, 3);
    });
}

#[test]
fn restart() {
    on_both(|s| {
        two(s);
        assert_eq!(
            s.sql("A", "PRAGMA wal_checkpoint(RESTART)"),
            "X CKPT, X WRITE, X READ0, sync wal, ckpt start, ckpt done, sync database, U READ0, X READ1..READ4, \
             U READ1..READ4, wrote database, U WRITE, U CKPT"
        );
        answered(s, 0, 3, 3);
    });
}

#[test]
fn truncate() {
    on_both(|s| {
        two(s);
        assert_eq!(
            s.sql("A", "PRAGMA wal_checkpoint(TRUNCATE)"),
            "X CKPT, X WRITE, X READ0, sync wal, ckpt start, ckpt done, sync database, U READ0, X READ1..READ4, \
             U READ1..READ4, wrote database, U WRITE, U CKPT"
        );
        answered(s, 0, 0, 0);
        assert_eq!(std::fs::metadata(s.dir().join("app.db-wal")).unwrap().len(), 0);
    });
}

#[test]
fn automatic_at_the_commit_that_fills_the_log() {
    on_both(|s| {
        two(s);
        s.sql("A", "PRAGMA wal_autocheckpoint=1");
        assert_eq!(
            s.sql("A", "INSERT INTO t VALUES(1)"),
            "S READ1, X WRITE, sync wal, wrote wal, U WRITE, U READ1, X CKPT, X READ1, U READ1, X READ0, sync wal, \
             ckpt start, ckpt done, sync database, U READ0, wrote database, U CKPT"
        );
    });
}

#[test]
fn a_reader_blocks_it() {
    on_both(|s| {
        two(s);
        s.sql("A", "PRAGMA busy_timeout=3");
        s.sql("B", "BEGIN");
        assert_eq!(s.sql("B", "SELECT * FROM t"), "S READ1");
        s.sql("A", "INSERT INTO t VALUES(1)");
        // PASSIVE copies what B does not need, and does not wait.
        assert_eq!(
            s.sql("A", "PRAGMA wal_checkpoint(PASSIVE)"),
            "X CKPT, X READ1=BUSY, X READ0, sync wal, ckpt start, ckpt done, U READ0, wrote database, U CKPT"
        );
        answered(s, 0, 4, 3);
        // FULL waits while it holds WRITE, and reports busy.
        assert_eq!(
            s.sql("A", "PRAGMA wal_checkpoint(FULL)"),
            "X CKPT, X WRITE, X READ1=BUSY, sleep 1000, X READ1=BUSY, sleep 2000, X READ1=BUSY, U WRITE, U CKPT"
        );
        answered(s, 1, 4, 3);
        assert_eq!(
            s.sql("A", "PRAGMA wal_checkpoint(RESTART)"),
            "X CKPT, X WRITE, X READ1=BUSY, sleep 1000, X READ1=BUSY, sleep 2000, X READ1=BUSY, U WRITE, U CKPT"
        );
        answered(s, 1, 4, 3);
        assert_eq!(s.sql("B", "COMMIT"), "U READ1");
    });
}

#[test]
fn a_reader_of_the_whole_log_blocks_only_its_restart() {
    on_both(|s| {
        two(s);
        s.sql("A", "PRAGMA busy_timeout=3");
        s.sql("B", "BEGIN");
        assert_eq!(s.sql("B", "SELECT * FROM t"), "S READ1");
        assert_eq!(
            s.sql("A", "PRAGMA wal_checkpoint(FULL)"),
            "X CKPT, X WRITE, X READ0, sync wal, ckpt start, ckpt done, sync database, U READ0, wrote database, \
             U WRITE, U CKPT"
        );
        answered(s, 0, 3, 3);
        assert_eq!(
            s.sql("A", "PRAGMA wal_checkpoint(TRUNCATE)"),
            "X CKPT, X WRITE, X READ1..READ4=BUSY, sleep 1000, X READ1..READ4=BUSY, sleep 2000, \
             X READ1..READ4=BUSY, U WRITE, U CKPT"
        );
        answered(s, 1, 3, 3);
        assert_eq!(s.sql("B", "COMMIT"), "U READ1");
    });
}

#[test]
fn a_reader_of_the_database_alone_blocks_all_copying() {
    on_both(|s| {
        two(s);
        s.sql("A", "PRAGMA wal_checkpoint(FULL)");
        s.sql("A", "PRAGMA busy_timeout=3");
        s.sql("B", "BEGIN");
        assert_eq!(s.sql("B", "SELECT * FROM t"), "S READ0");
        s.sql("A", "INSERT INTO t VALUES(1)");
        assert_eq!(s.sql("A", "PRAGMA wal_checkpoint(PASSIVE)"), "X CKPT, X READ1, U READ1, X READ0=BUSY, U CKPT");
        assert_eq!(
            s.sql("A", "PRAGMA wal_checkpoint(FULL)"),
            "X CKPT, X WRITE, X READ0=BUSY, sleep 1000, X READ0=BUSY, sleep 2000, X READ0=BUSY, U WRITE, U CKPT"
        );
        assert_eq!(s.sql("B", "COMMIT"), "U READ0");
    });
}

#[test]
fn a_writer_turns_full_into_passive() {
    on_both(|s| {
        two(s);
        s.sql("A", "PRAGMA busy_timeout=3");
        s.sql("B", "BEGIN IMMEDIATE");
        // It copies all the same, but only what is there, and says that it was busy.
        assert_eq!(
            s.sql("A", "PRAGMA wal_checkpoint(FULL)"),
            "X CKPT, X WRITE=BUSY, sleep 1000, X WRITE=BUSY, sleep 2000, X WRITE=BUSY, X READ0, sync wal, \
             ckpt start, ckpt done, sync database, U READ0, wrote database, U CKPT"
        );
        answered(s, 1, 3, 3);
        assert_eq!(s.sql("B", "COMMIT"), "U WRITE, U READ1");
    });
}
