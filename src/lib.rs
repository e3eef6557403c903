//! locktrace: which connection, thread and statement is behind a `database is locked`.
//!
//! Two halves that meet only in the bytes on disk (the `locktrace` crate's `format` module):
//!
//! * **Writing.** [`Builder::install`] wraps the SQLite that this program links in a recording VFS, and returns a [`Recording`]. While the
//!   program runs, [`current_locks`] returns who holds what, and [`subscribe()`] sends every lock call into a bounded channel. With the feature
//!   `tracing` (`Builder::tracing`), refused locks are warnings under the application's current span.
//! * **Reading.** [`trace`] opens a recording, [`analysis`] finds out who held what and who was refused, and [`report`] puts that into words.
//!
//! As a library, depend on it with `default-features = false`. The default feature `cli` brings the `locktrace` command and a bundled SQLite,
//! and Cargo would make that your program's SQLite, too.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let (trace, path) = (dir.path().join("trace"), dir.path().join("app.db"));
//! use sqlite_locktrace::{Builder, current_locks};
//!
//! let recording = Builder::new().dir(&trace).install()?; // before the first connection
//! let db = rusqlite::Connection::open(&path)?;
//! db.execute_batch("CREATE TABLE t(x)")?;
//! db.execute_batch("BEGIN IMMEDIATE")?;
//!
//! let lock = &current_locks()[0];
//! assert_eq!(lock.held[0].to_string(), "RESERVED");
//! assert_eq!(lock.writing.as_ref().and_then(|writing| writing.sql.as_deref()), Some("BEGIN IMMEDIATE"));
//!
//! assert!(recording.uninstall().is_err()); // not while a connection is open
//! drop(db);
//! recording.uninstall()?;
//! # Ok(())
//! # }
//! ```

pub mod analysis;
mod builder;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
mod error;
pub mod export;
mod linked;
pub mod live;
mod recording;
pub mod report;
pub mod trace;

pub use builder::{Builder, Installed, SqlPolicy};
pub use error::Error;
pub use live::{Event, LiveHold, LiveLock, Subscription, current_locks, subscribe};
pub use recording::Recording;
pub use shim::event;
