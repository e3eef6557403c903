//! Four threads of a rusqlite program that all write, with BEGIN IMMEDIATE and a timeout that always is enough.
//: {"clean": true}
//: {"may": "hold-exceeds-timeout", "outcome": "succeeded-after-wait"}
//: {"may": "wal-protocol-retry", "outcome": "succeeded-after-wait"}

use rusqlite::{Connection, TransactionBehavior};
use std::time::Duration;

/// The program.
pub fn main() {
    sqlite_locktrace::Builder::new().install().unwrap();
    let setup = Connection::open("app.db").unwrap();
    setup.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(v); INSERT INTO t VALUES(0)").unwrap();
    let pool: Vec<Connection> = (0..4)
        .map(|_| {
            let connection = Connection::open("app.db").unwrap();
            connection.busy_timeout(Duration::from_secs(20)).unwrap();
            connection.pragma_update(None, "synchronous", "OFF").unwrap();
            connection
        })
        .collect();
    std::thread::scope(|scope| {
        for mut connection in pool {
            scope.spawn(move || {
                for _ in 0..25 {
                    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
                    transaction.execute("UPDATE t SET v = v + 1", []).unwrap();
                    transaction.commit().unwrap();
                }
            });
        }
    });
    assert_eq!(setup.query_row("SELECT v FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 100);
}
