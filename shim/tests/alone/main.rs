//! Tests that change what belongs to a whole process: SQLite's list of VFSes, the recorder's state, limits, signals, the file system in view.
//!
//! Each test runs itself again in a process of its own (`common::alone`), so that they do not meet. In this target's own process a test only
//! waits for that child: a test that does anything else belongs into `shim/tests/contract`.
//!
//! | file | idea |
//! | --- | --- |
//! | `install` | installing once, twice, after a shutdown, beside other VFSes |
//! | `sqlite_and_vfs` | the shim between a whole SQLite and real VFSes |
//! | `recorder` | the recorder's manners: what it leaves behind, what it must not disturb |
//! | `observer` | the function that hears every record |
//! | `pragma` | `PRAGMA locktrace…` |
//! | `live` | what every connection holds now |
//! | `sql` | the tables that the extension registers |
//! | `process` | `errno`, descriptors, forks: what belongs to the process |
//! | `fork` | a `fork` while another thread is inside the recorder |
//! | `full_disk` | no room, a file size limit, no `fallocate` |
//! | `footprint` | the disk space a trace takes |
//! | `seccomp` | a filter of system calls that kills |
#![allow(missing_docs)]

#[path = "../common/mod.rs"]
mod common;

mod footprint;
mod fork;
mod full_disk;
mod install;
mod live;
mod observer;
mod pragma;
mod process;
mod recorder;
#[cfg(target_arch = "x86_64")]
mod seccomp;
mod sql;
mod sqlite_and_vfs;
