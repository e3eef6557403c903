//! `locktrace explain`: one incident, and its proof.
#![forbid(unsafe_code)]

use super::io::{Failure, Reopenable, output, width};
use crate::analysis::{Analysis, Options};
use crate::report::{causes, explain, ranking, words};
use std::io::Write;
use std::path::PathBuf;

/// Explain one incident: who was refused, who held the lock, why, and the records that prove it.
///
/// An incident is a series of refused attempts of one connection for one lock, or an upgrade that failed without a refused call. Without --incident
/// the worst one is explained: an error that the application saw comes before any wait, then the longest wait. The numbers are those of `locktrace
/// report`. If a trace has more than 10,000 incidents, only the kept ones have numbers: the first ones, and the worst of each cause.
#[derive(clap::Args)]
#[command(after_long_help = "\
What the explanation contains:
  victim   The connection that was refused, what it wanted, how long it tried, its statement.
  holder   Who had the lock: for how long before the first attempt and after the last, what it was
           doing, and the statement that took it. `possibly`: lost records could change it.
  also     What made it worse.
  What the trace shows: the records it rests on, in time order, from the beginning of the trace.

Examples:
  locktrace explain                    the worst incident of ./locktrace-trace (or LOCKTRACE_DIR)
  locktrace explain trace --list       one line for each incident
  locktrace explain trace --incident 3
  locktrace explain trace --all | less
  locktrace explain --cause upgrade-refused    what a cause is, without any trace
  zcat trace.jsonl.gz | locktrace explain -

Exit codes:
  0  The incident was explained, or the trace has none and the output says so.
  2  There is no such incident or cause; the trace cannot be read; wrong usage.")]
pub(super) struct Explain {
    /// A trace directory, a file of JSON lines, or - for JSON lines on standard input
    ///
    /// Without it: the directory in LOCKTRACE_DIR, or ./locktrace-trace.
    trace: Option<PathBuf>,
    /// The number of the incident, counted from 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    incident: Option<u32>,
    /// Every incident, in time order
    #[arg(long, conflicts_with = "incident")]
    all: bool,
    /// One line for each incident: its number, time, end, wait, cause, victim and blocker
    #[arg(long, conflicts_with_all = ["incident", "all"])]
    list: bool,
    /// What a cause, a contributing cause or a hazard is, how it is found and what to do; reads no trace
    #[arg(long, value_name = "NAME", conflicts_with_all = ["trace", "incident", "all", "list"])]
    cause: Option<String>,
    /// How many incidents to keep if the trace has more; use the value given to `report`, because the numbers depend on it
    #[arg(long, value_name = "N", default_value_t = Options::default().listed)]
    incidents: usize,
}

impl Explain {
    pub(super) fn run(self) -> Result<(), Failure> {
        if let Some(id) = &self.cause {
            let mut out = output();
            if !causes::write(id, width(), &mut out)? {
                return Err(Failure::Other(format!("there is no cause {id:?}: the names are {}", causes::ids().join(", "))));
            }
            return Ok(out.flush()?);
        }
        let given = Reopenable::new(self.trace.as_deref())?;
        let trace = given.open()?;
        let analysis = Analysis::of(&trace, Options { listed: self.incidents, ..Options::default() })?;
        let there = analysis.incidents.len() as u32;
        let mut out = output();
        let wanted: Vec<u32> = match self.incident {
            Some(number) if number > there => {
                let are = match there {
                    0 => "the trace has none".to_owned(),
                    1 => "the trace has one".to_owned(),
                    _ if analysis.not_listed()[0] > 0 => format!(
                        "{there} are kept, the first and the worst of {all}; --incidents {all} keeps all (give it to report, too: the numbers change)",
                        all = analysis.totals.incidents.count
                    ),
                    _ => format!("the trace has {there}; --list lists them"),
                };
                return Err(Failure::Other(format!("there is no incident {number}: {are}")));
            }
            Some(number) => vec![number - 1],
            None if there == 0 => {
                let since = words::since(&analysis);
                let lost = words::missing(&analysis).map_or_else(String::new, |lost| format!("; {lost}"));
                writeln!(out, "There is no incident in this trace: no refusal that an application could see{since}{lost}.")?;
                return Ok(out.flush()?);
            }
            None if self.list => {
                explain::list(&analysis, width(), &mut out)?;
                return Ok(out.flush()?);
            }
            None if self.all => (0..there).collect(),
            None => ranking::worst(&analysis).into_iter().collect(),
        };
        let again = given.open()?;
        let proofs = explain::proofs(&analysis, &wanted, again.events()?);
        for (place, (&index, events)) in wanted.iter().zip(&proofs).enumerate() {
            if place > 0 {
                writeln!(out)?;
            }
            explain::write(&analysis, index, events, width(), &mut out)?;
        }
        if self.incident.is_none() && !self.all && there > 1 {
            let (rest, are) = (there - 1, if there == 2 { "incident" } else { "incidents" });
            writeln!(out, "\nThis is the worst of {there}; {rest} more {are}: --list lists them, --all explains them all.")?;
        }
        Ok(out.flush()?)
    }
}
