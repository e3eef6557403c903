//! The export formats: a trace for other tools, each format behind the trait [`Export`].
//!
//! An [`Export`] is an [`Observer`]. One pass over the trace passes it every record, hold and stretch of work, and it writes what it can at once.
//! [`Export::finish`] receives the finished analysis and writes the rest: incidents, names, losses. So memory does not grow with the trace.
#![forbid(unsafe_code)]

#[cfg(feature = "cli")]
pub mod csv;
pub mod folded;
mod incidents;
mod labels;
#[cfg(feature = "cli")]
pub mod parquet;
#[cfg(feature = "cli")]
pub mod sqlite;
#[cfg(feature = "cli")]
mod table_values;
pub mod timeline;
#[cfg(feature = "cli")]
pub mod unfinished;

use crate::analysis::{Analysis, Observer, Options};
use crate::trace::{Error, Trace};
use std::io;

/// Writes one format.
pub trait Export: Observer {
    /// Writes the rest and flushes it. Returns a sentence for each thing that the trace has and the output lacks.
    ///
    /// # Errors
    /// Errors of the output, also an earlier one.
    fn finish(self: Box<Self>, analysis: &Analysis<'_>) -> io::Result<Vec<String>>;
}

/// Why an export stopped.
#[derive(Debug)]
pub enum ExportError {
    /// The trace cannot be read.
    Trace(Error),
    /// The output cannot be written.
    Output(io::Error),
}

/// Reads the whole trace and writes it. Returns the analysis and the sentences of [`Export::finish`].
///
/// # Errors
/// If the trace cannot be read, or the output cannot be written.
pub fn run<'t>(
    trace: &'t Trace,
    options: Options,
    mut export: Box<dyn Export + 't>,
) -> Result<(Analysis<'t>, Vec<String>), ExportError> {
    let analysis = Analysis::observed(trace, options, &mut *export).map_err(ExportError::Trace)?;
    let left_out = export.finish(&analysis).map_err(ExportError::Output)?;
    Ok((analysis, left_out))
}
