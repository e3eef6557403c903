//! `reader-blocks-commit` and `commit-blocks-reader`: without a WAL, readers and a commit exclude each other.
#![forbid(unsafe_code)]

use super::case::Case;
use super::entry::{COMMON, Condition, Entry, Unslept};
use super::exclusive_holder::{Nature, nature};
use super::remedy::Remedy;
use crate::analysis::locks::lock::{LockId, Request};
use shim::event::Level;

fn commits_without_wal(case: &Case<'_>) -> bool {
    case.wait.before.level >= Level::RESERVED && !case.wait.before.wal
}

/// SHARED of others refuses only EXCLUSIVE, which a writer with RESERVED asks for.
fn readers_may_block(case: &Case<'_>) -> bool {
    case.candidates.iter().any(|candidate| candidate.hold.lock == LockId::file(Level::SHARED))
}

fn wants_to_read(case: &Case<'_>) -> bool {
    case.wait.request == Request::File(Level::SHARED)
}

/// Whether a commit blocks the victim, or one that waits for other readers.
fn commit_blocks(case: &Case<'_>) -> bool {
    case.proven().any(|candidate| nature(case, candidate.hold) == Nature::Commit)
}

pub(super) static READER_BLOCKS_COMMIT: Entry = Entry {
    id: "reader-blocks-commit",
    conditions: &[
        Condition {
            what: "The database has no WAL, and the victim held RESERVED: it had a transaction to write into the database file.",
            holds: commits_without_wal,
        },
        Condition { what: "At least one traced connection may have held SHARED.", holds: readers_may_block },
    ],
    meaning: "Without a WAL, a commit writes into the database file, and can do so only while nobody reads. The victim had its \
              transaction ready (RESERVED) and asked for the file alone (EXCLUSIVE) while the holder was reading \
              (SHARED). BEGIN EXCLUSIVE asks for the same. So does a transaction that outgrows its page cache; when it \
              is refused, it continues in memory.",
    change: "End the reader's statement and its transaction; or switch to WAL, where readers do not block a commit.",
    remedy: Some(Remedy::Wal),
    holder_changes: true,
    timeout: "A busy timeout that is longer than the reader's hold helps.",
    unslept: Unslept::PerhapsErrorsAtCommit,
    example: "\
A: SELECT * FROM t;              -- fetches one row and keeps the cursor open
B: INSERT INTO t VALUES(1);      -- waits for A, then: database is locked",
    scenario: "open_cursor_blocks_commit.py",
    ..COMMON
};

pub(super) static COMMIT_BLOCKS_READER: Entry = Entry {
    id: "commit-blocks-reader",
    conditions: &[
        Condition { what: "The victim asked for SHARED: it wanted to read.", holds: wants_to_read },
        Condition { what: "A proven holder was committing, or waited for other readers to commit.", holds: commit_blocks },
    ],
    meaning: "Without a WAL, nobody can start to read while a commit writes into the database file or waits for the last readers. \
              BEGIN EXCLUSIVE blocks readers from its start. A large transaction blocks them from the moment it \
              outgrows its page cache.",
    change: "Switch to WAL, where a commit does not block readers.",
    remedy: Some(Remedy::Wal),
    timeout: "A busy timeout that is longer than the commit helps.",
    unslept: Unslept::PerhapsErrors,
    holder_advice: |sql| is_begin_exclusive(sql).then_some(BEGIN_EXCLUSIVE),
    example: "\
A: BEGIN EXCLUSIVE; INSERT INTO t VALUES(1);
B: SELECT * FROM t;              -- waits for A, then: database is locked
A: COMMIT;",
    scenario: "exclusive_transaction_blocks_reader.py",
    ..COMMON
};

const BEGIN_EXCLUSIVE: &str = "The holder began with BEGIN EXCLUSIVE, which keeps readers out from its beginning: BEGIN IMMEDIATE lets them in until the commit.";

fn is_begin_exclusive(sql: &str) -> bool {
    let mut words = sql.split([' ', ';', '\n', '\t']).filter(|word| !word.is_empty());
    ["begin", "exclusive"].iter().all(|wanted| words.next().is_some_and(|word| word.eq_ignore_ascii_case(wanted)))
}
