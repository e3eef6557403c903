//! Runs real SQLite programs under the recorder, and reads what the trace says of each of their calls.
//!
//! Input: a test that reads like a page of SQLite's lock protocol: "connection A does this, the trace says that". [`stage`] gives
//! it a database, a trace directory and connections; [`host`] is the process behind them, either `/usr/bin/python3` with the
//! system's SQLite and the loadable extension, or [`child`] (this test binary again) with the bundled SQLite and
//! `Builder::install`; [`render`] turns records into words; [`replay`] holds every record against a lock state kept from the calls
//! alone; [`load`] is the workload of the tests that put many threads and processes on one database.
//!
//! Nothing here waits for a time to pass: a command is answered when it is done, and everything has a deadline.
#![allow(dead_code)] // Each test binary uses its own part.

pub mod child;
pub mod host;
pub mod load;
pub mod render;
pub mod replay;
pub mod stage;
