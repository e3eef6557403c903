//! A program that logs with `tracing`: a refused lock is a warning in the span of the request that it hit.
//!
//! `cargo run --example tracing_subscriber`; with `RUST_LOG=locktrace=trace` in front, every lock. The feature `tracing` must be on,
//! which it is in this repository, for the examples.

use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;
use std::time::Duration;
use tracing::{info, info_span};
use tracing_subscriber::filter::EnvFilter;

/// Runs the example.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new("info,locktrace=debug"))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stdout).init();
    sqlite_locktrace::Builder::new().dir("tracing-trace").tracing(true).install()?;

    let dir = tempfile::tempdir()?;
    let path = dir.path().join("shop.db");
    let mut db = Connection::open(&path)?;
    db.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE orders(item)")?;

    let _first = info_span!("request", id = 1).entered();
    let order = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    order.execute("INSERT INTO orders VALUES ('a book')", [])?;
    // A transaction is open when the next request arrives.
    std::thread::scope(|scope| scope.spawn(|| second_request(&path)).join()).map_err(|_| "the second request panicked")??;
    order.commit()?;
    info!("ordered");
    Ok(())
}

fn second_request(path: &Path) -> rusqlite::Result<()> {
    let _second = info_span!("request", id = 2).entered();
    let db = Connection::open(path)?;
    db.busy_timeout(Duration::from_millis(50))?;
    match db.execute("INSERT INTO orders VALUES ('a lamp')", []) {
        Ok(_) => info!("ordered"),
        Err(error) => info!("not ordered: {error}"),
    }
    Ok(())
}
