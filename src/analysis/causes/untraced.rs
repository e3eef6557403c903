//! `untraced-holder`: the holder is outside the trace.
#![forbid(unsafe_code)]

use super::case::{Case, Verdict};
use super::cause::Cause;

/// No traced connection held what was asked for, and the kernel named a process outside the trace that did.
pub(super) fn untraced_holder(case: &Case<'_>) -> Option<Verdict> {
    case.outside.then_some(())?;
    case.verdict(Cause::UntracedHolder)
}
