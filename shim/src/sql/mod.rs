//! The recorder's state as SQL tables, once the extension is loaded: `locktrace_locks`, `locktrace_events`, `locktrace_status`.
//!
//! Three eponymous virtual tables, on the connection that loads the extension and, through `sqlite3_auto_extension`, on every later one of the
//! same SQLite library. Their rows are copies of [`crate::vfs::live`] and [`crate::recorder`]. Only the extension registers them: a program
//! under `locktrace run` gets no new tables, and one that links the crate asks in Rust.
//!
//! A query takes no lock of ours that a transition could wait for, and calls nothing of SQLite's on another connection. SQLite
//! itself begins a read transaction on the database `main` of the connection that asks, as for every table-valued function. So a
//! connection on `:memory:` can always ask.
//!
//! Nothing here uses the program's heap. What SQLite owns is in SQLite's memory, and the rows of a query are in a mapping of their own. Where
//! memory is short the query fails with `SQLITE_NOMEM`.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `text` | times and locks in words |
//! | `cell` | the value of one cell |
//! | `snapshot` | memory for rows |
//! | `locks`, `events`, `status` | the rows of each table |
//! | `tables` | the names and columns of each table |
//! | `functions` | SQLite's functions for virtual tables |
//! | `module` | the methods of a virtual table |
//! | `register` | registering the tables |

mod cell;
mod events;
mod functions;
mod locks;
mod module;
mod register;
mod snapshot;
mod status;
mod tables;
mod text;

pub use functions::Functions;
pub use register::register;
