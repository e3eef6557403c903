//! locktrace: which connection, thread and statement is behind a `database is locked`.
//!
//! [`Builder::install`] is the Rust way in: it wraps the SQLite this program links in a recording VFS.

mod builder;
mod linked;

pub use builder::{Builder, Error, Installed, SqlPolicy};
