//! `upgrade-refused` and `stale-snapshot`: a transaction that has read wants to write.
//!
//! SQLite calls the busy handler only while no transaction is open (`sqlite3BtreeBeginTrans`). It refuses a connection that already holds a read lock at
//! once, and the connection keeps that lock. At the start of a transaction the same statement takes the read lock, and releases it after a refusal.
#![forbid(unsafe_code)]

use super::case::Case;
use super::entry::{COMMON, Condition, Entry};
use super::evidence::Role;
use super::remedy::Remedy;
use crate::analysis::locks::lock::Request;
use shim::event::{Level, Slot};

const WRITE: Request = Request::Shm { mask: 1 << Slot::WRITE.0, exclusive: true };

/// Whether the victim wanted to become the writer.
pub(super) fn wants_to_write(case: &Case<'_>) -> bool {
    matches!(case.wait.request, WRITE | Request::File(Level::RESERVED))
}

/// SQLite sleeps only in the busy handler.
fn did_not_sleep(case: &Case<'_>) -> bool {
    case.wait.sleeps == 0
}

/// Whether the victim kept the read lock after a refusal, or another statement had taken that lock before.
fn had_read(case: &Case<'_>) -> bool {
    let wait = case.wait;
    let Some(reading) = wait.before.reading else { return false };
    // In exclusive mode the read lock outlives its transactions: the same statement keeps it, and SQLite calls the busy handler.
    let kept = wait.kept > 0 && !reading.is_of(wait.sql) && !case.gap_from(wait.numbers.0);
    let earlier = reading.is_of_another(wait.tid, wait.sql) && reading.seen && wait.attempts == 1 && !case.gap_from(reading.number);
    kept || earlier
}

/// Whether the statement is certainly no change of the journal mode. In exclusive mode SQLite refuses such a change in the same way. If the
/// text is unknown, it may be one.
fn changes_no_mode(case: &Case<'_>) -> bool {
    !(case.wait.request == Request::File(Level::RESERVED) && case.wait.sql != 0 && case.sql.is_none())
}

pub(super) static UPGRADE_REFUSED: Entry = Entry {
    id: "upgrade-refused",
    conditions: &[
        Condition { what: "The victim asked for the write lock (WRITE in WAL mode, RESERVED otherwise).", holds: wants_to_write },
        Condition {
            what: "It held a read lock that an earlier statement of the transaction had taken, and kept it after the refusal.",
            holds: had_read,
        },
        Condition { what: "SQLite did not sleep: it called no busy handler.", holds: did_not_sleep },
        Condition { what: "The statement is no change of the journal mode.", holds: changes_no_mode },
    ],
    evidence: |case| case.wait.before.reading.iter().map(|reading| case.own(reading.number, Role::Reading)).collect(),
    fails_at_once: |_| true,
    meaning: "The victim's transaction had read, so it held a read lock, when it asked for the write lock. Another connection was \
              the writer. In that state SQLite refuses at once and calls no busy handler, because the two connections \
              could wait for each other for ever.",
    change: "Start transactions that will write with BEGIN IMMEDIATE.",
    why: "The busy timeout applies to BEGIN IMMEDIATE, but not to a write after a read. After SQLITE_BUSY inside a transaction, \
              roll back and retry the whole transaction.",
    remedy: Some(Remedy::Immediate),
    timeout: "A longer busy timeout cannot help: SQLite calls no busy handler here.",
    waits_for_writer: true,
    example: "\
A: BEGIN; SELECT * FROM t;
B: BEGIN IMMEDIATE; INSERT INTO t VALUES(1);
A: INSERT INTO t VALUES(2);      -- database is locked, at once
B: COMMIT;",
    scenario: "upgrade_wal.py",
    ..COMMON
};

/// No wait proves this cause: SQLite grants WRITE, finds the snapshot old and releases WRITE again (`analysis/locks/commits`).
pub(super) static STALE_SNAPSHOT: Entry = Entry {
    id: "stale-snapshot",
    meaning: "The victim's transaction reads the database as it was at its first SELECT. Another connection has committed since, or a \
              checkpoint has restarted the WAL. SQLite took the write lock, saw this and released the lock: a write on top of the old state \
              could lose a commit.",
    change: "Start transactions that will write with BEGIN IMMEDIATE.",
    why: "Such a transaction reads the newest state, because nobody else can commit before it ends. After SQLITE_BUSY_SNAPSHOT, \
              roll back and retry the whole transaction.",
    remedy: Some(Remedy::Immediate),
    timeout: "A longer busy timeout cannot help: the snapshot stays old.",
    example: "\
A: BEGIN; SELECT * FROM t;
B: INSERT INTO t VALUES(1);      -- commits
A: INSERT INTO t VALUES(2);      -- database is locked (SQLITE_BUSY_SNAPSHOT), at once",
    scenario: "stale_snapshot.py",
    ..COMMON
};
