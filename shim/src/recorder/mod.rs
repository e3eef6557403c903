//! The recorder: one log a process, opened at its first event, and never in the application's way.
//!
//! The VFS passes events as [`Record`](crate::format::record::Record)s, which are stored as bytes in mapped files. The program cannot
//! notice: nothing here takes memory from its heap, sets `errno`, is a cancellation point, waits for a lock, keeps a descriptor or writes to
//! one of the program's. The caller's result stays as it is, whatever goes wrong: an event is lost and counted, and a note gives the reason
//! ([`notice`]). [`config`] lists the environment variables.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `lifecycle` | the log of this process: none yet, being opened, open |
//! | `control` | switching recording on and off, and changing its settings |
//! | `process_state` | what a child of a fork does not inherit |
//! | `log` | one log: records and names |
//! | `ring`, `ring_file` | the protocol of the ring, and the file it is in |
//! | `names_file`, `name_state` | the file of names, and whether a thing has its name there |
//! | `databases`, `sql_texts`, `threads`, `process` | what has names |
//! | `mapped_file`, `location`, `filesystem`, `limits` | files that take stores without a fault, and where they can be |
//! | `thread`, `thread_storage` | what is remembered of each thread |
//! | `outside` | the holders of a lock that `/proc/locks` shows |
//! | `observer` | what a Rust program in this process gets of each record |
//! | `per_process` | values that a child does not inherit, for Rust programs |
//! | `config`, `line`, `notice`, `failure`, `guard` | settings, JSON lines, notes and reasons without a heap |

pub mod config;
pub mod control;
mod databases;
mod failure;
pub(crate) mod filesystem;
mod guard;
#[cfg(test)]
pub(crate) mod heap;
mod lifecycle;
mod limits;
pub mod line;
mod location;
mod log;
mod mapped_file;
mod name_state;
mod names_file;
pub mod notice;
pub mod observer;
pub(crate) mod outside;
pub mod per_process;
mod process;
mod process_state;
mod ring;
mod ring_file;
pub mod sql_texts;
pub(crate) mod thread;
mod thread_storage;
mod threads;

#[cfg(feature = "preload")]
pub(crate) use config::variable;
pub use databases::Library;
pub use failure::Failure;
pub use filesystem::file_system;
pub use lifecycle::{configure, configure_from_env, current, get};
#[cfg(feature = "preload")]
pub(crate) use lifecycle::{has_log, seal};
pub use location::MEMORY as MEMORY_DIR;
pub use log::Log;
pub(crate) use mapped_file::LITTLE_MEMORY;
pub(crate) use process_state::pid;
pub use sql_texts::texts;
pub(crate) use threads::thread_comm;
pub use threads::thread_name;
