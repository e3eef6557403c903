//! The library in a program's own process: installing it, what it says there, and the examples.
//!
//! SQLite's list of VFSes and the recorder belong to a whole process, so each test runs itself again in a process of its own (`common::alone`).
//! In this target's own process a test only waits for that child.
//!
//! | file | idea |
//! | --- | --- |
//! | `recording` | the handle of an installation |
//! | `subscribe` | channels of lock events |
//! | `tracing_bridge` | lock events of the `tracing` crate |
//! | `examples` | the programs of `examples/` |

// As the shim's own tests name it.
extern crate shim as locktrace;

#[path = "../../shim/tests/common/mod.rs"]
mod common;
#[path = "../sample/mod.rs"]
mod sample;

#[cfg(feature = "tracing")]
mod examples;
mod recording;
mod subscribe;
#[cfg(feature = "tracing")]
mod tracing_bridge;
