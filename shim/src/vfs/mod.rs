//! The pass-through VFS: every call goes to SQLite's own VFS unchanged, and what happens to locks is recorded.
//!
//! The rule over all others: **the traced program must not notice.**
//!
//! A file uses files of lower floors only.
//!
//! | floor | file | what it holds |
//! | --- | --- | --- |
//! | 1 | `pool` | the memory of open files |
//! | | `paths` | the paths of databases |
//! | | `copies` | how other copies of this library recognise our VFS |
//! | | `shim` | one SQLite whose files reach us |
//! | 2 | `lock_state` | the locks of one connection, which any thread may copy |
//! | | `statement` | which SQL is running |
//! | 3 | `outside` | which refusals the kernel is asked about |
//! | 4 | `connection` | a connection's use of one database file |
//! | 5 | `file` | an open file: the base's file, our method table, its connection |
//! | 6 | `live` | the present locks of all connections |
//! | | `journal` | which database a journal or WAL belongs to |
//! | | `io`, `lock`, `shm`, `control` | the methods of a file |
//! | 7 | `tables` | method tables of files, with the base's version and null slots |
//! | 8 | `open` | the calls of a VFS that are recorded: open, delete, sleep |
//! | 9 | `wrapped` | a VFS of ours, registered over another one |
//! | | `cover` | SQLite's own VFS objects, with methods that lead to us |
//! | 10 | `install`, `uninstall` | registering, and taking back |

mod connection;
mod control;
mod copies;
#[cfg(feature = "preload")]
pub(crate) mod cover;
mod file;
mod install;
mod io;
mod journal;
pub mod live;
mod lock;
mod lock_state;
mod open;
mod outside;
mod paths;
mod pool;
mod shim;
mod shm;
mod statement;
mod tables;
mod uninstall;
mod wrapped;

pub(crate) use install::is_here;
pub use install::{InstallError, Installed, Options, install};
pub use uninstall::{UninstallError, VfsUnregister, uninstall};
