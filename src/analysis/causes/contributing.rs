//! Contributing causes: what made an incident worse, found on the holds that are proven to be in the way.
#![forbid(unsafe_code)]

use super::case::{Case, CaseCandidate};
use super::cause::{Cause, Contributing};
use super::sql;
use super::upgrade::wants_to_write;
use crate::analysis::locks::blocking_holds::BlockingHold;
use crate::analysis::locks::lock::{LockId, Request};
use crate::analysis::waits::wait::WaitEnd;
use crate::trace::total;
use shim::event::{Level, Slot};

/// Shorter holds are not worth a remark.
const SHORT_NS: u64 = 5_000_000;

/// More time than a page takes from a statement to the file, on a slow machine.
const PAGE_NS: u64 = 1_000_000;

/// What SQLite's pages are at least.
const PAGE: u64 = 4096;

/// All that apply, in the order of their identifiers' table.
pub(crate) fn all(case: &Case<'_>, cause: Cause) -> Vec<Contributing> {
    let proven: Vec<_> = case.proven().copied().filter(|candidate| !is_open(case, candidate.hold)).collect();
    let any = |test: &dyn Fn(&CaseCandidate<'_>) -> bool| proven.iter().any(test);
    let excludes = matches!(cause, Cause::ReaderBlocksCommit | Cause::CommitBlocksReader) && case.rollback;
    let leaves_wal = leaves_wal(case);
    let found = [
        (
            Contributing::IdleInTransaction,
            any(&|candidate| writes(candidate.hold) && !candidate.waits && is_idle(case, candidate.hold)),
        ),
        (Contributing::UnfinishedStatement, any(&|candidate| is_unfinished(case, candidate))),
        (Contributing::SlowSync, any(&|candidate| is_slow_sync(case, candidate.hold))),
        (Contributing::SlowStatement, any(&|candidate| !candidate.waits && is_slow_statement(case, candidate.hold))),
        (Contributing::RollbackJournal, excludes),
        (Contributing::SameThreadHolder, !leaves_wal && any(&|candidate| candidate.same_thread)),
        (Contributing::WriterConvoy, is_writer_convoy(case)),
        (Contributing::CheckpointInCommit, any(&|candidate| candidate.hold.did.automatic > 0)),
        (Contributing::CheckpointConvoy, any(&|candidate| candidate.convoy)),
    ];
    found.into_iter().filter(|found| found.1).map(|found| found.0).collect()
}

/// Whether the victim leaves WAL mode. Then any open connection is in its way.
fn leaves_wal(case: &Case<'_>) -> bool {
    case.wait.before.wal && matches!(case.wait.request, Request::File(_))
}

/// The SHARED lock of a connection in WAL mode, which lasts as long as that: no transaction, and no statement's work.
pub(crate) fn is_open(case: &Case<'_>, hold: &BlockingHold) -> bool {
    leaves_wal(case) && hold.lock == LockId::file(Level::SHARED)
}

/// The statement that took the lock ran when it was released. Where the recorder did not look then, it was the one seen last, shortly
/// before.
fn same_statement(case: &Case<'_>, hold: &BlockingHold) -> bool {
    hold.sql != 0 && (hold.release_sql == hold.sql || (hold.release_sql == 0 && seen_late(case, hold)))
}

/// The statement that took the lock was the one seen last, shortly before the end.
fn seen_late(case: &Case<'_>, hold: &BlockingHold) -> bool {
    let seen = case.times.ns(hold.who.log, hold.since, hold.last_sql_at).zip(case.length(hold));
    let late = seen.is_some_and(|(seen, length)| length >= SHORT_NS && seen >= length / 10 * 9);
    hold.sql != 0 && hold.last_sql == hold.sql && late
}

/// A writer's hold: WRITE, or RESERVED and what comes after it.
fn writes(hold: &BlockingHold) -> bool {
    let shared = hold.lock == LockId::file(Level::SHARED);
    (hold.lock.level().is_some() && !shared) || hold.lock == LockId::shm(Slot::WRITE.0, true)
}

/// A transaction was open, and its connection mostly made no call. The statement that took the lock was not seen at work at the end of it.
/// The quiet time is longer than what was written can have taken.
pub(crate) fn is_idle(case: &Case<'_>, hold: &BlockingHold) -> bool {
    let met = case.met(hold);
    let quiet = met.length.saturating_sub(total([met.syncs, met.copies, met.others].into_iter()));
    let pages = total(hold.did.wrote.iter().copied()) / PAGE;
    let text = |hash| case.trace.log(hold.who.log).names.sql(hash).map(|sql| sql.text.text.as_str());
    let begun = text(hold.sql).is_some_and(sql::is_begin) || text(hold.release_sql).is_some_and(sql::is_end);
    let another = hold.sql != 0 && hold.release_sql != 0;
    let transaction = begun || another || hold.other_statement;
    let idle = met.length >= SHORT_NS && quiet >= met.length / 10 * 8 && quiet / 2 >= pages.saturating_mul(PAGE_NS);
    let at_work = same_statement(case, hold) || seen_late(case, hold);
    idle && transaction && case.is_whole(hold) && !at_work
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
fn statement(case: &Case<'_>, hold: &BlockingHold) -> Statement {
    let text = case.trace.log(hold.who.log).names.sql(hold.sql).map(|sql| sql.text.text.as_str());
    match text.filter(|_| same_statement(case, hold)) {
        None => Statement::Unknown,
        Some(text) if sql::has_rows(text) => Statement::Rows,
        Some(text) if sql::changes(text) => Statement::Step,
        Some(_) => Statement::Unknown,
    }
}

/// A statement that gives rows kept the lock, and was not being stepped. Its thread was refused or seen at work elsewhere, or another
/// statement of its connection was at work. Without that, it looks like a statement that takes long.
fn is_unfinished(case: &Case<'_>, candidate: &CaseCandidate<'_>) -> bool {
    let hold = candidate.hold;
    let elsewhere = candidate.same_thread || hold.elsewhere || hold.other_statement;
    statement(case, hold) == Statement::Rows && elsewhere
}

/// Most of what the victim met of the hold was `xSync`.
pub(crate) fn is_slow_sync(case: &Case<'_>, hold: &BlockingHold) -> bool {
    let met = case.met(hold);
    met.length >= SHORT_NS && met.syncs >= met.length / 2
}

fn is_slow_statement(case: &Case<'_>, hold: &BlockingHold) -> bool {
    let met = case.met(hold);
    let long = met.length >= SHORT_NS && met.copies < met.length / 2;
    long && statement(case, hold) == Statement::Step && !is_slow_sync(case, hold)
}

/// WRITE or RESERVED went to another owner at least twice while it waited; its own turn, at the end, is none of them.
fn is_writer_convoy(case: &Case<'_>) -> bool {
    let (before, after) = case.wait.writers;
    let own = u64::from(case.wait.end == WaitEnd::Acquired);
    wants_to_write(case) && (after - before).saturating_sub(own) >= 2
}
