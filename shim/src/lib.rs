//! The half of locktrace that is loaded into other people's processes: a SQLite VFS shim and its recorder.

pub mod api;
pub mod clock;
pub mod event;
pub mod extension;
#[allow(non_camel_case_types, non_snake_case)] // SQLite's own names
pub mod ffi;
pub mod format;
pub mod recorder;
pub mod vfs;
