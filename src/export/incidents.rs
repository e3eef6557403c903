//! The incidents of an analysis with their numbers, and the holds that blocked them.
#![forbid(unsafe_code)]

use crate::analysis::{Analysis, Blocker, BlockingHold, Incident};

/// The incidents that are kept one by one, with the numbers that `locktrace explain` takes.
pub(super) fn listed<'a>(analysis: &'a Analysis<'_>) -> impl Iterator<Item = (u64, &'a Incident)> {
    (1..).zip(&analysis.incidents)
}

/// The hold of this blocker.
pub(super) fn holding<'a>(analysis: &'a Analysis<'_>, blocker: &Blocker) -> Option<&'a BlockingHold> {
    analysis.blocking_holds.get(blocker.hold as usize)
}
