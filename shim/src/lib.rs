//! The half of locktrace that is loaded into other people's processes: a SQLite VFS shim and its recorder.
//!
//! Built as `liblocktrace.so` it is a loadable extension ([`extension`]) and, with the feature `preload`, a library for `LD_PRELOAD`;
//! as a Rust library it is what `sqlite_locktrace::Builder` installs. It links no SQLite of its own: the functions it needs come from the library it
//! is installed into ([`api`]).
//!
//! Data goes one way: `vfs` callback → [`event`] → [`recorder`] → file. The reader of the files uses only [`event`] and [`mod@format`].

#[cfg(not(loom))]
pub mod api;
#[cfg(not(loom))]
pub mod clock;
#[cfg(not(loom))]
mod errno;
pub mod event;
#[cfg(not(loom))]
pub mod extension;
#[cfg(not(loom))]
#[allow(non_camel_case_types, non_snake_case)] // SQLite's own names
pub mod ffi;
pub mod format;
#[cfg(not(loom))]
pub mod locate;
#[cfg(not(loom))]
pub mod memory;
#[cfg(not(loom))]
mod path;
#[cfg(all(feature = "preload", not(loom)))]
pub mod preload;
#[cfg(not(loom))]
pub mod recorder;
#[cfg(not(loom))]
pub mod sys;
// The model checker has atomics of its own, so only the checked protocol is compiled for it.
#[cfg(loom)]
#[path = "recorder/ring.rs"]
pub mod ring;
#[cfg(not(loom))]
pub mod sql;
#[cfg(not(loom))]
pub mod vfs;
