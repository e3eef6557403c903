//! locktrace: which connection, thread and statement is behind a `database is locked`.
//!
//! Two halves that meet only in the bytes on disk (the `locktrace` crate's `format` module):
//!
//! * **Writing.** [`Builder::install`] wraps the SQLite this program links in a recording VFS.
//! * **Reading.** [`trace`] opens what was recorded, [`analysis`] works out who held what and who was refused, [`report`] says so.
//!
//! As a library, depend on it with `default-features = false`: the default feature `cli` brings the `locktrace` command and with
//! it a bundled SQLite, which Cargo would make your program's SQLite, too.

pub mod analysis;
mod builder;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
mod linked;
pub mod live;
mod recording;
pub mod report;
pub mod trace;

pub use builder::{Builder, Error, Installed, SqlPolicy};
pub use live::{Event, LiveHold, LiveLock, Subscription, current_locks, subscribe};
pub use locktrace::event;
pub use recording::Recording;
