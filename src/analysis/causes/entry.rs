//! The entry of a cause: everything about it in one place, from the rule that proves it to the words that explain it.
//!
//! An entry is in the file of its family (`upgrade`, `timeout`, …). The table in [`super::cause`] lists them all.
#![forbid(unsafe_code)]

use super::case::Case;
use super::evidence::Evidence;
use super::remedy::Remedy;
use crate::analysis::waits::wait::Wait;

/// A condition of a rule, with its text for the documentation.
pub(crate) struct Condition {
    /// The condition, as a sentence about the victim and the holder.
    pub what: &'static str,
    pub holds: fn(&Case<'_>) -> bool,
}

/// What the application may have seen of attempts between which SQLite did not sleep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unslept {
    /// Nothing follows: SQLite does not call the busy handler for this cause.
    Nothing,
    /// Either the application has its own busy handler, or it saw an error each time and retried.
    PerhapsErrors,
    /// The same, but only if the statement ends a transaction. A refused cache spill makes no statement fail.
    PerhapsErrorsAtCommit,
}

/// Everything about one cause.
pub(crate) struct Entry {
    /// The identifier in reports, tests and exit gates.
    pub id: &'static str,
    /// The rule: a wait has this cause if all conditions hold and no cause before it in the order of [`super::decide`] is proven. Empty if no
    /// wait proves this cause.
    pub conditions: &'static [Condition],
    /// The records that prove the cause, in addition to the attempts and the holds.
    pub evidence: fn(&Case<'_>) -> Vec<Evidence>,
    /// Whether the application saw an error even if the connection got the lock later: SQLite calls no busy handler for this attempt.
    pub fails_at_once: fn(&Wait) -> bool,
    /// What happened, for a reader who does not know SQLite's source.
    pub meaning: &'static str,
    /// What to change first, in one line.
    pub change: &'static str,
    /// What to change then, unless the trace shows that it is done already; may be empty.
    pub then: &'static str,
    /// Why that helps, and what else to do; may be empty.
    pub why: &'static str,
    /// Whether the holder's program must change. Then advice about the hold comes before the general advice.
    pub holder_changes: bool,
    /// The change, if frameworks have a setting for it.
    pub remedy: Option<Remedy>,
    /// Whether a longer busy timeout can help, in one sentence.
    pub timeout: &'static str,
    pub unslept: Unslept,
    /// Whether the victim waits for a writer. Then the report also says what that writer did meanwhile.
    pub waits_for_writer: bool,
    /// Advice that depends on the statement which took the lock.
    pub holder_advice: fn(&str) -> Option<&'static str>,
    /// Connections that run into this cause, call by call.
    pub example: &'static str,
    /// The program of `tests/scenarios` that has this cause.
    pub scenario: &'static str,
}

/// What most causes have in common.
pub(crate) const COMMON: Entry = Entry {
    id: "",
    conditions: &[],
    evidence: |_| Vec::new(),
    fails_at_once: |_| false,
    meaning: "",
    change: "",
    then: "",
    why: "",
    holder_changes: false,
    remedy: None,
    timeout: "",
    unslept: Unslept::Nothing,
    waits_for_writer: false,
    holder_advice: |_| None,
    example: "",
    scenario: "",
};
