//! Waits: refused attempts, the connections that may have refused them, and how attempts follow each other until the wait ends.
#![forbid(unsafe_code)]

pub mod busy_handler;
pub mod conflicts;
pub mod follow;
pub mod harmless;
pub mod pending;
pub mod refusal;
pub mod refusal_stats;
pub mod wait;
