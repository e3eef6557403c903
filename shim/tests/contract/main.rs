//! The contract between SQLite and the shim, at the tables of functions and the layout of structs themselves.
//!
//! These tests share one process: each uses VFSes of its own names, and the probe of `common` keeps its state for each thread apart.
//!
//! | file | idea |
//! | --- | --- |
//! | `layout` | sizes, offsets and numbers against SQLite's header |
//! | `api_slots` | the slots of `sqlite3_api_routines` |
//! | `methods` | the method tables of VFSes and files |
#![allow(missing_docs)]

#[path = "../common/mod.rs"]
mod common;

mod api_slots;
mod layout;
mod methods;
