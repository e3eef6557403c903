//! `locktrace export`: a trace in a format of other tools.
//!
//! Input: a trace, a [`Format`] and where to write ([`Destination`]). Output: a file (or a directory) that is whole or not there, and one line on stderr
//! about what is in it. Each format is in [`crate::export`]; a new one is named here, in `Format` and its three functions.
#![forbid(unsafe_code)]

use super::destination::{Destination, Shape};
use super::progress::Progress;
use super::{Failure, open};
use crate::analysis::Options;
use crate::export::csv::{Csv, Table};
use crate::export::{self, Export, Stopped, firefox, folded::Folded, parquet::Parquet, perfetto, sqlite::Sqlite};
use crate::report::human::{bytes, count};
use crate::trace::{Tally, Trace, total};
use clap::ValueEnum;
use clap::builder::{EnumValueParser, TypedValueParser};
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Write a trace in a format that other tools read.
///
/// `export` writes FILE.partial and renames it to FILE when it is complete. If that fails, it removes FILE.partial and leaves FILE as it was.
#[derive(clap::Args)]
#[command(after_long_help = include_str!("export.txt"))]
pub(super) struct ExportVerb {
    /// A trace directory, a file of JSON lines, or - for JSON lines on standard input
    ///
    /// Without it: the directory in LOCKTRACE_DIR, or ./locktrace-trace.
    trace: Option<PathBuf>,
    /// The format (default: by the name of FILE)
    #[arg(long, short, value_parser = FormatParser)]
    format: Option<Format>,
    /// The output file; - is standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Leave holds shorter than this out of a timeline, such as 1ms
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    min_hold: Option<Duration>,
    /// Which table to write as csv
    #[arg(long, value_enum, default_value = "incidents")]
    table: Rows,
    /// Add every record to the sqlite file, which becomes two to three times as large
    #[arg(long)]
    events: bool,
    /// How many incidents to keep one by one: the first ones, and the worst of each cause
    ///
    /// Each takes about 1.5 kB of memory. Incidents have the same numbers as in `report` and `explain` with the same --incidents.
    #[arg(long, value_name = "N", default_value_t = Options::default().listed)]
    incidents: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Format {
    /// A timeline for ui.perfetto.dev: holds, waits, and who blocked whom
    Perfetto,
    /// The same as markers for profiler.firefox.com
    Firefox,
    /// A table: every incident, hold or record in a row
    Csv,
    /// Folded stacks of time waited, for flame graphs
    Folded,
    /// A SQLite database: holds, refusals, incidents, hazards, with views for the common questions
    Sqlite,
    /// A directory of Parquet files by host and day, to which any number of traces can be added
    Parquet,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Rows {
    /// Who was refused, why, and who blocked it
    Incidents,
    /// Every hold: its connection, beginning, length and statement
    Holds,
    /// Every record
    Events,
}

impl ExportVerb {
    pub(super) fn run(self) -> Result<(), Failure> {
        let format = match self.format {
            Some(format) => format,
            None => Format::of_name(&self.output).map_err(Failure::Other)?,
        };
        if self.table != Rows::Incidents && format != Format::Csv {
            return Err(Failure::Other("--table is for --format csv".to_owned()));
        }
        if self.events && format != Format::Sqlite {
            return Err(Failure::Other("--events is for --format sqlite".to_owned()));
        }
        if format == Format::Sqlite {
            export::sqlite::may_replace(&self.output).map_err(|error| Failure::Other(error.to_string()))?;
        }
        let trace = open(self.trace.as_deref())?;
        let destination = Destination::new(&self.output, format.shape())?;
        let export = format.begin(&trace, &destination, &self).map_err(|error| destination.failed(error))?;
        let progress = Progress::over(&trace, export);
        let (records, holds) = progress.counts();
        let options = Options { listed: self.incidents, ..Options::default() };
        let done = export::run(&trace, options, Box::new(progress));
        let (analysis, left_out) = match done {
            Ok(done) => done,
            Err(Stopped::Trace(error)) => return Err(error.into()),
            Err(Stopped::Output(error)) => return Err(destination.failed(error)),
        };
        let size = destination.done()?;
        let mut errors = anstream::stderr().lock();
        let _ = writeln!(
            errors,
            "locktrace: wrote {}: {} records, {} holds, {} incidents, {}",
            if self.output == Path::new("-") { format.name() } else { self.output.display().to_string() },
            count(records.get()),
            count(holds.get()),
            count(analysis.incidents.len() as u64),
            bytes(size)
        );
        let more = analysis.not_listed()[0];
        if more > 0 && self.table == Rows::Incidents {
            let _ = writeln!(
                errors,
                "locktrace: left out: {} incidents beyond the first {} and the worst of each kind; --incidents keeps more",
                count(more),
                count(self.incidents as u64)
            );
        }
        if format == Format::Folded && size == 0 {
            let _ = writeln!(
                errors,
                "locktrace: there are no stacks in it: no wait in the trace is known to have lasted a microsecond"
            );
        }
        for what in left_out {
            let _ = writeln!(errors, "locktrace: left out: {what}");
        }
        let unread = total(analysis.summary.tallies.iter().map(Tally::unread));
        if unread > 0 {
            let _ = writeln!(
                errors,
                "locktrace: {} more records are lost or could not be read; `locktrace report` says which",
                count(unread)
            );
        }
        Ok(())
    }
}

/// Why there is no format of this name any more, and what replaces it.
fn removed(name: &str) -> Option<&'static str> {
    match name {
        "jsonl" => Some("`export` has no jsonl format; `locktrace cat --json TRACE > FILE` writes JSON lines"),
        "chrome" => Some("`export` has no chrome format; --format perfetto writes the same timeline, for ui.perfetto.dev"),
        _ => None,
    }
}

/// Parses the name of a [`Format`], and names the replacement of a removed one.
#[derive(Clone)]
struct FormatParser;

impl TypedValueParser for FormatParser {
    type Value = Format;

