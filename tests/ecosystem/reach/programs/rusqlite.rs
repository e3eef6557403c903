//! Two connections of rusqlite: the second one's write is refused.

use rusqlite::{Connection, Result};
use std::time::Duration;

fn connect() -> Result<Connection> {
    let connection = Connection::open("a.db")?;
    connection.busy_timeout(Duration::ZERO)?;
    Ok(connection)
}

fn main() -> Result<()> {
    let a = connect()?;
    a.execute_batch("PRAGMA journal_mode = WAL")?;
    a.execute_batch("CREATE TABLE t(x)")?;
    let b = connect()?;
    a.execute_batch("BEGIN IMMEDIATE")?;
    a.execute_batch("INSERT INTO t VALUES (1)")?;
    let refused = b.execute_batch("INSERT INTO t VALUES (2)");
    if refused.is_err_and(|error| error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)) {
        println!("busy");
    }
    a.execute_batch("COMMIT")?;
    b.execute_batch("INSERT INTO t VALUES (3)")?;
    println!("done {}", a.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))?);
    Ok(())
}
