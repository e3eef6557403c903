//! Contributing causes: what made an incident worse, found on the holds that are proven to have blocked it. Each is one entry of a table.
#![forbid(unsafe_code)]

use super::case::{Case, CaseCandidate};
use super::cause::Cause;
use super::identifiers::identifiers;
use super::sql;
use super::upgrade::wants_to_write;
use crate::analysis::locks::blocking_holds::BlockingHold;
use crate::analysis::locks::lock::{LockId, Request};
use crate::analysis::waits::wait::WaitEnd;
use crate::trace::total;
use shim::event::{Level, Slot};

/// The least length of a hold that is worth a remark.
const SHORT_NS: u64 = 5_000_000;

/// More time than a page takes from a statement to the file on a slow machine.
const PAGE_NS: u64 = 1_000_000;

/// The assumed size of a page.
const PAGE: u64 = 4096;

/// An entry of the table.
pub(crate) struct ContributingEntry {
    /// The identifier in reports, tests and exit gates.
    pub id: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What to do about it; `None` if the cause's own fix says it. `{holder}` and `{hold}` stand for the holder and its hold.
    pub advice: Option<&'static str>,
    /// Whether it applies to a case with this cause. The candidates are the proven ones.
    rule: fn(&Case<'_>, Cause, &[CaseCandidate<'_>]) -> bool,
    /// The program of `tests/scenarios` that has it.
    pub scenario: &'static str,
}

identifiers! {
    /// What made it worse.
    Contributing: ContributingEntry {
        /// The holder had a transaction open and mostly made no call.
        IdleInTransaction = IDLE_IN_TRANSACTION,
        /// A statement that the program no longer steps kept the lock.
        UnfinishedStatement = UNFINISHED_STATEMENT,
        /// Most of the hold went into `xSync`.
        SlowSync = SLOW_SYNC,
        /// One statement filled the hold.
        SlowStatement = SLOW_STATEMENT,
        /// Readers and writers exclude each other, because the database has no WAL.
        RollbackJournal = ROLLBACK_JOURNAL,
        /// Holder and victim are the same thread: waiting can never help.
        SameThreadHolder = SAME_THREAD_HOLDER,
        /// The writer changed at least twice during one wait.
        WriterConvoy = WRITER_CONVOY,
        /// An automatic checkpoint ran in the hold.
        CheckpointInCommit = CHECKPOINT_IN_COMMIT,
        /// The holder was a checkpoint that waited for readers.
        CheckpointConvoy = CHECKPOINT_CONVOY,
    }
}

static IDLE_IN_TRANSACTION: ContributingEntry = ContributingEntry {
    id: "idle-in-transaction",
    meaning: "The holder had a transaction open and mostly made no call.",
    advice: Some(
        "Commit or roll back right after the last statement, also when an exception ends it: {holder}'s transaction stayed \
              open without a call. Wait for nothing else (network, user, await) inside it.",
    ),
    rule: |case, _, proven| {
        proven.iter().any(|candidate| writes(candidate.hold) && !candidate.waits && is_idle(case, candidate.hold))
    },
    scenario: "async_flush_then_await.py",
};

static UNFINISHED_STATEMENT: ContributingEntry = ContributingEntry {
    id: "unfinished-statement",
    meaning: "The holder's statement had rows left, and the program did not fetch them: a cursor was left open.",
    advice: Some("Read all rows of {holder}'s statement, or reset, finalize or close it: it was begun and not ended."),
    rule: |case, _, proven| proven.iter().any(|candidate| is_unfinished(case, candidate)),
    scenario: "returning_not_exhausted.py",
};

static SLOW_SYNC: ContributingEntry = ContributingEntry {
    id: "slow-sync",
    meaning: "At least half of the hold was waiting for the disk (`xSync`, fsync).",
    advice: Some(
        "Write more rows in one transaction, on a local disk: most of {hold} was waiting for the disk (fsync). In WAL mode, \
              PRAGMA synchronous=NORMAL saves the sync of each commit; a power failure can then lose the latest \
              commits.",
    ),
    rule: |case, _, proven| proven.iter().any(|candidate| is_slow_sync(case, candidate.hold)),
    scenario: "slow_sync_wal.py",
};

