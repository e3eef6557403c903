//! Many threads and processes on one database: the children, and how a test starts them.
//!
//! Numbers in the environment ([`Load`]) describe the load. The children write rows `(pid, thread, n)` into the table `t`. Threads begin when all of them,
//! in all processes, have opened their connection: the parent sends `go`.

use super::child::say;
use super::host::{Process, bundled};
use rusqlite::Connection;
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

/// What one child does.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Threads, each with a connection of its own.
    pub threads: u32,
    /// Transactions of each.
    pub transactions: u32,
    /// Whether the main thread opens the log, with a connection of its own that it closes again, before the others start.
    /// Otherwise they all find it unopened at once, and those that do not wait for it long enough lose their first records.
    pub log_open: bool,
}

/// Makes the database, in this journal mode.
pub fn prepare(database: &Path, mode: &str) {
    let connection = Connection::open(database).unwrap();
    let now: String = connection.query_row(&format!("PRAGMA journal_mode={mode}"), [], |row| row.get(0)).unwrap();
    assert_eq!(now, mode);
    connection.execute_batch("CREATE TABLE t(pid, thread, n, PRIMARY KEY(pid, thread, n)) WITHOUT ROWID").unwrap();
}

/// The number of rows of a database that must be in order.
pub fn rows(database: &Path) -> u64 {
    let connection = Connection::open(database).unwrap();
    let integrity: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
    let rows: i64 = connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
    rows as u64
}

/// Starts a child in this role; `limit` is its `LOCKTRACE_LIMIT`.
pub fn start(role: &str, load: Load, database: &Path, traces: &Path, limit: &str) -> Process {
    let mut command = bundled(role);
    command
        .env("LOCKTRACE_DIR", traces)
        .env("LOCKTRACE_LIMIT", limit)
        .env_remove("LOCKTRACE_SQL")
        .env("LOAD_DATABASE", database)
        .env("LOAD_THREADS", load.threads.to_string())
        .env("LOAD_TRANSACTIONS", load.transactions.to_string())
        .env("LOAD_LOG_OPEN", u32::from(load.log_open).to_string());
    Process::start(command)
}

fn number(name: &str) -> u32 {
    std::env::var(name).unwrap().parse().unwrap()
}

fn connect() -> Connection {
    let connection = Connection::open(std::env::var_os("LOAD_DATABASE").unwrap()).unwrap();
    connection.busy_timeout(Duration::from_secs(50)).unwrap();
    // What a power cut could lose is not what is tested, and syncing would take most of the time.
    connection.execute_batch("PRAGMA synchronous=OFF").unwrap();
    connection
}

fn insert(connection: &Connection, thread: u32, n: u32) {
    let sql = "INSERT INTO t VALUES(?1, ?2, ?3)";
    connection.prepare_cached(sql).unwrap().execute((std::process::id(), thread, n)).unwrap();
}

/// Installs the recorder, and opens its log if that is asked for.
fn install() {
    sqlite_locktrace::Builder::new().install().unwrap();
    if number("LOAD_LOG_OPEN") == 1 {
        connect().close().unwrap();
    }
}

/// The child `load`: every thread writes and reads in turn, then all close. It says `ready`, and at the end how much it wrote.
pub fn child() {
    install();
    let (threads, transactions) = (number("LOAD_THREADS"), number("LOAD_TRANSACTIONS"));
    let (open, go) = (&Barrier::new(threads as usize + 1), &Barrier::new(threads as usize + 1));
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let connection = connect();
                open.wait();
                go.wait();
                for n in 0..transactions {
                    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
                    insert(&connection, thread, n);
                    connection.execute_batch("COMMIT").unwrap();
                    let last: u32 = connection
                        .query_row(
                            "SELECT n FROM t WHERE pid=?1 AND thread=?2 ORDER BY n DESC",
                            (std::process::id(), thread),
                            |row| row.get(0),
                        )
                        .unwrap();
                    assert_eq!(last, n);
                }
                connection.close().unwrap();
            });
        }
        open.wait();
        say(&"ready");
        assert_eq!(std::io::stdin().lines().next().unwrap().unwrap(), "\"go\"");
        go.wait();
    });
    say(&(threads * transactions));
}
