//! Real SQLites under the recorder: their calls, one by one, and what is reported of them. On the system's SQLite and on the bundled one.
//!
//! Connections live in child processes (`tests/live`). In this target's own process nothing is installed.
//!
//! | file | idea |
//! | --- | --- |
//! | `rollback`, `wal` | readers and writers in each journal mode |
//! | `checkpoint`, `lifecycle` | checkpoints; opening, closing and changes of journal mode |
//! | `connection` | whose call it was |
//! | `processes` | two processes, two SQLites |
//! | `outside` | holders that no trace has |
//! | `extension` | the loadable extension in programs that know nothing of it |
//! | `sql_surface` | what SQL sees of the recorder |
//! | `load` | 32 threads in each of 4 processes |
#![allow(clippy::unwrap_used)]
#![cfg(feature = "cli")]

#[path = "../live/mod.rs"]
mod live;

mod checkpoint;
mod connection;
mod extension;
mod lifecycle;
mod load;
mod outside;
mod processes;
mod rollback;
mod sql_surface;
mod wal;