static SLOW_STATEMENT: ContributingEntry = ContributingEntry {
    id: "slow-statement",
    meaning: "One statement of the holder ran from the taking of the lock to its release.",
    advice: Some(
        "Make {holder}'s statement faster (an index for what it looks for), or let it change fewer rows at a time: it ran for \
              all of {hold}.",
    ),
    rule: |case, _, proven| proven.iter().any(|candidate| !candidate.waits && is_slow_statement(case, candidate.hold)),
    scenario: "slow_statement.py",
};

static ROLLBACK_JOURNAL: ContributingEntry = ContributingEntry {
    id: "rollback-journal",
    meaning: "The database has no WAL, so readers and a commit exclude each other.",
    advice: None,
    rule: |case, cause, _| matches!(cause, Cause::ReaderBlocksCommit | Cause::CommitBlocksReader) && case.rollback,
    scenario: "open_cursor_blocks_commit.py",
};

static SAME_THREAD_HOLDER: ContributingEntry = ContributingEntry {
    id: "same-thread-holder",
    meaning: "Holder and victim are the same thread: while the victim waits, the holder cannot release the lock.",
    advice: Some(
        "Use one connection for one unit of work: await nothing inside a transaction, and open no second connection in it. \
              Holder and victim are the same thread, so that no timeout can help.",
    ),
    rule: |case, _, proven| {
        // A victim that got the lock waited for another thread: only that one can have released it meanwhile.
        let released_by_another = case.wait.end == WaitEnd::Acquired;
        !leaves_wal(case) && !released_by_another && proven.iter().any(|candidate| candidate.same_thread)
    },
    scenario: "second_connection_in_transaction.py",
};

static WRITER_CONVOY: ContributingEntry = ContributingEntry {
    id: "writer-convoy",
    meaning: "The write lock went to another connection at least twice while the victim waited.",
    advice: Some("Let one connection, with a queue, do all the writing: several writers took turns while the victim waited."),
    rule: |case, _, _| is_writer_convoy(case),
    scenario: "writer_convoy.py",
};

static CHECKPOINT_IN_COMMIT: ContributingEntry = ContributingEntry {
    id: "checkpoint-in-commit",
    meaning: "The holder's commit made an automatic checkpoint (`PRAGMA wal_autocheckpoint`).",
    advice: Some(
        "Raise PRAGMA wal_autocheckpoint, and checkpoint while nobody waits for it: an automatic checkpoint ran in {hold}.",
    ),
    rule: |_, _, proven| proven.iter().any(|candidate| candidate.hold.did.automatic > 0),
    scenario: "checkpoint_in_commit.py",
};

static CHECKPOINT_CONVOY: ContributingEntry = ContributingEntry {
    id: "checkpoint-convoy",
    meaning: "The holder was a checkpoint that waited for a reader and held the write lock meanwhile.",
    advice: Some(
        "Checkpoint with PASSIVE, or shorten the reader: {holder} was a checkpoint that waited for a reader and blocked \
              writers meanwhile.",
    ),
    rule: |_, _, proven| proven.iter().any(|candidate| candidate.convoy),
    scenario: "checkpoint_convoy.py",
};

/// All entries that apply, in the order of the table.
pub(crate) fn all(case: &Case<'_>, cause: Cause) -> Vec<Contributing> {
    let proven: Vec<_> = case.proven().copied().filter(|candidate| !is_open(case, candidate.hold)).collect();
    Contributing::ALL.iter().copied().filter(|item| (item.entry().rule)(case, cause, &proven)).collect()
}

/// Whether the victim leaves WAL mode. Then any open connection blocks it.
fn leaves_wal(case: &Case<'_>) -> bool {
    case.wait.before.wal && matches!(case.wait.request, Request::File(_))
}

