//! The incidents of an analysis, as the exports take them: numbered as everywhere else, and how many are not among them.
#![forbid(unsafe_code)]

use crate::analysis::{Analysis, Blocker, BlockingHold, Incident};

/// Those that are listed, with the number by which `locktrace explain` knows them.
pub(super) fn listed<'a>(analysis: &'a Analysis<'_>) -> impl Iterator<Item = (u64, &'a Incident)> {
    (1..).zip(&analysis.incidents)
}

/// The hold that was in the way.
pub(super) fn holding<'a>(analysis: &'a Analysis<'_>, blocker: &Blocker) -> Option<&'a BlockingHold> {
    analysis.blocking_holds.get(blocker.hold as usize)
}
