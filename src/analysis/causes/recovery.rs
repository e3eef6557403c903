//! `wal-recovery` and `wal-protocol-retry`: the wal-index is out of order, and another connection has WRITE.
//!
//! A connection that finds it so asks for WRITE before it reads, to rebuild the index. When that is refused it asks for RECOVER, shared. If RECOVER is refused,
//! recovery is under way (`SQLITE_BUSY_RECOVERY`). If it is granted, the connection tries again, about a hundred times, and then answers `SQLITE_PROTOCOL`
//! (wal.c: `walTryBeginRead`).
#![forbid(unsafe_code)]

use super::case::{Case, Verdict};
use super::cause::Cause;

/// RECOVER was refused; or the holder of WRITE was recovering.
pub(super) fn wal_recovery(case: &Case<'_>) -> Option<Verdict> {
    let recovering = || case.proven().any(|candidate| candidate.hold.did.recoveries > 0);
    (case.wait.is_recovery() && (case.wait.recovery.0 > 0 || recovering())).then_some(())?;
    case.verdict(Cause::WalRecovery)
}

/// RECOVER was granted: no connection is recovering, and another one has WRITE.
pub(super) fn wal_protocol_retry(case: &Case<'_>) -> Option<Verdict> {
    // With a record missing, it may have come to read.
    (case.wait.is_recovery() && case.wait.recovery.1 > 0 && !case.gap_in_wait(case.wait.numbers.0)).then_some(())?;
    case.verdict(Cause::WalProtocolRetry)
}
