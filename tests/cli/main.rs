//! The `locktrace` command, verb by verb: what it prints, where, and with which exit code.
//!
//! | file | idea |
//! | --- | --- |
//! | `output` | the command line, and what `cat`, `report`, `explain` and `stats` print |
//! | `bad_input` | traces that are mixed, damaged, newer or none at all |
//! | `check` | `locktrace check`, and which losses it minds |
//! | `doctor` | `locktrace doctor` on programs of every kind |
//! | `follow` | `locktrace follow` beside programs that write |
//! | `run` | `locktrace run` and `locktrace extension` |
//! | `top` | `locktrace top`: its state, its drawings, a terminal |
#![allow(clippy::unwrap_used)]
#![cfg(feature = "cli")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../place/mod.rs"]
mod place;
#[path = "../sample/mod.rs"]
mod sample;

mod bad_input;
mod check;
mod doctor;
mod follow;
mod output;
mod run;
mod top;
