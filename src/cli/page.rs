//! The page of `report --html` and `open`, read with a line of progress.
#![forbid(unsafe_code)]

use super::io::{Failure, Reopenable};
use super::progress::ProgressMeter;
use crate::analysis::Options;
use crate::report::html::Page;
use crate::trace::Trace;

/// Reads the page of this trace. `given` opens the trace again if the page needs a second pass.
pub(super) fn read<'t>(trace: &'t Trace, given: &Reopenable, options: Options) -> Result<Page<'t>, Failure> {
    let meter = ProgressMeter::over(trace);
    let again = || {
        meter.again();
        given.open()
    };
    Page::read(trace, &again, options, &|| meter.step())
}
