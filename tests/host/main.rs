//! Programs that a recorder could kill, hang or change: each runs bare and traced, and must behave the same.
//!
//! The programs are in `programs/`. A test compares standard output, standard error, exit code and the files left behind.
//! What the machine lacks (a compiler, the right to mount) is skipped with a line; `LOCKTRACE_REQUIRE_ECOSYSTEM=1` makes that a failure.
#![allow(missing_docs, clippy::unwrap_used)]
#![allow(clippy::undocumented_unsafe_blocks)] // Tests of C interfaces; each call is the documented one.
#![cfg(all(feature = "cli", target_os = "linux"))]

#[path = "../common/bundled.rs"]
mod bundled;
mod harness;
#[path = "../common/packages.rs"]
#[allow(dead_code)]
mod packages;
#[path = "../place/mod.rs"]
mod place;

mod cancelled;
mod children;
mod descriptors;
mod disk;
mod limits;
mod lives;
mod memory;
mod modules;
mod objects;
mod sandbox;
mod secure;
