//! Two threads of a rusqlite program read and then write in a deferred transaction, on the bundled SQLite.
//: {"cause": "upgrade-refused", "outcome": "gave-up", "victim": "INSERT INTO t VALUES(5", "culprit": "INSERT INTO t VALUES(4", "perhaps_contributing": ["idle-in-transaction"], "attempts": 1, "fix": "transaction_with_behavior(TransactionBehavior::Immediate)"}
//: {"cause": "stale-snapshot", "outcome": "gave-up", "victim": "INSERT INTO t VALUES(6", "culprit": "INSERT INTO t VALUES(4", "fix": "transaction_with_behavior(TransactionBehavior::Immediate)"}

use rusqlite::{Connection, ErrorCode, Transaction};
use std::sync::Barrier;
use std::time::Duration;

fn open() -> Connection {
    let connection = Connection::open("app.db").unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    connection.pragma_update(None, "synchronous", "OFF").unwrap();
    connection.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
    connection
}

fn missing(transaction: &Transaction<'_>, key: i64) {
    let count: i64 = transaction.query_row("SELECT count(*) FROM t WHERE id = ?", [key], |row| row.get(0)).unwrap();
    assert_eq!(count, 0);
}

fn refused(transaction: &Transaction<'_>, sql: &str, extended: i32) {
    let error = transaction.execute(sql, []).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy), "{error}");
    assert_eq!(error.sqlite_error().unwrap().extended_code, extended, "{error}");
}

/// The program.
pub fn main() {
    sqlite_locktrace::Builder::new().install().unwrap();
    let setup = Connection::open("app.db").unwrap();
    setup.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY)").unwrap();
    let (mut one, mut two) = (open(), open());
    let (has_read, has_written, was_refused, has_committed) = (Barrier::new(2), Barrier::new(2), Barrier::new(2), Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let transaction = one.transaction().unwrap();
            missing(&transaction, 4);
            has_read.wait();
            transaction.execute("INSERT INTO t VALUES(4)", []).unwrap();
            has_written.wait();
            was_refused.wait();
            transaction.commit().unwrap();
            has_committed.wait();
        });
        scope.spawn(|| {
            let transaction = two.transaction().unwrap();
            missing(&transaction, 5);
            has_read.wait();
            has_written.wait();
            refused(&transaction, "INSERT INTO t VALUES(5)", rusqlite::ffi::SQLITE_BUSY);
            was_refused.wait();
            has_committed.wait();
            // The transaction is still the old one: trying again can never help.
            refused(&transaction, "INSERT INTO t VALUES(6)", rusqlite::ffi::SQLITE_BUSY_SNAPSHOT);
        });
    });
}
