//! Real SQLite programs under the recorder, and what the trace shows of each of their calls.
//!
//! A test reads like a page of SQLite's lock protocol: "connection A does this, the trace shows that". [`stage`] gives
//! it a database, a trace directory and connections; [`host`] is the process behind them, either `/usr/bin/python3` with the
//! system's SQLite and the loadable extension, or [`child`] (this test binary again) with the bundled SQLite and
//! `Builder::install`; [`render`] turns records into words; [`replay`] compares every record with a lock state kept from the calls
//! alone; [`load`] is the workload of the tests that put many threads and processes on one database.
//!
//! Tests wait for the answer to a command, with a deadline, never for a time to pass.
#![allow(dead_code)] // Each test binary uses its own part.

pub mod child;
pub mod host;
pub mod load;
pub mod render;
pub mod replay;
pub mod stage;
