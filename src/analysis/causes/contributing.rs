//! What made it worse: found on the holds that were in the way, beside the one cause.
//!
//! In comes a [`Case`]; out go the contributing causes. Only holds that were proven to be in the way are looked at.
#![forbid(unsafe_code)]

use super::case::{Case, Suspect};
use super::cause::{Cause, Contributing};
use super::sql;
use super::upgrade::wants_to_write;
use crate::analysis::locks::blocking_holds::Holding;
use crate::analysis::locks::lock::{LockId, Request};
use crate::analysis::waits::wait::Outcome;
use crate::trace::total;
use locktrace::event::{Level, Slot};

/// Shorter holds are nobody's habit.
const SHORT_NS: u64 = 5_000_000;

/// More time than a page takes from a statement to the file, on a slow machine.
const PAGE_NS: u64 = 1_000_000;

/// What SQLite's pages are at least.
const PAGE: u64 = 4096;

/// All that apply, in the order of their identifiers' table.
pub(crate) fn all(case: &Case<'_>, cause: Cause) -> Vec<Contributing> {
    let proven: Vec<_> = case.proven().copied().filter(|suspect| !is_open(case, suspect.holding)).collect();
    let any = |test: &dyn Fn(&Suspect<'_>) -> bool| proven.iter().any(test);
    let excludes = matches!(cause, Cause::ReaderBlocksCommit | Cause::CommitBlocksReader) && case.rollback;
    let leaves_wal = leaves_wal(case);
    let found = [
        (
            Contributing::IdleInTransaction,
            any(&|suspect| writes(suspect.holding) && !suspect.waits && is_idle(case, suspect.holding)),
        ),
        (Contributing::UnfinishedStatement, any(&|suspect| is_unfinished(case, suspect))),
        (Contributing::SlowSync, any(&|suspect| is_slow_sync(case, suspect.holding))),
        (Contributing::SlowStatement, any(&|suspect| !suspect.waits && is_slow_statement(case, suspect.holding))),
        (Contributing::RollbackJournal, excludes),
        (Contributing::SameThreadHolder, !leaves_wal && any(&|suspect| suspect.same_thread)),
        (Contributing::WriterConvoy, is_writer_convoy(case)),
        (Contributing::CheckpointInCommit, any(&|suspect| suspect.holding.did.automatic > 0)),
        (Contributing::CheckpointConvoy, any(&|suspect| suspect.convoy)),
    ];
    found.into_iter().filter(|found| found.1).map(|found| found.0).collect()
}

/// What is in the way then is that others have the database open at all.
fn leaves_wal(case: &Case<'_>) -> bool {
    case.wait.before.wal && matches!(case.wait.request, Request::File(_))
}

/// The SHARED lock of a connection in WAL mode, which lasts as long as that: no transaction, and no statement's work.
pub(crate) fn is_open(case: &Case<'_>, holding: &Holding) -> bool {
    leaves_wal(case) && holding.lock == LockId::file(Level::SHARED)
}

/// The statement that took the lock was the one that ran when it was released; or, where nobody asked then, the one seen last, shortly before.
fn same_statement(case: &Case<'_>, holding: &Holding) -> bool {
    holding.sql != 0 && (holding.release_sql == holding.sql || (holding.release_sql == 0 && seen_late(case, holding)))
}

/// The statement that took the lock was the one seen last, shortly before the end.
fn seen_late(case: &Case<'_>, holding: &Holding) -> bool {
    let seen = case.times.ns(holding.who.log, holding.since, holding.last_sql_at).zip(case.length(holding));
    let late = seen.is_some_and(|(seen, length)| length >= SHORT_NS && seen >= length / 10 * 9);
    holding.sql != 0 && holding.last_sql == holding.sql && late
}

/// A writer's hold: WRITE, or RESERVED and what comes after it.
fn writes(holding: &Holding) -> bool {
    let shared = holding.lock == LockId::file(Level::SHARED);
    (holding.lock.level().is_some() && !shared) || holding.lock == LockId::shm(Slot::WRITE.0, true)
}

/// A transaction was open, and most of the time no call was made: not by the statement that took the lock, which was not seen at work at the end of it either,
/// and for longer than what was written can have taken.
pub(crate) fn is_idle(case: &Case<'_>, holding: &Holding) -> bool {
    let met = case.met(holding);
    let quiet = met.length.saturating_sub(total([met.syncs, met.copies, met.others].into_iter()));
    let pages = total(holding.did.wrote.iter().copied()) / PAGE;
    let text = |hash| case.trace.log(holding.who.log).names.sql(hash).map(|sql| sql.text.text.as_str());
    let begun = text(holding.sql).is_some_and(sql::is_begin) || text(holding.release_sql).is_some_and(sql::is_end);
    let another = holding.sql != 0 && holding.release_sql != 0;
    let transaction = begun || another || holding.other_statement;
    let idle = met.length >= SHORT_NS && quiet >= met.length / 10 * 8 && quiet / 2 >= pages.saturating_mul(PAGE_NS);
    let at_work = same_statement(case, holding) || seen_late(case, holding);
    idle && transaction && case.is_whole(holding) && !at_work
}

/// What a statement's own hold says of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Statement {
    /// It gives rows, and is over when they have all been read: it ran all the time, or was left unfinished.
    Rows,
    /// It is over with one step: it ran all the time.
    Step,
    /// It did not hold the lock by itself, or its text is not known.
    Unknown,
}

/// One statement held the lock from its taking to its release.
fn statement(case: &Case<'_>, holding: &Holding) -> Statement {
    let text = case.trace.log(holding.who.log).names.sql(holding.sql).map(|sql| sql.text.text.as_str());
    match text.filter(|_| same_statement(case, holding)) {
        None => Statement::Unknown,
        Some(text) if sql::has_rows(text) => Statement::Rows,
        Some(text) if sql::changes(text) => Statement::Step,
        Some(_) => Statement::Unknown,
    }
}

/// A statement that gives rows kept the lock, and was not being stepped: its thread was refused elsewhere, or seen at work elsewhere, or another
/// statement of its connection was at work. Without that, it cannot be told from one that takes long.
fn is_unfinished(case: &Case<'_>, suspect: &Suspect<'_>) -> bool {
    let holding = suspect.holding;
    let elsewhere = suspect.same_thread || holding.elsewhere || holding.other_statement;
    statement(case, holding) == Statement::Rows && elsewhere
}

/// Most of what the victim met of the hold was `xSync`.
pub(crate) fn is_slow_sync(case: &Case<'_>, holding: &Holding) -> bool {
    let met = case.met(holding);
    met.length >= SHORT_NS && met.syncs >= met.length / 2
}

fn is_slow_statement(case: &Case<'_>, holding: &Holding) -> bool {
    let met = case.met(holding);
    let long = met.length >= SHORT_NS && met.copies < met.length / 2;
    long && statement(case, holding) == Statement::Step && !is_slow_sync(case, holding)
}

/// WRITE or RESERVED went to another owner at least twice while it waited; its own turn, at the end, is none of them.
fn is_writer_convoy(case: &Case<'_>) -> bool {
    let (before, after) = case.wait.writers;
    let own = u64::from(case.wait.outcome == Outcome::Acquired);
    wants_to_write(case) && (after - before).saturating_sub(own) >= 2
}
