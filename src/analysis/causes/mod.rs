//! The rules that find the cause of a wait, in their order.
//!
//! A rule is a function that proves one cause or says nothing; each family of causes has a file. Causes that the victim's own calls prove come before those
//! that rest on what the holder did. Where no rule proves its cause, it is `Cause::Unexplained`.
#![forbid(unsafe_code)]

pub(crate) mod case;
pub mod cause;
mod checkpoint;
pub(crate) mod contributing;
mod exclusive_holder;
pub mod hazards;
mod lifecycle;
mod recovery;
mod rollback;
pub mod sql;
mod timeout;
mod untraced;
mod upgrade;

use case::{Case, Verdict};
use cause::Cause;

type Rule = fn(&Case<'_>) -> Option<Verdict>;

/// The order in which causes are tried.
const RULES: &[Rule] = &[
    // What the victim asked for proves these.
    checkpoint::contended,
    checkpoint::refused_by_reader,
    recovery::wal_recovery,
    recovery::wal_protocol_retry,
    lifecycle::journal_mode_switch,
    lifecycle::exclusive_mode,
    // What it held and kept proves this.
    upgrade::upgrade_refused,
    // The kernel's answer proves this, where no connection in the trace was in the way.
    untraced::untraced_holder,
    // What the holder did proves these.
    lifecycle::hot_journal,
    lifecycle::last_close,
    rollback::reader_blocks_commit,
    rollback::commit_blocks_reader,
    // How long it waited proves these.
    timeout::no_busy_timeout,
    timeout::hold_exceeds_timeout,
];

/// The first rule that proves its cause.
pub(crate) fn decide(case: &Case<'_>) -> Verdict {
    let unexplained = || Verdict { cause: Cause::Unexplained, evidence: Vec::new() };
    RULES.iter().find_map(|rule| rule(case)).unwrap_or_else(unexplained)
}
