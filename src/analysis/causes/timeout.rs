//! `hold-exceeds-timeout` and `no-busy-timeout`: a writer at the start of its transaction, behind another one.
//!
//! At the start SQLite releases the read lock after each refusal and calls the busy handler. The default one (`sqlite3_busy_timeout`) sleeps through
//! `xSleep`. An application's own busy handler looks like an application that tries again; either has been waiting.
#![forbid(unsafe_code)]

use super::case::{Case, Verdict};
use super::cause::Cause;
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

/// One attempt, no sleep, the read lock released, and that was all.
pub(super) fn no_busy_timeout(case: &Case<'_>) -> Option<Verdict> {
    let wait = case.wait;
    let once = wait.attempts == 1 && wait.sleeps == 0 && !wait.before.waited && case.wait_end == WaitEnd::GaveUp;
    // A sleep before it makes it the last of several attempts, a sleep after it the first. So the trace has to show that there was none.
    let awake = wait.before.earlier.is_some_and(|(number, kind)| kind != Kind::SLEEP && !case.gap_in_wait(number));
    if !wants_to_write(case) || !once || !at_start(case) || !awake || wait.before.in_vain {
        return None;
    }
    if may_change_mode(case) {
        return None;
    }
    // Its next call releases the read lock; without one it is a checkpoint. That call shows that it did not wait.
    wait.next?;
    case.verdict(Cause::NoBusyTimeout)
}

/// More than one attempt, with the read lock released in between; or one, when its statement had waited for the read lock before.
pub(super) fn hold_exceeds_timeout(case: &Case<'_>) -> Option<Verdict> {
    let wait = case.wait;
    let waited = wait.attempts > 1 || wait.sleeps > 0 || wait.before.waited || wait.end == WaitEnd::Acquired;
    // Without a sleep, and where it is not known for which statement it had read, a transaction may have been rolled back and tried again.
    let told = wait.sleeps > 0 || wait.before.reading.is_none_or(|reading| reading.sql != 0 && wait.sql != 0);
    let given_back = told && wait.kept == 0 && wait.released > 0 && !case.gap_in_wait(wait.numbers.0);
    let start = at_start(case) || given_back;
    let waited = waited && !(wait.attempts == 1 && wait.sleeps == 0 && wait.end != WaitEnd::Acquired && may_change_mode(case));
    (wants_to_write(case) && waited && start && !case.candidates.is_empty()).then_some(())?;
    case.verdict(Cause::HoldExceedsTimeout)
}
