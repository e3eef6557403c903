//! `reader-blocks-commit` and `commit-blocks-reader`: without a WAL, readers and a commit exclude each other.
#![forbid(unsafe_code)]

use super::case::{Case, Verdict};
use super::cause::Cause;
use super::exclusive_holder::{Nature, nature};
use crate::analysis::locks::lock::{LockId, Request};
use shim::event::Level;

/// A writer that has RESERVED wants EXCLUSIVE: only readers can refuse it.
pub(super) fn reader_blocks_commit(case: &Case<'_>) -> Option<Verdict> {
    let commits = case.wait.before.level >= Level::RESERVED && !case.wait.before.wal;
    // Nothing but EXCLUSIVE is refused by SHARED.
    let readers = case.candidates.iter().any(|candidate| candidate.hold.lock == LockId::file(Level::SHARED));
    (commits && readers).then_some(())?;
    case.verdict(Cause::ReaderBlocksCommit)
}

/// A reader is refused by a commit, or by one that waits for other readers.
pub(super) fn commit_blocks_reader(case: &Case<'_>) -> Option<Verdict> {
    let reads = case.wait.request == Request::File(Level::SHARED);
    (reads && case.proven().any(|candidate| nature(case, candidate.hold) == Nature::Commit)).then_some(())?;
    case.verdict(Cause::CommitBlocksReader)
}
