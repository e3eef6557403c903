//! The entry of a cause: everything about it in one place, from the rule that proves it to the words that explain it.
//!
//! An entry stands in the file of its family (`upgrade`, `timeout`, …). The table in [`super::cause`] lists them all.
#![forbid(unsafe_code)]

use super::case::Case;
use super::evidence::Evidence;
use super::remedy::Remedy;
use crate::analysis::waits::wait::Wait;

/// A named test of a case. Its name is what the documentation says of the rule.
pub(crate) struct Condition {
    /// What holds, as a sentence about the victim and the holder.
    pub what: &'static str,
    pub holds: fn(&Case<'_>) -> bool,
}

/// What attempts between which SQLite did not sleep may have been to the application.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unslept {
    /// SQLite does not call the busy handler here: nothing follows.
    Nothing,
    /// Either the application has its own busy handler, or it saw an error each time and retried.
    PerhapsErrors,
    /// The same, where the statement ends a transaction. A cache spill that is refused fails no statement.
    PerhapsErrorsAtCommit,
}

/// A cause, whole.
pub(crate) struct Entry {
    /// Its identifier, by which reports, tests and exit gates know it.
    pub id: &'static str,
    /// The rule: a wait has this cause if all conditions hold, and no cause before it in the order of [`super::decide`] is proven. Empty where no
    /// wait proves it.
    pub conditions: &'static [Condition],
    /// The records that prove it, beside the attempts and the holds.
    pub evidence: fn(&Case<'_>) -> Vec<Evidence>,
    /// Whether the application saw an error even if the connection got the lock later: SQLite calls no busy handler for this attempt.
    pub fails_at_once: fn(&Wait) -> bool,
    /// What happened, for somebody who has not read SQLite's source.
    pub meaning: &'static str,
    /// What to change first, in one line.
    pub change: &'static str,
    /// Why that helps, and what else to do; may be empty.
    pub why: &'static str,
    /// Whether the change is made on the side of the holder: then advice about the hold comes before the general one.
    pub holder_changes: bool,
    /// The change for which frameworks have a setting.
    pub remedy: Option<Remedy>,
    /// Whether a longer busy timeout can help, in one sentence.
    pub timeout: &'static str,
    pub unslept: Unslept,
    /// The victim waits for a writer: what that writer did meanwhile is the question.
    pub waits_for_writer: bool,
    /// Advice that depends on the statement which took the lock.
    pub holder_advice: fn(&str) -> Option<&'static str>,
    /// Two connections that have it, call by call.
    pub example: &'static str,
    /// The program of `tests/scenarios` that has it.
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
