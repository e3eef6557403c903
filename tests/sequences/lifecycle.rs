//! The calls of opening and closing, and of a change of journal mode, on the system's SQLite and on the bundled one.
#![allow(clippy::unwrap_used)]

use crate::live::stage::{Stage, on_both};

const BUSY: u64 = 5;

/// Connections A and B in one process, in WAL mode, with a table.
fn two(s: &mut Stage) {
    s.open("A");
    s.sql("A", "PRAGMA journal_mode=WAL");
    s.sql("A", "CREATE TABLE t(v)");
    s.open("B");
    s.sql("B", "SELECT * FROM t");
}

/// An EXCLUSIVE that is refused straight from SHARED leaves the file at PENDING on 3.40.1 and at SHARED on 3.54.1, where PENDING
/// is only asked for from RESERVED.
fn leaves_pending(s: &Stage) -> bool {
    s.version() <= 3_040_001
}

fn refused_from_shared(s: &Stage) -> &'static str {
    if leaves_pending(s) { "EXCLUSIVE=BUSY(PENDING)" } else { "EXCLUSIVE=BUSY" }
}

#[test]
fn a_database_without_a_log_opens_and_closes() {
    on_both(|s| {
        assert_eq!(s.open("A"), "open");
        assert_eq!(s.close("A"), "U(NONE) redundant, close");
        s.open("A");
        s.sql("A", "CREATE TABLE t(v)");
        assert_eq!(s.close("A"), "U(NONE) redundant, close");
    });
}

#[test]
fn the_last_to_close_copies_and_deletes_the_log() {
    on_both(|s| {
        two(s);
        // Refused EXCLUSIVE is how it finds out that it is not the last.
        assert_eq!(s.close("B"), format!("{}, unmap(0), close wal, U(NONE), close", refused_from_shared(s)));
        assert_eq!(
            s.close("A"),
            "EXCLUSIVE, sync wal, ckpt start, ckpt done, sync database, wrote database, unmap(1), close wal, \
             delete wal, U(NONE), close"
        );
        // The first to open it again rebuilds the index.
        assert_eq!(s.open("A"), "open");
        assert_eq!(
            s.sql("A", "SELECT * FROM t"),
            "SHARED, open wal, map, X WRITE, X CKPT..RECOVER, X READ1, U READ1, X READ2, U READ2, X READ3, \
             U READ3, X READ4, U READ4, U CKPT..RECOVER, U WRITE, S READ0, U READ0, S READ0, U READ0"
        );
        // And with nothing in the log.
        assert_eq!(s.close("A"), "EXCLUSIVE, unmap(1), close wal, delete wal, U(NONE), close");
    });
}

#[test]
fn a_connection_that_never_read_closes_like_any_file() {
    on_both(|s| {
        two(s);
        s.open("C");
        assert_eq!(s.close("C"), "U(NONE) redundant, close");
    });
}

#[test]
fn to_wal_alone() {
    on_both(|s| {
        s.open("A");
        s.sql("A", "CREATE TABLE t(v)");
        assert_eq!(
            s.sql("A", "PRAGMA journal_mode=WAL"),
            "SHARED, RESERVED, EXCLUSIVE, sync journal, sync journal, sync database, delete journal, \
             wrote database, wrote journal, U(SHARED), U(NONE)"
        );
        assert_eq!(s.rows()[0][0], "wal");
    });
}

#[test]
fn from_wal_alone() {
    on_both(|s| {
        two(s);
        s.close("B");
        assert_eq!(
            s.sql("A", "PRAGMA journal_mode=DELETE"),
            "EXCLUSIVE, EXCLUSIVE redundant, sync wal, ckpt start, ckpt done, sync database, wrote database, \
             unmap(1), close wal, delete wal, U(SHARED), RESERVED, EXCLUSIVE, sync journal, sync journal, \
             sync database, delete journal, wrote database, wrote journal, U(SHARED), U(NONE)"
        );
        assert_eq!(s.rows()[0][0], "delete");
        assert_eq!(s.sql("A", "SELECT * FROM t"), "SHARED, U(NONE)");
    });
}

#[test]
fn to_wal_refused() {
    on_both(|s| {
        s.open("A");
        s.sql("A", "CREATE TABLE t(v)");
        s.open("B");
        s.sql("A", "PRAGMA busy_timeout=3");
        // By a writer: at once.
        s.sql("B", "BEGIN IMMEDIATE");
        assert_eq!(s.fails(BUSY, "A", "PRAGMA journal_mode=WAL"), "SHARED, RESERVED=BUSY, U(NONE)");
        s.sql("B", "ROLLBACK");
        // By a reader: after the busy timeout.
        s.sql("B", "BEGIN");
        s.sql("B", "SELECT * FROM t");
        assert_eq!(
            s.fails(BUSY, "A", "PRAGMA journal_mode=WAL"),
            "SHARED, RESERVED, EXCLUSIVE=BUSY(PENDING), sleep 1000, EXCLUSIVE=BUSY, sleep 2000, EXCLUSIVE=BUSY, \
             U(SHARED), U(NONE)"
        );
    });
}

#[test]
fn from_wal_refused() {
    on_both(|s| {
        two(s);
        s.sql("A", "PRAGMA busy_timeout=3");
        // Any other connection that has read blocks it, whatever it does.
        let redundant = if leaves_pending(s) { "" } else { " redundant" };
        let calls = format!("{}, U(SHARED){redundant}", refused_from_shared(s));
        assert_eq!(s.fails(BUSY, "A", "PRAGMA journal_mode=DELETE"), calls);
        assert_eq!(s.sql("A", "SELECT * FROM t"), "S READ1, U READ1");
    });
}
