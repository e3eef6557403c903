//! The page of `report --html` and `open`: read with a line of progress, and written to a file.
#![forbid(unsafe_code)]

use super::progress::Progress;
use super::{Failure, open};
use crate::analysis::Options;
use crate::report::html::Page;
use crate::trace::Trace;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Reads the trace that a verb was given. What cannot be read twice is opened anew, but for standard input.
pub(super) fn read<'t>(trace: &'t Trace, given: Option<&Path>, options: Options) -> Result<Page<'t>, Failure> {
    let records = trace.logs().iter().map(|log| log.head.min(log.capacity.max(1))).sum();
    let progress = Progress::new("reading", records);
    let again = || (given != Some(Path::new("-"))).then(|| open(given));
    Ok(Page::read(trace, &again, options, &|| progress.step())?)
}

/// Writes the page to a file that was opened for it.
pub(super) fn write(page: &Page<'_>, file: File) -> std::io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, file);
    page.write(&mut out)?;
    out.flush()
}
