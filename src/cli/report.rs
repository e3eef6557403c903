//! `locktrace report`: the refused locks of a trace, their causes and blockers, as text, JSON or a page.
#![forbid(unsafe_code)]

use super::destination::{Destination, Shape};
use super::io::{Failure, Reopenable, open, output, plain, width};
use super::page;
use crate::analysis::{Analysis, Options};
use crate::report::html::Page;
use crate::report::human::bytes;
use crate::report::{json, text};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Report which locks were refused, by whom, why, and what to change; then every lock and refusal.
///
/// The verdict comes first: the errors that the application saw, and their causes in order of harm, each with the blocking statement and the fix.
/// Then the report counts refused attempts by lock. For each database it shows the journal mode, how often each lock was taken and refused, how
/// long it was held and waited for, and the longest holds. Then it lists which statement blocks which, hazards, and refused attempts with their
/// holders: `held by` if the trace proves it, `possibly held by` if the two only overlap. Losses come last.
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  locktrace report                          the trace in LOCKTRACE_DIR or ./locktrace-trace
  locktrace report trace --all              with every refused attempt
  locktrace report trace --html page.html   a page with a timeline; `locktrace open` shows it in the browser
  locktrace report trace --json | jq '.refusals[] | select(.text | test(\"UPDATE\"))'
  locktrace cat trace --json | gzip > t.gz; zcat t.gz | locktrace report -

Exit codes:
  0  The report was written. (`locktrace check` has exit codes for limits.)
  2  Wrong usage, or nothing could be read.")]
pub(super) struct Report {
    /// A trace directory, a file of JSON lines, or - for JSON lines on standard input
    ///
    /// Without it: the directory in LOCKTRACE_DIR, or ./locktrace-trace.
    trace: Option<PathBuf>,
    /// Write one JSON object, which includes the refused attempts and the incidents
    #[arg(long)]
    json: bool,
    /// Write one page with a timeline, for any browser, without a network; - is standard output
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "all"])]
    html: Option<PathBuf>,
    /// How many of the longest holds of each database to list
    #[arg(long, value_name = "N", default_value_t = 10)]
    longest: usize,
    /// List every refused attempt, not only the first 20, and keep every incident
    #[arg(long)]
    all: bool,
    /// How many incidents and refused attempts to keep one by one: the first ones, and the worst incidents of each cause
    ///
    /// All are counted. Only kept incidents have numbers, so give `explain` the same --incidents.
    #[arg(long, value_name = "N", default_value_t = Options::default().listed, conflicts_with = "all")]
    incidents: usize,
}

impl Report {
    pub(super) fn run(self) -> Result<(), Failure> {
        let listed = if self.all { usize::MAX } else { self.incidents };
        let options = Options { longest: self.longest, listed, ..Options::default() };
        if let Some(to) = &self.html {
            let given = Reopenable::new(self.trace.as_deref())?;
            let trace = given.open()?;
            return html(&page::read(&trace, &given, options)?, to);
        }
        let trace = open(self.trace.as_deref())?;
        let analysis = Analysis::of(&trace, options)?;
        if self.json {
            let mut out = plain();
            json::write(&analysis, &mut out)?;
            return Ok(out.flush()?);
        }
        let refusals = if self.all { usize::MAX } else { text::Style::default().refusals };
        let mut out = output();
        text::write(&analysis, text::Style { width: width(), refusals }, &mut out)?;
        Ok(out.flush()?)
    }
}

/// Writes the page, and prints its path.
fn html(page: &Page<'_>, to: &Path) -> Result<(), Failure> {
    let destination = Destination::new(to, Shape::Text)?;
    let written = destination.stream().and_then(|mut stream| page.write(&mut stream).and_then(|()| stream.flush()));
    written.map_err(|error| destination.failed(error))?;
    let size = destination.done()?;
    if to == Path::new("-") {
        return Ok(());
    }
    let mut out = output();
    writeln!(out, "The page is in {}, {}", to.display(), bytes(size))?;
    Ok(out.flush()?)
}
