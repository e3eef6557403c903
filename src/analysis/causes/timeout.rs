//! `hold-exceeds-timeout` and `no-busy-timeout`: at the start of its transaction, a writer finds another writer.
//!
//! At the start SQLite releases the read lock after each refusal and calls the busy handler. The default one (`sqlite3_busy_timeout`) sleeps through
//! `xSleep`. An application's own busy handler looks like an application that retries. Both count as waiting.
#![forbid(unsafe_code)]

use super::case::Case;
use super::entry::{COMMON, Condition, Entry, Unslept};
use super::remedy::Remedy;
use super::sql;
use super::upgrade::wants_to_write;
use crate::analysis::locks::lock::Request;
use crate::analysis::waits::wait::WaitEnd;
use shim::event::{Kind, Level};

/// Whether the refusals came at the start of a transaction: the refused statement took the read lock, or released it. A checkpoint without a
/// read lock counts, too.
fn at_start(case: &Case<'_>) -> bool {
    let wait = case.wait;
    match wait.before.reading {
        None => wait.before.exclusive != 0,
        Some(reading) => reading.is_of(wait.sql) || (wait.released_by_it > 0 && wait.kept == 0),
    }
}

/// Whether the statement may be a change of the journal mode. SQLite refuses that at once, too, whatever the timeout. If the text is
/// unknown, it may be one.
fn may_change_mode(case: &Case<'_>) -> bool {
    case.wait.request == Request::File(Level::RESERVED) && case.sql.is_none_or(sql::is_journal_mode)
}

fn changes_no_mode(case: &Case<'_>) -> bool {
    !may_change_mode(case)
}

/// Whether the victim made one attempt, and gave up.
fn tried_once(case: &Case<'_>) -> bool {
    let wait = case.wait;
    wait.attempts == 1
        && wait.sleeps == 0
        && !wait.before.waited
        && case.wait_end == WaitEnd::GaveUp
        && !wait.before.may_have_waited
}

/// Whether the trace shows that SQLite did not sleep. A sleep before the attempt would make it the last of several, a sleep after it the
/// first.
fn was_awake(case: &Case<'_>) -> bool {
    case.wait.before.earlier.is_some_and(|(number, kind)| kind != Kind::SLEEP && !case.gap_in_wait(number))
}

/// Whether the victim's next call is in the trace. It releases the read lock (a checkpoint has none), which shows that the victim did not
/// wait.
fn went_on(case: &Case<'_>) -> bool {
    case.wait.next.is_some()
}

/// Whether the victim waited: it made more than one attempt, slept, got the lock later, or had waited for the read lock before.
fn waited(case: &Case<'_>) -> bool {
    let wait = case.wait;
    let waited = wait.attempts > 1 || wait.sleeps > 0 || wait.before.waited || wait.end == WaitEnd::Acquired;
    waited && !(wait.attempts == 1 && wait.sleeps == 0 && wait.end != WaitEnd::Acquired && may_change_mode(case))
}

/// Whether the victim asked at the start of its transaction, or released the read lock between the attempts.
fn released_between(case: &Case<'_>) -> bool {
    let wait = case.wait;
    // Without a sleep, and if the reading statement is unknown, the application may have rolled back a transaction and retried it.
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
    change: "Shorten the holder's transaction.",
    then: "Then set a busy timeout that is longer than what is left of it.",
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
