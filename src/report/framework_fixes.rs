//! What removes a cause in the words of a framework or driver: the very setting, and what it does not do.
//!
//! Input: a [`Framework`] and what is to be changed. Output: a sentence, or nothing where the host has no words of its own for it. Called by [`super::fix`].
#![forbid(unsafe_code)]

use super::framework::Framework;
use crate::analysis::causes::remedy::Remedy;

/// The setting, as this host calls it.
pub fn of(host: Framework, remedy: Remedy) -> Option<&'static str> {
    use Remedy::{Immediate, Timeout, Wal};
    Some(match (host, remedy) {
        (Framework::Django, Immediate) => {
            "Django 5.1 or later: \"OPTIONS\": {\"transaction_mode\": \"IMMEDIATE\"} in DATABASES; every atomic() then takes the write lock at its \
             beginning, those that only read, too."
        }
        (Framework::Django, Timeout) => "Django: \"OPTIONS\": {\"timeout\": 20} in DATABASES (seconds; 5 without it).",
        (Framework::Django, Wal) => {
            "Django 5.1 or later: \"OPTIONS\": {\"init_command\": \"PRAGMA journal_mode=WAL;\"} in DATABASES."
        }
        (Framework::SqlAlchemy, Immediate) => {
            "SQLAlchemy: set dbapi_connection.isolation_level = None in a \"connect\" event of the engine (of engine.sync_engine, where it is an async one), \
             and conn.exec_driver_sql(\"BEGIN IMMEDIATE\") in a \"begin\" event."
        }
        (Framework::SqlAlchemy, Timeout) => {
            "SQLAlchemy: create_engine(url, connect_args={\"timeout\": 20}) (seconds; 5 without it)."
        }
        (Framework::SqlAlchemy, Wal) => {
            "SQLAlchemy: PRAGMA journal_mode=WAL in a \"connect\" event of the engine, or once by hand."
        }
        (Framework::Python, Immediate) => {
            "Python's sqlite3, and aiosqlite: connect(..., isolation_level=\"IMMEDIATE\"), which begins before the first INSERT, UPDATE, DELETE or REPLACE; \
             for a transaction that reads before, isolation_level=None (or autocommit=True, from 3.12 on) and execute(\"BEGIN IMMEDIATE\"). With autocommit=False \
             isolation_level does nothing. If it is Django (5.1 or later): \"OPTIONS\": {\"transaction_mode\": \"IMMEDIATE\"} in DATABASES; \
             if it is SQLAlchemy: BEGIN IMMEDIATE in a \"begin\" event."
        }
        (Framework::Python, Timeout) => {
            "Python's sqlite3, and aiosqlite: connect(..., timeout=20) (seconds; 5 without it). If it is Django: \"OPTIONS\": {\"timeout\": 20} in DATABASES; \
             if it is SQLAlchemy: connect_args={\"timeout\": 20}."
        }
        (Framework::Python, Wal) => {
            "Python's sqlite3, and aiosqlite: execute(\"PRAGMA journal_mode=WAL\") once. If it is Django (5.1 or later): \"OPTIONS\": {\"init_command\": \
             \"PRAGMA journal_mode=WAL;\"} in DATABASES."
        }
        (Framework::BetterSqlite3, Immediate) => {
            "better-sqlite3: db.transaction(fn).immediate(...), in place of db.transaction(fn)(...)."
        }
        (Framework::BetterSqlite3, Timeout) => {
            "better-sqlite3: new Database(path, { timeout: 20000 }) (milliseconds; 5000 without it)."
        }
        (Framework::BetterSqlite3, Wal) => "better-sqlite3: db.pragma('journal_mode = WAL').",
        (Framework::NodeSqlite3, Immediate) => "Node's sqlite3: db.run('BEGIN IMMEDIATE').",
        (Framework::NodeSqlite3, Timeout) => "Node's sqlite3: db.configure('busyTimeout', 20000) (milliseconds).",
        (Framework::NodeSqlite3, Wal) => "Node's sqlite3: db.run('PRAGMA journal_mode = WAL').",
        (Framework::NodeSqlite, Immediate) => "node:sqlite: db.exec('BEGIN IMMEDIATE').",
        (Framework::NodeSqlite, Timeout) => {
            "node:sqlite: new DatabaseSync(path, { timeout: 20000 }) (milliseconds; none without it)."
        }
        (Framework::NodeSqlite, Wal) => "node:sqlite: db.exec('PRAGMA journal_mode = WAL').",
        (Framework::Rails, Immediate) => {
            "Rails 8 begins IMMEDIATE by itself; Rails 7.1 and 7.2, with the gem sqlite3 1.6.9 or later: default_transaction_mode: immediate in database.yml."
        }
        (Framework::Rails, Timeout) => "Rails: timeout: 20000 in database.yml (milliseconds).",
        (Framework::Rails, Wal) => {
            "Rails 7.1 and later switch to WAL by themselves; before: execute(\"PRAGMA journal_mode=WAL\") once."
        }
        (Framework::Ruby, Immediate) => "Ruby's sqlite3: db.transaction(:immediate) { ... }.",
        (Framework::Ruby, Timeout) => {
            "Ruby's sqlite3: db.busy_timeout = 20000 (milliseconds; from 2.0 on busy_handler_timeout=, which lets other threads run)."
        }
        (Framework::Ruby, Wal) => "Ruby's sqlite3: db.execute('PRAGMA journal_mode = WAL').",
        (Framework::Sqlx, Immediate) => "sqlx: pool.begin_with(\"BEGIN IMMEDIATE\") in place of pool.begin().",
        (Framework::Sqlx, Timeout) => "sqlx: SqliteConnectOptions::busy_timeout(Duration::from_secs(20)) (5 s without it).",
        (Framework::Sqlx, Wal) => "sqlx: SqliteConnectOptions::journal_mode(SqliteJournalMode::Wal).",
        (Framework::Diesel, Immediate) => "diesel: conn.immediate_transaction(|conn| ...) in place of conn.transaction(...).",
        (Framework::Diesel, Timeout) => {
            "diesel: conn.batch_execute(\"PRAGMA busy_timeout = 20000\") on every connection (a pool's CustomizeConnection); it sets none by itself."
        }
        (Framework::Diesel, Wal) => "diesel: conn.batch_execute(\"PRAGMA journal_mode = WAL\").",
        (Framework::Rusqlite, Immediate) => {
            "rusqlite: conn.transaction_with_behavior(TransactionBehavior::Immediate) in place of conn.transaction()."
        }
        (Framework::Rusqlite, Timeout) => "rusqlite: conn.busy_timeout(Duration::from_secs(20)) (5 s without it).",
        (Framework::Rusqlite, Wal) => "rusqlite: conn.pragma_update(None, \"journal_mode\", \"WAL\").",
        (Framework::Rust, Immediate) => {
            "rusqlite: conn.transaction_with_behavior(TransactionBehavior::Immediate); sqlx: pool.begin_with(\"BEGIN IMMEDIATE\"); diesel: \
             conn.immediate_transaction(...)."
        }
        (Framework::Rust, Timeout) => {
            "rusqlite: conn.busy_timeout(Duration::from_secs(20)); sqlx: SqliteConnectOptions::busy_timeout(...) (both 5 s without it); diesel: PRAGMA busy_timeout \
             on every connection."
        }
        (Framework::Rust, Wal) => {
            "rusqlite: conn.pragma_update(None, \"journal_mode\", \"WAL\"); sqlx: SqliteConnectOptions::journal_mode(SqliteJournalMode::Wal); diesel: PRAGMA \
             journal_mode = WAL."
        }
        (Framework::Shell, Immediate) => "In the sqlite3 shell: BEGIN IMMEDIATE;",
        (Framework::Shell, Timeout) => "In the sqlite3 shell: .timeout 20000 (milliseconds; none without it).",
        (Framework::Shell, Wal) => "In the sqlite3 shell: PRAGMA journal_mode=WAL;",
        (Framework::DbBrowser, _) => return None,
    })
}

/// How a program that a person uses lets go of its locks, where it is the one in the way.
pub fn let_go(host: Framework) -> Option<&'static str> {
    match host {
        Framework::Shell => {
            Some("In the way is a sqlite3 shell: end its transaction (COMMIT; or ROLLBACK;), or leave it with .quit.")
        }
        Framework::DbBrowser => {
            Some("In the way is DB Browser for SQLite: Write Changes (Ctrl+S) or Revert Changes ends its transaction.")
        }
        _ => None,
    }
}
