//! The report as one HTML file that needs nothing else: the findings in text, and a timeline.
//!
//! One pass over the records (`overview`) finds what a page has room for. If there is more, a second pass (`detail`) takes every hold around the incidents.
//! The text of the page needs no script. `timeline/` is the script, and it draws a JSON object (`data`). No text of a trace becomes markup. The page's
//! policy allows only its own script, and no network.
#![forbid(unsafe_code)]

mod bins;
mod charts;
mod data;
mod detail;
mod escape;
mod fold;
mod overview;
mod page;
mod selection;
mod sqls;
mod tables;
mod time;
mod verdict;

use crate::analysis::{Analysis, Options};
use crate::trace::{Error, Trace};
use data::{Counts, Data};
use detail::Detail;
use overview::Overview;
use selection::Selection;
use std::io::{self, Write};

/// The page of a trace, which has been read to its end.
pub struct Page<'t> {
    /// The findings.
    pub analysis: Analysis<'t>,
    data: Data,
    counts: Counts,
    selection: Selection,
    curves: Vec<charts::Chart>,
    placeless: u64,
    unit: time::Unit,
}

impl<'t> Page<'t> {
    /// Reads a trace and, if one pass is not enough, the same trace from `again`. Calls `progress` for every record.
    ///
    /// # Errors
    /// The errors of [`Trace::events`] and of `again`.
    pub fn read<E: From<Error>>(
        trace: &'t Trace,
        again: &dyn Fn() -> Result<Trace, E>,
        options: Options,
        progress: &dyn Fn(),
    ) -> Result<Page<'t>, E> {
        let mut overview = Overview::new(trace, progress);
        let analysis = Analysis::observed(trace, options, &mut overview)?;
        let selection = Selection::of(&analysis, &mut overview);
        let pieces = match overview.all.take() {
            Some(all) => {
                overview.all = Some(Vec::new());
                all
            }
            None => {
                let mut pieces: Vec<_> = (0..overview.rows.len() as u32).flat_map(|row| overview.longest(row)).collect();
                if !selection.windows.is_empty() {
                    let mut detail = Detail::new(&overview, &selection.windows);
                    Analysis::observed(&again()?, Options { longest: 0, listed: 0, ..Options::default() }, &mut detail)?;
                    pieces.extend(detail.finish());
                }
                pieces
            }
        };
        let curves = charts::curves(&analysis, &mut overview, &selection);
        let rows = fold::rows(&mut overview, &selection, pieces);
        let (data, counts) = data::of(&analysis, &mut overview, &selection, rows);
        let (placeless, unit) = (overview.placeless, overview.time.unit);
        Ok(Page { analysis, data, counts, selection, curves, placeless, unit })
    }

    /// Writes the page.
    ///
    /// # Errors
    /// The errors of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        page::write(self, out)
    }
}
