//! `locktrace explain`: one incident, and its proof.
#![forbid(unsafe_code)]

use super::{Failure, open, output, width};
use crate::analysis::{Analysis, Options};
use crate::report::{explain, harm};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Tell one incident: who was refused, who held the lock, why, and the records that prove it.
///
/// An incident is one run of refused attempts of one connection for one lock, or an upgrade that failed without a refused call. Without --incident
/// the worst one is told: an error the application saw before any wait, then the longest. The numbers are those of `locktrace report`.
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  locktrace explain                    the worst incident of the trace in LOCKTRACE_DIR or ./locktrace-trace
  locktrace explain trace --incident 3
  locktrace explain trace.jsonl")]
pub(super) struct Explain {
    /// A trace directory, or a file of JSON lines
    ///
    /// Without it: the directory in LOCKTRACE_DIR, or ./locktrace-trace. It is read twice, so that it cannot be standard input.
    trace: Option<PathBuf>,
    /// The number of the incident, from 1 on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    incident: Option<u32>,
}

impl Explain {
    pub(super) fn run(self) -> Result<(), Failure> {
        let given = self.trace.as_deref();
        if given == Some(Path::new("-")) {
            return Err(Failure::Other("explain reads the trace twice: give a file or a directory, not standard input".to_owned()));
        }
        let trace = open(given)?;
        let analysis = Analysis::of(&trace, Options::default())?;
        let all = analysis.incidents.len();
        let mut out = output();
        let worst =
            || (0..all).max_by_key(|&index| (harm::weight(&analysis, &analysis.incidents[index]), std::cmp::Reverse(index)));
        let index = match self.incident {
            Some(number) if number as usize > all => {
                return Err(Failure::Other(format!("there is no incident {number}: the trace has {all}")));
            }
            Some(number) => number as usize - 1,
            None => match worst() {
                Some(index) => index,
                None => {
                    writeln!(out, "There is no incident in this trace: no refusal that an application could see.")?;
                    return Ok(out.flush()?);
                }
            },
        };
        let again = open(given)?;
        let events = explain::proof(&analysis.incidents[index], again.events()?);
        explain::write(&analysis, index as u32, &events, width(), &mut out)?;
        Ok(out.flush()?)
    }
}
