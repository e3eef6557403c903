//! Incidents: waits that an application can notice, each with its blockers, its cause and its proof.
#![forbid(unsafe_code)]

pub mod build;
pub mod incident;
pub mod keep;
pub mod starved_checkpoints;
pub mod totals;
