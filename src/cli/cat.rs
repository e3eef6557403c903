//! `locktrace cat`: every record, one line each, for people or as JSON lines.
#![forbid(unsafe_code)]

use super::{Failure, open, output, plain, width};
use crate::report::record::Lines;
use crate::trace::{Severity, jsonl};
use std::io::Write;
use std::path::PathBuf;

/// Print every record of a trace, in time order.
///
/// A line says when (since the first record), which process and thread, which connection, the call and its result, the locks
/// the connection holds afterwards, how long the call took, and the statement that was running. The time is that of the call's start;
/// the order is that of their ends, except that a call which gives up a lock counts from its start. What was lost is said at the end,
/// on standard error.
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  locktrace cat                              the trace in LOCKTRACE_DIR or ./locktrace-trace
  locktrace cat trace | grep BUSY            every refused lock
  locktrace cat trace --json > trace.jsonl   the whole trace in one file, for other programs
  locktrace cat trace.jsonl                  such a file, again for people
  zcat trace.jsonl.gz | locktrace cat -      from standard input

Exit codes:
  0  What there is was printed.
  2  Wrong usage, or nothing could be read.")]
pub(super) struct Cat {
    /// A trace directory, a file of JSON lines, or - for JSON lines on standard input
    ///
    /// Without it: the directory in LOCKTRACE_DIR, or ./locktrace-trace.
    trace: Option<PathBuf>,
    /// Write JSON lines: one object for each log, name and record
    #[arg(long)]
    json: bool,
}

impl Cat {
    pub(super) fn run(self) -> Result<(), Failure> {
        let trace = open(self.trace.as_deref())?;
        let mut events = trace.events()?;
        if self.json {
            let mut out = plain();
            jsonl::write(&trace, events, &mut out)?;
            out.flush()?;
            return Ok(());
        }
        let mut out = output();
        let mut lines = Lines::new(width()).of(&trace);
        for event in &mut events {
            lines.write(&trace, &event, &mut out)?;
        }
        out.flush()?;
        let summary = events.finish();
        let mut errors = anstream::stderr();
        for (log, tally) in trace.logs().iter().zip(&summary.tallies) {
            if tally.unread() > 0 {
                writeln!(errors, "locktrace: log {}: {}", log.id, crate::report::losses(tally))?;
            }
        }
        for problem in &summary.problems {
            let kind = if problem.severity == Severity::Notice { "notice" } else { "problem" };
            writeln!(errors, "locktrace: {kind}: {problem}")?;
        }
        Ok(())
    }
}
