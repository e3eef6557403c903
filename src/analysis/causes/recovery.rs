//! `wal-recovery` and `wal-protocol-retry`: the wal-index is unusable, and another connection has WRITE.
//!
//! A connection that finds the wal-index unusable asks for WRITE before it reads, to rebuild the index. If WRITE is refused, it asks for RECOVER, shared.
//! If RECOVER is refused, recovery is under way (`SQLITE_BUSY_RECOVERY`). If RECOVER is granted, the connection retries about a hundred times, and then
//! answers `SQLITE_PROTOCOL` (wal.c: `walTryBeginRead`).
#![forbid(unsafe_code)]

use super::case::Case;
use super::entry::{COMMON, Condition, Entry};
use super::remedy::Remedy;

fn wants_to_rebuild(case: &Case<'_>) -> bool {
    case.wait.is_recovery()
}

fn another_rebuilds(case: &Case<'_>) -> bool {
    let recovering = || case.proven().any(|candidate| candidate.hold.did.recoveries > 0);
    case.wait.recovery.0 > 0 || recovering()
}

/// If a record of the wait is missing, the victim may have begun to read.
fn nobody_rebuilds(case: &Case<'_>) -> bool {
    case.wait.recovery.1 > 0 && !case.gap_in_wait(case.wait.numbers.0)
}

const REBUILDS: Condition =
    Condition { what: "The victim found the wal-index out of order and asked for WRITE to rebuild it.", holds: wants_to_rebuild };

pub(super) static WAL_RECOVERY: Entry = Entry {
    id: "wal-recovery",
    conditions: &[
        REBUILDS,
        Condition {
            what: "RECOVER was refused, or a proven holder of WRITE was rebuilding the wal-index.",
            holds: another_rebuilds,
        },
    ],
    meaning: "The holder was rebuilding the wal-index, as the first connection after a crash does. Nobody can read or write until \
              that is done.",
    change: "Set the busy timeout before the first statement of every connection (PRAGMA busy_timeout=5000).",
    why: "Recovery takes a moment, and happens once after a crash.",
    remedy: Some(Remedy::Timeout),
    timeout: "A busy timeout that is longer than the recovery helps.",
    example: "\
A:                               -- was killed; a large WAL is left
B: SELECT * FROM t;              -- the first after the crash: rebuilds the wal-index
C: SELECT * FROM t;              -- waits for B; without a busy timeout: database is locked",
    scenario: "wal_recovery.py",
    ..COMMON
};

pub(super) static WAL_PROTOCOL_RETRY: Entry = Entry {
    id: "wal-protocol-retry",
    conditions: &[
        REBUILDS,
        Condition {
            what: "RECOVER was granted: no connection was rebuilding it, and another one kept WRITE.",
            holds: nobody_rebuilds,
        },
    ],
    meaning: "The wal-index was unusable. A connection that finds it so needs the write lock to rebuild it, but the holder kept \
              that lock. SQLite retries about a hundred times and then returns SQLITE_PROTOCOL.",
    change: "Find the process that holds WRITE: a writer that was stopped (SIGSTOP, a debugger), or one that died.",
    timeout: "No busy timeout applies here.",
    example: "\
A:                               -- holds WRITE and is stopped (SIGSTOP, a debugger) in its commit
B: SELECT * FROM t;              -- locking protocol (SQLITE_PROTOCOL), after some seconds",
    scenario: "wal_protocol_retry.py",
    ..COMMON
};
