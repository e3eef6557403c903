//! `checkpoint-contended`, `checkpoint-convoy` and `checkpoint-starved`: checkpoints that were refused.
//!
//! A checkpoint holds CKPT. FULL and above take WRITE, too, and keep it while they wait for readers. A PASSIVE checkpoint carries on without what it was refused.
//! That becomes an incident only when the same reader stands in the way again and the WAL grows (`incidents/starved_checkpoints`).
#![forbid(unsafe_code)]

use super::case::{Case, Verdict};
use super::cause::Cause;
use crate::analysis::locks::lock::Request;
use shim::event::Slot;

const CKPT: u8 = 1 << Slot::CKPT.0;

/// CKPT was refused: another checkpoint runs. SQLite calls no busy handler for CKPT unless the checkpoint asks for one.
pub(super) fn contended(case: &Case<'_>) -> Option<Verdict> {
    let asks = case.wait.request == Request::Shm { mask: CKPT, exclusive: true };
    let recovering = case.proven().any(|candidate| candidate.hold.did.recoveries > 0);
    (asks && !recovering).then_some(())?;
    case.verdict(Cause::CheckpointContended)
}

/// With CKPT and WRITE, a reader's slot was refused: again and again, it is a convoy. A reader's slot that is refused to others is no
/// incident.
pub(super) fn refused_by_reader(case: &Case<'_>) -> Option<Verdict> {
    case.wait.request.is_optional().then_some(())?;
    case.verdict(if case.wait.attempts > 1 { Cause::CheckpointConvoy } else { Cause::CheckpointStarved })
}
