//! Waits: refused attempts, the connections in their way, and how they follow each other until they end.
#![forbid(unsafe_code)]

pub mod busy_handler;
pub mod conflicts;
pub mod follow;
pub mod harmless;
pub mod pending;
pub mod refusal;
pub mod refusal_stats;
pub mod wait;
