//! Connections that keep SQLite's rules, simulated the slow and obvious way, with the whole truth beside their records.
//!
//! `world` is the clock and the table of locks, `conn` and `locks` what the VFS is called, `wal`, `rollback`, `mode` and `busy` what SQLite calls when, `plan` and `app`
//! what applications do, `truth` what an analysis of the records must say, `why` with which cause, `lies` what it may not. Used by `tests/analysis/causes.rs`.
#![allow(dead_code)]

mod app;
mod busy;
mod conn;
mod lies;
mod locks;
mod mode;
pub mod plan;
mod rollback;
pub mod truth;
mod wal;
mod why;
pub mod world;