    fn parse_ref(&self, command: &clap::Command, argument: Option<&clap::Arg>, value: &OsStr) -> Result<Format, clap::Error> {
        match value.to_str().and_then(removed) {
            Some(what) => Err(command.clone().error(clap::error::ErrorKind::InvalidValue, what)),
            None => EnumValueParser::new().parse_ref(command, argument, value),
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = clap::builder::PossibleValue> + '_>> {
        Some(Box::new(Format::value_variants().iter().filter_map(ValueEnum::to_possible_value)))
    }
}

impl Format {
    /// The format that files of this name have.
    fn of_name(path: &Path) -> Result<Format, String> {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        if let Some(what) = removed(if ending == "ndjson" { "jsonl" } else { &ending }) {
            return Err(format!("cannot write {}: {what}", path.display()));
        }
        Ok(match ending.as_str() {
            "pftrace" | "perfetto-trace" => Format::Perfetto,
            "csv" => Format::Csv,
            "folded" => Format::Folded,
            "db" | "sqlite" | "sqlite3" => Format::Sqlite,
            _ => {
                let which: Vec<String> = Format::value_variants().iter().map(|format| format.name()).collect();
                return Err(format!("{}: which format? Say --format {}", path.display(), which.join("|")));
            }
        })
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn shape(self) -> Shape {
        match self {
            Format::Perfetto => Shape::Binary,
            Format::Firefox | Format::Csv | Format::Folded => Shape::Text,
            Format::Sqlite => Shape::File,
            Format::Parquet => Shape::Dataset,
        }
    }

    fn begin<'t>(self, trace: &'t Trace, to: &Destination, given: &ExportVerb) -> std::io::Result<Box<dyn Export + 't>> {
        let shortest = u64::try_from(given.min_hold.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
        Ok(match self {
            Format::Perfetto => Box::new(perfetto::begin(trace, shortest, to.stream()?)?),
            Format::Firefox => Box::new(firefox::begin(trace, shortest, to.stream()?)?),
            Format::Csv => Box::new(Csv::new(trace, given.table.into(), to.stream()?)?),
            Format::Folded => Box::new(Folded::new(to.stream()?)),
            Format::Sqlite => Box::new(Sqlite::create(trace, to.place(), given.events)?),
            Format::Parquet => Box::new(Parquet::create(trace, to.place(), to.unfinished())?),
        })
    }
}

impl From<Rows> for Table {
    fn from(rows: Rows) -> Table {
        match rows {
            Rows::Incidents => Table::Incidents,
            Rows::Holds => Table::Holds,
            Rows::Events => Table::Events,
        }
    }
}
