//! `last-close`, `hot-journal`, `exclusive-mode` and `journal-mode-switch`: opening, closing and changing a database.
#![forbid(unsafe_code)]

use super::case::{Case, Verdict};
use super::cause::Cause;
use super::exclusive_holder::{Nature, nature};
use super::sql;
use crate::analysis::locks::lock::Request;
use shim::event::Level;

fn refused_by(case: &Case<'_>, what: Nature) -> bool {
    case.wait.request == Request::File(Level::SHARED) && case.proven().any(|candidate| nature(case, candidate.hold) == what)
}

/// EXCLUSIVE was asked for straight from SHARED.
fn from_shared(case: &Case<'_>) -> bool {
    case.wait.request == Request::File(Level::EXCLUSIVE) && case.wait.before.level == Level::SHARED
}

/// `PRAGMA journal_mode` was refused, or was in the way. To leave WAL mode, a connection asks for EXCLUSIVE straight from SHARED, with no
/// reader's slot held. A closing connection does the same, and unmaps the wal-index next.
pub(super) fn journal_mode_switch(case: &Case<'_>) -> Option<Verdict> {
    let wait = case.wait;
    let asks =
        matches!(wait.request, Request::File(level) if level >= Level::RESERVED) && case.sql.is_some_and(sql::is_journal_mode);
    // A connection whose SHARED is no reader's keeps it for life: it is in WAL mode.
    let leaves = from_shared(case) && wait.before.reading.is_none() && wait.before.exclusive == 0;
    // The refusal of a connection that closes next is no incident.
    let leaves = leaves && wait.next.is_some() && !case.gap_from(wait.numbers.0);
    (asks || leaves || refused_by(case, Nature::ModeSwitch)).then_some(())?;
    case.verdict(Cause::JournalModeSwitch)
}

/// A connection in exclusive locking mode was in the way, or the victim wanted to enter that mode. In WAL mode it asks for EXCLUSIVE under
/// its reader's slot then.
pub(super) fn exclusive_mode(case: &Case<'_>) -> Option<Verdict> {
    // PENDING may have stayed from an earlier attempt.
    let asks = case.wait.request == Request::File(Level::EXCLUSIVE);
    let enters = asks && case.wait.before.reading.is_some_and(|reading| reading.lock.slot().is_some());
    (enters || refused_by(case, Nature::ExclusiveMode)).then_some(())?;
    case.verdict(Cause::ExclusiveMode)
}

/// Another connection plays a journal back; or the victim wanted to, and others were reading or doing the same.
pub(super) fn hot_journal(case: &Case<'_>) -> Option<Verdict> {
    let wants = from_shared(case) && !case.wait.before.wal && case.wait.before.checked;
    (wants || refused_by(case, Nature::HotJournal)).then_some(())?;
    case.verdict(Cause::HotJournal)
}

/// Another connection closes and has, or wants, the database to itself.
pub(super) fn last_close(case: &Case<'_>) -> Option<Verdict> {
    refused_by(case, Nature::LastClose).then_some(())?;
    case.verdict(Cause::LastClose)
}
