//! What made it worse: found on the holds that were in the way, beside the one cause.
//!
//! In comes a [`Case`]; out go the contributing causes. Only holds that were proven to be in the way are looked at.
#![forbid(unsafe_code)]

use super::{Case, Cause, Contributing};
use crate::analysis::holding::Holding;
use crate::analysis::lock::LockId;
use crate::analysis::sql;
use locktrace::event::{Level, Slot};

/// Shorter holds are nobody's habit.
const SHORT_NS: u64 = 5_000_000;

/// More time than a page takes from a statement to the file, on a slow machine.
const PAGE_NS: u64 = 1_000_000;

/// What SQLite's pages are at least.
const PAGE: u64 = 4096;

/// All that apply, in the order of their identifiers' table.
pub(crate) fn all(case: &Case<'_>, cause: Cause) -> Vec<Contributing> {
    let proven: Vec<_> = case.proven().copied().collect();
    let any = |test: &dyn Fn(&super::Suspect<'_>) -> bool| proven.iter().any(test);
    let excludes = matches!(cause, Cause::ReaderBlocksCommit | Cause::CommitBlocksReader) && case.rollback;
    let found = [
        (Contributing::IdleInTransaction, any(&|suspect| writes(suspect.holding) && is_idle(case, suspect.holding))),
        (Contributing::UnfinishedStatement, any(&|suspect| is_unfinished(case, suspect))),
        (Contributing::SlowSync, any(&|suspect| is_slow_sync(case, suspect.holding))),
        (Contributing::SlowStatement, any(&|suspect| !is_unfinished(case, suspect) && is_slow_statement(case, suspect.holding))),
        (Contributing::RollbackJournal, excludes),
        (Contributing::SameThreadHolder, any(&|suspect| suspect.same_thread)),
        (Contributing::WriterConvoy, is_writer_convoy(case)),
        (Contributing::CheckpointInCommit, any(&|suspect| suspect.holding.did.automatic > 0)),
        (Contributing::CheckpointConvoy, any(&|suspect| suspect.convoy)),
    ];
    found.into_iter().filter(|found| found.1).map(|found| found.0).collect()
}

/// A writer's hold: WRITE, or RESERVED and what comes after it.
fn writes(holding: &Holding) -> bool {
    let shared = holding.lock == LockId::file(Level::SHARED);
    (holding.lock.level().is_some() && !shared) || (holding.lock.slot() == Some(Slot::WRITE) && holding.lock.is_exclusive_slot())
}

/// The statement that took the lock was the one that ran when it was released.
fn same_statement(holding: &Holding) -> bool {
    holding.sql != 0 && holding.release_sql == holding.sql
}

/// A transaction was open, and most of the time no call was made: not by the statement that took the lock, and for longer than what was
/// written can have taken.
pub(crate) fn is_idle(case: &Case<'_>, holding: &Holding) -> bool {
    let Some(length) = case.length(holding).filter(|&length| length >= SHORT_NS) else { return false };
    let Some(in_calls) = case.times.ns(holding.who.log, 0, holding.did.in_calls) else { return false };
    let quiet = length.saturating_sub(in_calls);
    let pages = holding.did.wrote.iter().sum::<u64>() / PAGE;
    let text = |hash| case.trace.log(holding.who.log).names.sql(hash).map(|sql| sql.text.text.as_str());
    let begun = text(holding.sql).is_some_and(sql::is_begin) || text(holding.release_sql).is_some_and(sql::is_end);
    let another = holding.release_sql != 0 && holding.release_sql != holding.sql;
    let transaction = begun || another || (holding.release_sql == 0 && holding.other_statement);
    quiet >= length / 10 * 8 && quiet / 2 >= pages.saturating_mul(PAGE_NS) && transaction && !same_statement(holding)
}

/// One statement held the lock from its taking to its release, and its thread was seen elsewhere meanwhile; or it has a RETURNING clause, whose
/// rows are all there before the first is read.
fn is_unfinished(case: &Case<'_>, suspect: &super::Suspect<'_>) -> bool {
    let holding = suspect.holding;
    let text = case.trace.log(holding.who.log).names.sql(holding.sql).map(|sql| sql.text.text.as_str());
    let explicit = text.is_some_and(|text| sql::is_begin(text) || sql::is_end(text));
    let elsewhere = suspect.same_thread || holding.other_statement;
    let returning =
        writes(holding) && text.is_some_and(sql::has_returning) && case.length(holding).is_some_and(|ns| ns >= SHORT_NS);
    same_statement(holding) && !explicit && (elsewhere || returning)
}

fn is_slow_sync(case: &Case<'_>, holding: &Holding) -> bool {
    let sync = case.times.ns(holding.who.log, 0, holding.did.sync_time);
    sync.zip(case.length(holding)).is_some_and(|(sync, length)| sync >= length / 2 && sync > 0)
}

fn is_slow_statement(case: &Case<'_>, holding: &Holding) -> bool {
    let copies = case.times.ns(holding.who.log, 0, holding.did.copy_time).unwrap_or(0);
    let long = case.length(holding).is_some_and(|length| length >= SHORT_NS && copies < length / 2);
    long && same_statement(holding) && !is_slow_sync(case, holding)
}

/// WRITE or RESERVED went to another owner at least twice while it waited; its own turn, at the end, is none of them.
fn is_writer_convoy(case: &Case<'_>) -> bool {
    let (before, after) = case.wait.writers;
    let own = u64::from(case.wait.outcome == super::Outcome::Acquired);
    super::upgrade::wants_to_write(case) && (after - before).saturating_sub(own) >= 2
}
