//! The setting of each framework or driver for each `Remedy`, and its limits.
#![forbid(unsafe_code)]

use crate::analysis::causes::remedy::Remedy;
use crate::analysis::framework::Framework;

/// One framework's setting for a remedy.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// What to write where, in one line.
    pub change: &'static str,
    /// What the setting requires, or what it does not do. May be empty.
    pub note: &'static str,
}

/// The framework's setting for this remedy; `None` if it has none.
pub fn of(framework: Framework, remedy: Remedy) -> Option<Setting> {
    use Remedy::{Immediate, Timeout, Wal};
    let (change, note) = match (framework, remedy) {
        (Framework::Django, Immediate) => (
            "Django, settings.py: \"OPTIONS\": {\"transaction_mode\": \"IMMEDIATE\"} in DATABASES (5.1 or later).",
            "Every atomic() block then takes the write lock at its start, also one that only reads.",
        ),
        (Framework::Django, Timeout) => {
            ("Django, settings.py: \"OPTIONS\": {\"timeout\": 20} in DATABASES (seconds; default 5).", "")
        }
        (Framework::Django, Wal) => {
            ("Django, settings.py: \"OPTIONS\": {\"init_command\": \"PRAGMA journal_mode=WAL;\"} in DATABASES (5.1 or later).", "")
        }
        (Framework::SqlAlchemy, Immediate) => (
            "SQLAlchemy: conn.exec_driver_sql(\"BEGIN IMMEDIATE\") in a \"begin\" event of the engine.",
            "Also set dbapi_connection.isolation_level = None in a \"connect\" event. An async engine takes both events on its sync_engine.",
        ),
        (Framework::SqlAlchemy, Timeout) => {
            ("SQLAlchemy: create_engine(url, connect_args={\"timeout\": 20}) (seconds; default 5).", "")
        }
        (Framework::SqlAlchemy, Wal) => {
            ("SQLAlchemy: execute PRAGMA journal_mode=WAL in a \"connect\" event of the engine, or once by hand.", "")
        }
        (Framework::Python, Immediate) => (
            "Python: sqlite3.connect(..., isolation_level=None), then execute(\"BEGIN IMMEDIATE\").",
            "isolation_level=\"IMMEDIATE\" is enough for a transaction that reads nothing first: it begins before the first INSERT, UPDATE, \
             DELETE or REPLACE. From Python 3.12 on, autocommit=True does the same as isolation_level=None, and with autocommit=False isolation_level \
             does nothing. With Django: \"OPTIONS\": {\"transaction_mode\": \"IMMEDIATE\"} in DATABASES (5.1 or later).",
        ),
        (Framework::Python, Timeout) => (
            "Python: sqlite3.connect(..., timeout=20) (seconds; default 5).",
            "With Django: \"OPTIONS\": {\"timeout\": 20} in DATABASES.",
        ),
        (Framework::Python, Wal) => (
            "Python: execute(\"PRAGMA journal_mode=WAL\") once.",
            "With Django: \"OPTIONS\": {\"init_command\": \"PRAGMA journal_mode=WAL;\"} in DATABASES (5.1 or later).",
        ),
        (Framework::BetterSqlite3, Immediate) => {
            ("better-sqlite3: db.transaction(fn).immediate(...) in place of db.transaction(fn)(...).", "")
        }
        (Framework::BetterSqlite3, Timeout) => {
            ("better-sqlite3: new Database(path, { timeout: 20000 }) (milliseconds; default 5000).", "")
        }
        (Framework::BetterSqlite3, Wal) => ("better-sqlite3: db.pragma('journal_mode = WAL').", ""),
        (Framework::NodeSqlite3, Immediate) => ("Node's sqlite3: db.run('BEGIN IMMEDIATE').", ""),
        (Framework::NodeSqlite3, Timeout) => ("Node's sqlite3: db.configure('busyTimeout', 20000) (milliseconds).", ""),
        (Framework::NodeSqlite3, Wal) => ("Node's sqlite3: db.run('PRAGMA journal_mode = WAL').", ""),
        (Framework::NodeSqlite, Immediate) => ("node:sqlite: db.exec('BEGIN IMMEDIATE').", ""),
        (Framework::NodeSqlite, Timeout) => {
            ("node:sqlite: new DatabaseSync(path, { timeout: 20000 }) (milliseconds; none by default).", "")
        }
        (Framework::NodeSqlite, Wal) => ("node:sqlite: db.exec('PRAGMA journal_mode = WAL').", ""),
        (Framework::Rails, Immediate) => (
            "Rails, database.yml: default_transaction_mode: immediate (7.1 and 7.2, with the gem sqlite3 1.6.9 or later).",
            "Rails 8 begins IMMEDIATE by itself.",
        ),
        (Framework::Rails, Timeout) => ("Rails, database.yml: timeout: 20000 (milliseconds).", ""),
        (Framework::Rails, Wal) => {
            ("Rails: execute(\"PRAGMA journal_mode=WAL\") once.", "Rails 7.1 and later switch to WAL by themselves.")
        }
        (Framework::Ruby, Immediate) => ("Ruby's sqlite3: db.transaction(:immediate) { ... }.", ""),
        (Framework::Ruby, Timeout) => (
            "Ruby's sqlite3: db.busy_timeout = 20000 (milliseconds).",
            "From version 2.0 on, busy_handler_timeout= lets other threads run meanwhile.",
        ),
        (Framework::Ruby, Wal) => ("Ruby's sqlite3: db.execute('PRAGMA journal_mode = WAL').", ""),
        (Framework::Sqlx, Immediate) => ("sqlx: pool.begin_with(\"BEGIN IMMEDIATE\") in place of pool.begin().", ""),
        (Framework::Sqlx, Timeout) => ("sqlx: SqliteConnectOptions::busy_timeout(Duration::from_secs(20)) (default 5 s).", ""),
        (Framework::Sqlx, Wal) => ("sqlx: SqliteConnectOptions::journal_mode(SqliteJournalMode::Wal).", ""),
        (Framework::Diesel, Immediate) => ("diesel: conn.immediate_transaction(|conn| ...) in place of conn.transaction(...).", ""),
        (Framework::Diesel, Timeout) => (
            "diesel: conn.batch_execute(\"PRAGMA busy_timeout = 20000\") on every connection (milliseconds; none by default).",
            "A pool does it in its CustomizeConnection.",
        ),
        (Framework::Diesel, Wal) => ("diesel: conn.batch_execute(\"PRAGMA journal_mode = WAL\").", ""),
        (Framework::Rusqlite, Immediate) => {
            ("rusqlite: conn.transaction_with_behavior(TransactionBehavior::Immediate) in place of conn.transaction().", "")
        }
        (Framework::Rusqlite, Timeout) => ("rusqlite: conn.busy_timeout(Duration::from_secs(20)) (default 5 s).", ""),
        (Framework::Rusqlite, Wal) => ("rusqlite: conn.pragma_update(None, \"journal_mode\", \"WAL\").", ""),
        (Framework::Rust, Immediate) => (
            "rusqlite: conn.transaction_with_behavior(TransactionBehavior::Immediate); sqlx: pool.begin_with(\"BEGIN IMMEDIATE\"); \
             diesel: conn.immediate_transaction(...).",
            "",
        ),
        (Framework::Rust, Timeout) => (
            "rusqlite: conn.busy_timeout(...); sqlx: SqliteConnectOptions::busy_timeout(...) (both 5 s by default); diesel: PRAGMA \
             busy_timeout on every connection.",
            "",
        ),
        (Framework::Rust, Wal) => (
            "rusqlite: conn.pragma_update(None, \"journal_mode\", \"WAL\"); sqlx: SqliteConnectOptions::journal_mode(...); diesel: PRAGMA \
             journal_mode = WAL.",
            "",
        ),
        (Framework::Shell, Immediate) => ("sqlite3 shell: BEGIN IMMEDIATE;", ""),
        (Framework::Shell, Timeout) => ("sqlite3 shell: .timeout 20000 (milliseconds; none by default).", ""),
        (Framework::Shell, Wal) => ("sqlite3 shell: PRAGMA journal_mode=WAL;", ""),
        (Framework::DbBrowser, _) => return None,
    };
    Some(Setting { change, note })
}

/// How a person ends the transaction of an interactive program, which releases its locks.
pub fn release_by_hand(framework: Framework) -> Option<&'static str> {
    match framework {
        Framework::Shell => {
            Some("The blocker is a sqlite3 shell: end its transaction (COMMIT; or ROLLBACK;), or leave it with .quit.")
        }
        Framework::DbBrowser => {
            Some("The blocker is DB Browser for SQLite: Write Changes (Ctrl+S) or Revert Changes ends its transaction.")
        }
        _ => None,
    }
}
