//! Traces and what is concluded from them, without a traced program: traces are written by the tests themselves.
//!
//! | file | idea |
//! | --- | --- |
//! | `reading` | traces that are whole, cut, damaged or empty, and their export |
//! | `golden` | the golden trace of each format version |
//! | `corruption` | random damage: the reader neither panics nor loses count |
//! | `conclusions` | what the analysis concludes from scenarios whose answer is known |
//! | `incidents` | one cause for each incident, and its look-alikes |
//! | `causes` | causes of random applications, against the truth (`tests/story`) |
//! | `oracle` | holders of random interleavings, against the truth (`tests/play`) |
//! | `audit` | `locktrace audit` |
//! | `volume` | traces with more refusals than are kept one by one |
//! | `observer` | what an observer of the analysis gets |
//! | `floors` | which file of `src/analysis` may use which |
//! | `rooms` | the picture of the rooms in `docs/design.md` against the source |
//! | `source` | the paths in Rust source, for these two |
//! | `readme` | the README and `docs/` show what the commands print |
//! | `licenses` | licences of the dependencies |
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "cli")]
#[path = "../place/mod.rs"]
mod place;
#[path = "../play/mod.rs"]
mod play;
#[cfg(feature = "cli")]
#[path = "../sample/mod.rs"]
mod sample;
#[path = "../story/mod.rs"]
mod story;

#[cfg(feature = "cli")]
mod audit;
mod causes;
mod conclusions;
mod corruption;
mod floors;
mod golden;
mod incidents;
mod licenses;
mod observer;
mod oracle;
mod reading;
#[cfg(feature = "cli")]
mod readme;
mod rooms;
mod source;
mod volume;
