//! Locks and their holders: the lock state of each connection, and what is counted and kept of it.
#![forbid(unsafe_code)]

pub mod activity;
pub mod blocking_holds;
pub mod commits;
pub mod databases;
pub mod journal_mode;
pub mod lock;
pub mod reading;
pub mod state;
pub mod wal_sizes;
