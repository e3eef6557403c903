//! Two threads of one program that compete for a database. The trace shows which one blocked the other.
//!
//! `cargo run --example threads`, then `cargo run -- report threads-trace`. Neither the kernel nor `lslocks` shows this conflict: SQLite
//! resolves it between the threads of one process without a system call.

use rusqlite::{Connection, TransactionBehavior};
use std::sync::mpsc;
use std::time::Duration;

/// Runs the example.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Before the first connection. LOCKTRACE_LIMIT and LOCKTRACE_SQL apply where the builder sets nothing.
    sqlite_locktrace::Builder::new().dir("threads-trace").install()?;

    let path = std::env::temp_dir().join(format!("locktrace-threads-{}.db", std::process::id()));
    Connection::open(&path)?.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t(x)")?;

    let (begun, has_begun) = mpsc::channel();
    let (refused, was_refused) = mpsc::channel();
    let holder = std::thread::Builder::new().name("holder".into()).spawn({
        let path = path.clone();
        move || -> rusqlite::Result<()> {
            let mut db = Connection::open(path)?;
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute("INSERT INTO t VALUES ('the one in the way')", [])?;
            let _ = begun.send(());
            let _ = was_refused.recv(); // an open transaction that waits for something else
            transaction.commit()
        }
    })?;

    has_begun.recv()?;
    let db = Connection::open(&path)?;
    db.busy_timeout(Duration::from_millis(100))?;
    let error = db.execute("INSERT INTO t VALUES ('the one that fails')", []);
    println!("SQLite says: {}", error.map_or_else(|error| error.to_string(), |_| "no error".to_owned()));
    println!("locktrace knows more: locktrace report threads-trace");
    refused.send(())?;
    holder.join().map_err(|_| "the other thread panicked")??;
    Ok(())
}
