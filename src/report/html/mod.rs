//! The report as one page: a file that needs nothing else, and shows what the text says and a timeline to look at.
//!
//! Input: a [`Trace`] and a writer. Output: HTML. One pass over the records (`overview`) finds what a page has room for; where there is more, a second one
//! (`detail`) takes every hold round the incidents. The text of the page stands there without any script; `timeline/` is the script, and what it draws is
//! a JSON object (`data`). Nothing a trace says is markup, and the page's policy allows no script but its own and no network. Called by `locktrace
//! report --html` and `locktrace open`.
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

/// A trace as a page shows it, read to its end.
pub struct Page<'t> {
    /// What was found.
    pub analysis: Analysis<'t>,
    data: Data,
    counts: Counts,
    selection: Selection,
    curves: Vec<charts::Chart>,
    placeless: u64,
    unit: time::Unit,
}

impl<'t> Page<'t> {
    /// Reads a trace; and where one pass is not enough, the same from `again`. `progress` is called for every record.
    ///
    /// # Errors
    /// As [`Trace::events`], and those of `again`.
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
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        page::write(self, out)
    }
}
