//! One log while it is being written: what is new in its ring and in its names, each time it is asked.
//!
//! Input: the paths of the two files. Output: records, each once, lines of names, and a tally of every number that did not come.
//! Nothing is mapped, and nothing is written: the traced process cannot tell. Called by [`super::follow`].
#![forbid(unsafe_code)]

pub(crate) mod lines;
mod names;
mod ring;

pub(crate) use names::NamesTail;
pub(crate) use ring::RingTail;