/// Whether this hold is the lifetime SHARED lock of a connection in WAL mode. It shows neither a transaction nor a statement at work.
pub(crate) fn is_open(case: &Case<'_>, hold: &BlockingHold) -> bool {
    leaves_wal(case) && hold.lock == LockId::file(Level::SHARED)
}

/// Whether the statement that took the lock also ran when the lock was released. If the recorder did not look then: whether it was the one
/// seen last, shortly before.
fn same_statement(case: &Case<'_>, hold: &BlockingHold) -> bool {
    hold.sql != 0 && (hold.release_sql == hold.sql || (hold.release_sql == 0 && seen_late(case, hold)))
}

/// Whether the statement that took the lock was the one seen last, shortly before the end.
fn seen_late(case: &Case<'_>, hold: &BlockingHold) -> bool {
    let seen = case.times.ns(hold.who.log, hold.since, hold.last_sql_at).zip(case.length(hold));
    let late = seen.is_some_and(|(seen, length)| length >= SHORT_NS && seen >= length / 10 * 9);
    hold.sql != 0 && hold.last_sql == hold.sql && late
}

/// Whether this is a writer's hold: WRITE, or RESERVED and above.
fn writes(hold: &BlockingHold) -> bool {
    let shared = hold.lock == LockId::file(Level::SHARED);
    (hold.lock.level().is_some() && !shared) || hold.lock == LockId::shm(Slot::WRITE.0, true)
}

/// Whether a transaction was open while its connection mostly made no call. At the end of the hold, the statement that took the lock was
/// not at work any more. The quiet time is longer than the writing can have taken.
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

/// What a hold shows about the statement that took it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Statement {
    /// The statement gives rows, and is over when all are read: it ran all the time, or was left unfinished.
    Rows,
    /// The statement is over after one step: it ran all the time.
    Step,
    /// Another statement released the lock, or the text is unknown.
    Unknown,
}

/// The kind of the one statement that held the lock from the call that took it to the call that released it.
fn statement(case: &Case<'_>, hold: &BlockingHold) -> Statement {
    let text = case.trace.log(hold.who.log).names.sql(hold.sql).map(|sql| sql.text.text.as_str());
    match text.filter(|_| same_statement(case, hold)) {
        None => Statement::Unknown,
        Some(text) if sql::has_rows(text) => Statement::Rows,
        Some(text) if sql::changes(text) => Statement::Step,
        Some(_) => Statement::Unknown,
    }
}

/// Whether a statement that gives rows kept the lock while the program did not step it. Its thread was refused or seen at work elsewhere,
/// or another statement of its connection was at work. Without such a sign it looks like a slow statement.
fn is_unfinished(case: &Case<'_>, candidate: &CaseCandidate<'_>) -> bool {
    let hold = candidate.hold;
    let elsewhere = candidate.same_thread || hold.elsewhere || hold.other_statement;
    statement(case, hold) == Statement::Rows && elsewhere
}

/// Whether `xSync` took most of the part of the hold that blocked the victim.
pub(crate) fn is_slow_sync(case: &Case<'_>, hold: &BlockingHold) -> bool {
    let met = case.met(hold);
    met.length >= SHORT_NS && met.syncs >= met.length / 2
}

fn is_slow_statement(case: &Case<'_>, hold: &BlockingHold) -> bool {
    let met = case.met(hold);
    let long = met.length >= SHORT_NS && met.copies < met.length / 2;
    long && statement(case, hold) == Statement::Step && !is_slow_sync(case, hold)
}

/// Whether WRITE or RESERVED went to another connection at least twice while the victim waited. The victim's own turn at the end does not
/// count.
fn is_writer_convoy(case: &Case<'_>) -> bool {
    let (before, after) = case.wait.writers;
    let own = u64::from(case.wait.end == WaitEnd::Acquired);
    wants_to_write(case) && (after - before).saturating_sub(own) >= 2
}
