//! What removes a cause, in one or two sentences, with its limits; in the words of the host where the trace proves which one it is.
//!
//! In comes an incident; out goes text. Called by the reports.
#![forbid(unsafe_code)]

use super::host::{Host, Hosts};
use crate::analysis::{Cause, Contributing, Incident, Role};

/// What to change.
pub fn of(hosts: &Hosts, incident: &Incident) -> String {
    let host = hosts.host(incident.who);
    let mut text = general(incident.cause).to_owned();
    if let Some(host) = host
        && let Some(setting) = setting(host, incident.cause)
    {
        text = format!("{text} {setting}");
    }
    let has = |contributing| incident.contributing.contains(&contributing);
    if has(Contributing::SameThreadHolder) {
        text.push_str(
            " Holder and victim are the same thread: no timeout can help. Use one connection for one unit of work, and await nothing inside \
             a transaction.",
        );
    }
    text
}

fn general(cause: Cause) -> &'static str {
    match cause {
        Cause::UpgradeRefused => {
            "Begin transactions that will write with BEGIN IMMEDIATE; on SQLITE_BUSY roll back and try the whole transaction again. A longer timeout \
             cannot help: SQLite does not wait inside a transaction."
        }
        Cause::StaleSnapshot => {
            "Begin transactions that will write with BEGIN IMMEDIATE, so that they read what is newest; on SQLITE_BUSY_SNAPSHOT roll back and try the \
             whole transaction again. A longer timeout cannot help."
        }
        Cause::HoldExceedsTimeout => {
            "Shorten the hold that is named first; then raise the busy timeout above what is left. There is one writer at a time in every journal mode: WAL \
             does not help writers against writers."
        }
        Cause::NoBusyTimeout => {
            "Set a busy timeout (sqlite3_busy_timeout, PRAGMA busy_timeout=5000) on every connection of every pool, before its first statement."
        }
        Cause::ReaderBlocksCommit => {
            "Finish or reset the reader's statements and end its transaction; or switch to WAL, where readers and the writer do not exclude each other."
        }
        Cause::CommitBlocksReader => {
            "Switch to WAL, where a commit does not keep readers out; otherwise make commits shorter and set a busy timeout for readers."
        }
        Cause::CheckpointStarved => {
            "End the read transaction that is named, and leave moments in which nobody reads, so that the WAL can be copied and reset. No statement \
             fails by this, but the WAL grows without limit."
        }
        Cause::CheckpointConvoy => {
            "Checkpoint with PASSIVE while readers are at work: FULL, RESTART and TRUNCATE keep writers out while they wait for readers. Shorten the \
             readers that are named."
        }
        Cause::CheckpointContended => "Let one connection alone checkpoint; what the other one copies need not be copied again.",
        Cause::WalRecovery => {
            "Set the busy timeout before the first statement of every connection: recovery of the wal-index after a crash takes a moment. It does not happen \
             again until the next crash."
        }
        Cause::WalProtocolRetry => {
            "Find who holds WRITE while the wal-index is out of order: a writer that was stopped, or a process that died. No timeout applies here."
        }
        Cause::LastClose => {
            "Keep one connection open for as long as the program runs: the last one to close copies the WAL and deletes it, alone. A busy timeout \
             covers the moment otherwise."
        }
        Cause::HotJournal => {
            "A writer died in a commit, and its journal is played back: set a busy timeout for that moment, and find out why it died."
        }
        Cause::ExclusiveMode => {
            "Set PRAGMA locking_mode=NORMAL on the connection that is named (and read once, so that it lets go), or use one connection only."
        }
        Cause::JournalModeSwitch => {
            "Set the journal mode once, at deployment, while nobody else has the database open: WAL is kept in the file. A timeout does not always \
             apply to the change."
        }
        Cause::UntracedHolder => "The holder is not traced: trace that process, too, or end it.",
        Cause::Unexplained => {
            "The trace does not prove why. Trace every process that opens the database, with a larger LOCKTRACE_LIMIT if records were lost."
        }
    }
}

/// The same in the words of a host.
fn setting(host: Host, cause: Cause) -> Option<&'static str> {
    let immediate = matches!(cause, Cause::UpgradeRefused | Cause::StaleSnapshot);
    let timeout = cause == Cause::NoBusyTimeout;
    let wal = matches!(cause, Cause::ReaderBlocksCommit | Cause::CommitBlocksReader);
    Some(match host {
        Host::Django if immediate => "Django 5.1: \"OPTIONS\": {\"transaction_mode\": \"IMMEDIATE\"} in DATABASES.",
        Host::Django if timeout => "Django: \"OPTIONS\": {\"timeout\": 20} in DATABASES.",
        Host::Django if wal => "Django 5.1: \"OPTIONS\": {\"init_command\": \"PRAGMA journal_mode=WAL\"} in DATABASES.",
        Host::SqlAlchemy if immediate => {
            "SQLAlchemy: set isolation_level=None on the driver's connection in a \"connect\" event, and emit BEGIN IMMEDIATE in a \"begin\" event."
        }
        Host::SqlAlchemy if timeout => "SQLAlchemy: create_engine(..., connect_args={\"timeout\": 20}).",
        Host::Aiosqlite if immediate => "aiosqlite: connect(..., isolation_level=\"IMMEDIATE\").",
        Host::Aiosqlite if timeout => "aiosqlite: connect(..., timeout=20).",
        Host::BetterSqlite3 if immediate => "better-sqlite3: db.transaction(fn).immediate().",
        Host::BetterSqlite3 if timeout => "better-sqlite3: new Database(path, { timeout: 5000 }).",
        Host::Rusqlite if immediate => "rusqlite: transaction_with_behavior(TransactionBehavior::Immediate).",
        Host::Rusqlite if timeout => "rusqlite: connection.busy_timeout(Duration::from_secs(5)).",
        Host::Rails if immediate => "Rails 7.2: default_transaction_mode: immediate in database.yml (Rails 8 has it by default).",
        Host::Rails if timeout => "Rails: timeout: 5000 in database.yml.",
        Host::Python if immediate => {
            "Python's sqlite3: connect(..., isolation_level=\"IMMEDIATE\"), or execute(\"BEGIN IMMEDIATE\")."
        }
        Host::Python if timeout => "Python's sqlite3: connect(..., timeout=20).",
        _ => return None,
    })
}

/// What a record shows, in words.
pub fn shows(role: Role) -> &'static str {
    match role {
        Role::Reading => "the victim begins to read",
        Role::Took => "the holder takes the lock",
        Role::FirstRefused => "the victim is refused",
        Role::LastRefused => "the victim is refused, for the last time",
        Role::Next => "how the victim goes on",
        Role::Granted => "the victim gets it",
        Role::GaveUp => "the holder gives it up",
        Role::Committed => "another connection's commit ends",
        Role::TookWrite => "the victim takes WRITE",
        Role::GaveWriteUp => "the victim gives WRITE up with nothing written",
    }
}
