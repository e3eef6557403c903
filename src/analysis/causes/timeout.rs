//! `hold-exceeds-timeout` and `no-busy-timeout`: a writer at the start of its transaction, behind another one.
//!
//! At the start SQLite releases the read lock after each refusal and calls the busy handler. The default one (`sqlite3_busy_timeout`) sleeps through
//! `xSleep`. An application's own busy handler looks like an application that tries again; either has been waiting.
#![forbid(unsafe_code)]

use super::case::Case;
use super::entry::{COMMON, Condition, Entry, Unslept};
use super::remedy::Remedy;
use super::sql;
use super::upgrade::wants_to_write;
use crate::analysis::locks::lock::Request;
use crate::analysis::waits::wait::WaitEnd;
use shim::event::{Kind, Level};

/// Whether the refusals came at the start of a transaction. The same statement took the read lock, or released it; or it is a checkpoint
/// without one.
fn at_start(case: &Case<'_>) -> bool {
    let wait = case.wait;
    match wait.before.reading {
        None => wait.before.exclusive != 0,
        Some(reading) => reading.is_of(wait.sql) || (wait.released_by_it > 0 && wait.kept == 0),
    }
}

/// A change of journal mode is refused once, too, whatever the timeout: without the text it cannot be excluded.
fn may_change_mode(case: &Case<'_>) -> bool {
    case.wait.request == Request::File(Level::RESERVED) && case.sql.is_none_or(sql::is_journal_mode)
}

fn changes_no_mode(case: &Case<'_>) -> bool {
    !may_change_mode(case)
}

/// One attempt, which failed.
fn tried_once(case: &Case<'_>) -> bool {
    let wait = case.wait;
    wait.attempts == 1 && wait.sleeps == 0 && !wait.before.waited && case.wait_end == WaitEnd::GaveUp && !wait.before.in_vain
}

/// A sleep before the attempt makes it the last of several, a sleep after it the first. The trace has to show that there was none.
fn was_awake(case: &Case<'_>) -> bool {
    case.wait.before.earlier.is_some_and(|(number, kind)| kind != Kind::SLEEP && !case.gap_in_wait(number))
}

/// Its next call releases the read lock; without one it is a checkpoint. That call shows that it did not wait.
fn went_on(case: &Case<'_>) -> bool {
    case.wait.next.is_some()
}

/// More than one attempt; or one, where its statement had waited for the read lock before.
fn waited(case: &Case<'_>) -> bool {
    let wait = case.wait;
    let waited = wait.attempts > 1 || wait.sleeps > 0 || wait.before.waited || wait.end == WaitEnd::Acquired;
    waited && !(wait.attempts == 1 && wait.sleeps == 0 && wait.end != WaitEnd::Acquired && may_change_mode(case))
}

/// At the start of a transaction, or the read lock was released between the attempts.
fn released_between(case: &Case<'_>) -> bool {
    let wait = case.wait;
    // Without a sleep, and where it is not known for which statement it had read, a transaction may have been rolled back and tried again.
    let known = wait.sleeps > 0 || wait.before.reading.is_none_or(|reading| reading.sql != 0 && wait.sql != 0);
    let released = known && wait.kept == 0 && wait.released > 0 && !case.gap_in_wait(wait.numbers.0);
    at_start(case) || released
}

fn has_candidates(case: &Case<'_>) -> bool {
    !case.candidates.is_empty()
}

pub(super) static NO_BUSY_TIMEOUT: Entry = Entry {
    id: "no-busy-timeout",
    conditions: &[
        Condition { what: "The victim asked for the write lock (WRITE in WAL mode, RESERVED otherwise).", holds: wants_to_write },
        Condition { what: "It asked once, was refused and gave up.", holds: tried_once },
        Condition { what: "It asked at the start of its transaction, where SQLite calls the busy handler.", holds: at_start },
        Condition {
            what: "SQLite slept neither before nor after the attempt, and the trace has every record of that time.",
            holds: was_awake,
        },
        Condition { what: "The statement is no change of the journal mode.", holds: changes_no_mode },
        Condition { what: "Its next call is in the trace: it released the read lock.", holds: went_on },
    ],
    meaning: "The victim asked for the write lock at the start of its transaction, was refused and did not retry. Its connection \
              had no busy timeout.",
    change: "Set a busy timeout on every connection, before its first statement (PRAGMA busy_timeout=5000).",
    why: "SQLite then waits up to that long. Make the timeout longer than the hold that is named.",
    remedy: Some(Remedy::Timeout),
    timeout: "A busy timeout that is longer than the hold helps.",
    waits_for_writer: true,
    example: "\
A: BEGIN IMMEDIATE; INSERT INTO t VALUES(1);
B: INSERT INTO t VALUES(2);      -- database is locked, at once: no busy timeout
A: COMMIT;",
    scenario: "no_busy_timeout.py",
    ..COMMON
};

pub(super) static HOLD_EXCEEDS_TIMEOUT: Entry = Entry {
    id: "hold-exceeds-timeout",
    conditions: &[
        Condition { what: "The victim asked for the write lock (WRITE in WAL mode, RESERVED otherwise).", holds: wants_to_write },
        Condition { what: "It waited: it asked more than once, or SQLite slept, or it got the lock later.", holds: waited },
        Condition {
            what: "It asked at the start of its transaction, or released its read lock between the attempts.",
            holds: released_between,
        },
        Condition { what: "At least one traced connection may have held the lock.", holds: has_candidates },
    ],
    meaning: "SQLite has one writer at a time. The victim asked for the write lock at the start of its transaction and was refused. \
              It released its read lock, waited and retried, while the holder kept the lock.",
    change: "Shorten the holder's transaction; then set a busy timeout that is longer.",
    why: "There is one writer at a time in every journal mode: WAL does not help writers against writers.",
    remedy: Some(Remedy::Timeout),
    holder_changes: true,
    timeout: "A busy timeout that is longer than the hold helps.",
    unslept: Unslept::PerhapsErrors,
    waits_for_writer: true,
    example: "\
A: BEGIN IMMEDIATE; INSERT INTO t VALUES(1);
B: INSERT INTO t VALUES(2);      -- waits as long as its busy timeout
A:                               -- calls a web service, and commits only then
B:                               -- database is locked",
    scenario: "second_connection_in_transaction.py",
    ..COMMON
};
