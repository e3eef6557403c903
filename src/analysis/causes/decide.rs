//! The decision about the cause of a wait.
//!
//! Causes that the victim's own calls prove come before those that rest on what the holder did. If no rule proves a cause, it is
//! `Cause::Unexplained`.
#![forbid(unsafe_code)]

use super::case::Case;
use super::cause::Cause;
use super::evidence::Evidence;

/// The order in which causes are tried.
const ORDER: &[Cause] = &[
    // What the victim asked for proves these.
    Cause::CheckpointContended,
    Cause::CheckpointConvoy,
    Cause::CheckpointStarved,
    Cause::WalRecovery,
    Cause::WalProtocolRetry,
    Cause::JournalModeSwitch,
    Cause::ExclusiveMode,
    // What the victim held and kept proves this.
    Cause::UpgradeRefused,
    // The kernel's answer proves this, if no traced connection blocked the victim.
    Cause::UntracedHolder,
    // What the holder did proves these.
    Cause::HotJournal,
    Cause::LastClose,
    Cause::ReaderBlocksCommit,
    Cause::CommitBlocksReader,
    // How long the victim waited proves these.
    Cause::NoBusyTimeout,
    Cause::HoldExceedsTimeout,
];

/// A cause and the records that prove it, in addition to the attempts and the holds.
pub(crate) struct Verdict {
    pub cause: Cause,
    pub evidence: Vec<Evidence>,
}

/// The first cause whose conditions all hold.
pub(crate) fn decide(case: &Case<'_>) -> Verdict {
    let holds = |cause: &Cause| cause.entry().conditions.iter().all(|condition| (condition.holds)(case));
    let cause = ORDER.iter().copied().find(holds).unwrap_or(Cause::Unexplained);
    Verdict { cause, evidence: (cause.entry().evidence)(case) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_with_a_rule_is_tried_once() {
        for cause in Cause::ALL {
            let tried = ORDER.iter().filter(|tried| *tried == cause).count();
            assert_eq!(tried, usize::from(!cause.entry().conditions.is_empty()), "{}", cause.id());
        }
    }
}
