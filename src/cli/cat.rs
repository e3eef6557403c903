//! `locktrace cat`: every record as a line of text, or the whole trace as JSON lines.
#![forbid(unsafe_code)]

use super::io::{Failure, open, output, plain, width};
use crate::report::record::Lines;
use crate::trace::{Severity, jsonl};
use std::io::Write;
use std::path::PathBuf;

/// Print every record of a trace, in time order.
///
/// Each line shows the time since the first record, process, thread, connection, call and result. Then come the locks that the connection
/// holds afterwards, the duration of the call, and the running statement. The time is the start of the call. Lines are in order of the ends of
/// calls; a call that releases a lock counts from its start. Losses are reported at the end, on standard error.
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  locktrace cat                              the trace in LOCKTRACE_DIR or ./locktrace-trace
  locktrace cat trace | grep BUSY            every refused lock
  locktrace cat trace --json > trace.jsonl   the whole trace in one file, for other programs
  locktrace cat trace.jsonl                  prints a JSON lines file as readable text
  zcat trace.jsonl.gz | locktrace cat -      from standard input

Exit codes:
  0  The trace was printed.
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
