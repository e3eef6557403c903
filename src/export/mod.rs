//! A trace for other tools: one file for each format, behind one trait.
//!
//! Input: a [`Trace`] and where to write. Output: a file (or a directory) of that format. An [`Export`] is an [`Observer`]: it is told of every record, hold and
//! stretch of work as one pass over the trace finds them, writes what it can at once, and the rest (incidents, names, the account of losses) when it is given the
//! finished analysis. So memory does not grow with the trace. Called by `locktrace export`.
#![forbid(unsafe_code)]

#[cfg(feature = "cli")]
pub mod csv;
#[cfg(feature = "cli")]
mod facts;
#[cfg(feature = "cli")]
pub mod firefox;
pub mod folded;
mod incidents;
mod lanes;
mod naming;
mod paint;
#[cfg(feature = "cli")]
pub mod parquet;
pub mod perfetto;
mod protobuf;
#[cfg(feature = "cli")]
mod spool;
#[cfg(feature = "cli")]
pub mod sqlite;
mod timeline;
#[cfg(feature = "cli")]
pub mod unfinished;
mod waits;

use crate::analysis::{Analysis, Observer, Options};
use crate::trace::{Error, Trace};
use std::io;

/// Writes one format.
pub trait Export: Observer {
    /// Writes what is left to say, and makes sure that all is written. A sentence for each thing that the trace has and the output has not.
    ///
    /// # Errors
    /// Those of what it writes to, also those it met before.
    fn finish(self: Box<Self>, analysis: &Analysis<'_>) -> io::Result<Vec<String>>;
}

/// Why an export stopped.
#[derive(Debug)]
pub enum Stopped {
    /// The trace cannot be read.
    Trace(Error),
    /// The output cannot be written.
    Output(io::Error),
}

/// Reads the whole trace and writes it; also what [`Export::finish`] says.
///
/// # Errors
/// When the trace cannot be read, or the output cannot be written.
pub fn run<'t>(
    trace: &'t Trace,
    options: Options,
    mut export: Box<dyn Export + 't>,
) -> Result<(Analysis<'t>, Vec<String>), Stopped> {
    let analysis = Analysis::observed(trace, options, &mut *export).map_err(Stopped::Trace)?;
    let left_out = export.finish(&analysis).map_err(Stopped::Output)?;
    Ok((analysis, left_out))
}
