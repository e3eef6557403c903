//! The order of events: instants that compare across logs, missing record numbers, and what was read of each log.
#![forbid(unsafe_code)]

pub mod coverage;
pub mod gaps;
pub mod instants;
pub mod window;
