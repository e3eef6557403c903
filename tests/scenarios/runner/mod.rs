//! The runner of the scenarios, and the judge of what `locktrace report` says about them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

pub mod expect;
pub mod judge;
pub mod matrix;
pub mod run;

/// What a scenario can expect: the identifiers are the contract of reports and exit gates.
pub const CAUSES: [&str; 17] = [
    "upgrade-refused",
    "stale-snapshot",
    "hold-exceeds-timeout",
    "no-busy-timeout",
    "reader-blocks-commit",
    "commit-blocks-reader",
    "checkpoint-starved",
    "checkpoint-convoy",
    "checkpoint-contended",
    "wal-recovery",
    "wal-protocol-retry",
    "last-close",
    "hot-journal",
    "exclusive-mode",
    "journal-mode-switch",
    "untraced-holder",
    "unexplained",
];

/// Causes that go with another.
pub const CONTRIBUTING: [&str; 8] = [
    "idle-in-transaction",
    "unfinished-statement",
    "slow-sync",
    "slow-statement",
    "rollback-journal",
    "same-thread-holder",
    "writer-convoy",
    "checkpoint-in-commit",
];

/// Dangers that need no refusal.
pub const HAZARDS: [&str; 7] = [
    "shared-cache",
    "posix-lock-lost",
    "two-sqlite-libraries",
    "forked-connection",
    "network-filesystem",
    "wal-reset-exposure",
    "long-read-transaction",
];
