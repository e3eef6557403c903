//! A pool (r2d2) whose connections block each other. The program itself shows which one blocks, and since when.
//!
//! `cargo run --example pool`. One request keeps a transaction open while it waits for something else; the next one, on another connection
//! of the same pool, gets `database is locked`. The program asks for the present locks, and writes them to its own log.
//!
//! sqlx works as well: the VFS belongs to the SQLite that the program links. It is not used here, because only one version of
//! `libsqlite3-sys` fits into a program, and this crate's own tests have another one.

use r2d2::ManageConnection;
use rusqlite::{Connection, TransactionBehavior};
use sqlite_locktrace::{Builder, current_locks};
use std::path::PathBuf;
use std::time::Duration;

/// Opens the pool's connections.
struct Manager(PathBuf);

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = rusqlite::Error;

    fn connect(&self) -> rusqlite::Result<Connection> {
        let db = Connection::open(&self.0)?;
        db.busy_timeout(Duration::from_millis(100))?;
        Ok(db)
    }

    fn is_valid(&self, db: &mut Connection) -> rusqlite::Result<()> {
        db.execute_batch("")
    }

    fn has_broken(&self, _: &mut Connection) -> bool {
        false
    }
}

/// Runs the example.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Before the pool opens its first connection.
    let recording = Builder::new().dir("pool-trace").install()?;
    let dir = tempfile::tempdir()?;
    let pool = r2d2::Pool::builder().max_size(3).build(Manager(dir.path().join("shop.db")))?;
    pool.get()?.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE orders(item)")?;

    let mut first = pool.get()?;
    let order = first.transaction_with_behavior(TransactionBehavior::Immediate)?;
    order.execute("INSERT INTO orders VALUES ('a book')", [])?;
    // It waits for a payment, with the transaction open, while the next request arrives.
    if let Err(error) = pool.get()?.execute("INSERT INTO orders VALUES ('a lamp')", []) {
        println!("second request: {error}");
        for lock in current_locks() {
            if let Some(writing) = lock.writing {
                let held: Vec<String> = lock.held.iter().map(ToString::to_string).collect();
                let sql = writing.sql.as_deref().unwrap_or("a statement that is not known");
                println!("blocked by connection {} holds {} since it ran {sql}", lock.connection, held.join(", "));
            }
        }
    }
    order.commit()?;
    drop(first);

    // Uninstalling works once the pool is closed.
    println!("too early: {}", recording.uninstall().err().map_or_else(|| "no".to_owned(), |error| error.to_string()));
    drop(pool);
    println!("the trace is in pool-trace: locktrace report pool-trace");
    Ok(())
}
