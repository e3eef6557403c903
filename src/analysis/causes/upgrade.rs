//! `upgrade-refused`: a transaction that was reading wants to write.
//!
//! SQLite calls the busy handler only while no transaction is open (`sqlite3BtreeBeginTrans`). So a connection that holds a read lock already is refused at
//! once, and keeps that lock. At the start of a transaction the same statement takes the read lock, and releases it after a refusal.
#![forbid(unsafe_code)]

use super::case::{Case, Verdict};
use super::cause::{Cause, Role};
use crate::analysis::locks::lock::Request;
use shim::event::{Level, Slot};

const WRITE: Request = Request::Shm { mask: 1 << Slot::WRITE.0, exclusive: true };

/// Whether the victim wanted to become the writer.
pub(super) fn wants_to_write(case: &Case<'_>) -> bool {
    matches!(case.wait.request, WRITE | Request::File(Level::RESERVED))
}

/// The read lock was kept after a refusal; or another statement had taken it before, and no sleep was made.
pub(super) fn upgrade_refused(case: &Case<'_>) -> Option<Verdict> {
    let wait = case.wait;
    let reading = wait.before.reading.filter(|_| wants_to_write(case))?;
    // In exclusive mode the read lock outlives its transactions: the same statement keeps it, and the busy handler is called.
    let kept = wait.kept > 0 && !reading.is_of(wait.sql) && !case.gap_from(wait.numbers.0);
    let earlier = reading.is_of_another(wait.tid, wait.sql) && reading.seen && wait.attempts == 1 && !case.gap_from(reading.number);
    // In exclusive mode a change of journal mode is refused like this: without the text it cannot be excluded.
    let switch = wait.request == Request::File(Level::RESERVED) && wait.sql != 0 && case.sql.is_none();
    (wait.sleeps == 0 && (kept || earlier) && !switch)
        .then(|| Verdict { cause: Cause::UpgradeRefused, evidence: vec![case.own(reading.number, Role::Reading)] })
}
