//! Real frameworks and real ways to start processes under `locktrace run`: what their traces say.
//!
//! | file | idea |
//! | --- | --- |
//! | `common/packages` | Python and Node packages, installed once and kept |
//! | `server` | a web server under `locktrace run`, and requests to it |
//! | `seen` | what `locktrace report --json` and `locktrace cat --json` say |
//! | `web` | Django under gunicorn, FastAPI with SQLAlchemy under uvicorn |
//! | `processes` | fork, spawn, `os._exit`, daemons, a connection carried across a fork |
//! | `kitchen_sink` | an application that uses much of SQLite, and does not notice |
//! | `hosts` | the fix in the words of the framework |
//! | `libraries` | several SQLites in one process; Node and Ruby |
//! | `timelines` | `locktrace export`, read by Perfetto's own schema |
//! | `reach` | the languages, builds and processes in which `locktrace run` reaches a SQLite |
//! | `fleet` | exports in the hands of DuckDB, Spark and Datasette |
//!
//! What cannot be had on a machine is skipped with a line on stderr; with `LOCKTRACE_REQUIRE_ECOSYSTEM=1` that is a failure.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "cli")]

#[path = "../common/bundled.rs"]
mod bundled;
#[path = "../common/mod.rs"]
mod common;
#[path = "../hosts/mod.rs"]
mod fleet_hosts;
#[path = "../common/packages.rs"]
mod packages;
#[path = "../place/mod.rs"]
mod place;

mod fleet;
mod hosts;
mod kitchen_sink;
mod libraries;
mod processes;
mod reach;
mod seen;
mod server;
mod timelines;
mod web;
