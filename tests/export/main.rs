//! `locktrace export`: each format, in the hands of this repository's tests and of readers that others wrote, as far as that needs no network.
//!
//! | file | idea |
//! | --- | --- |
//! | `output` | the expected text of each format for a small trace, and files that are written and replaced |
//! | `stopped` | exports that cannot go on |
//! | `timelines` | the timelines show what the analysis counted |
//! | `perfetto` | Perfetto's format, decoded |
//! | `readers` | files read by code that others wrote, and large traces |
//! | `parquet` | datasets |
//! | `sqlite`, `sqlite_views` | the database, and the questions it answers |
//!
//! What DuckDB, Spark and Perfetto itself read is in `tests/ecosystem`.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "cli")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../hosts/mod.rs"]
mod hosts;
#[path = "../place/mod.rs"]
mod place;

mod output;
mod parquet;
mod perfetto;
mod readers;
mod sqlite;
mod sqlite_views;
mod stopped;
mod timelines;
