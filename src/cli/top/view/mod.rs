//! The state of running programs, read and put into words: what the screen, the plain text and `run --top` show.
#![forbid(unsafe_code)]

pub mod lines;
pub mod live;
pub mod plain;
