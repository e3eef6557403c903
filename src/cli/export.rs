//! `locktrace export`: a trace in a format of other tools.
#![forbid(unsafe_code)]

use super::{Failure, open};
use crate::export::{self, Export, Stopped, jsonl::Jsonl};
use crate::trace::Trace;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Write a trace in a format that other tools read.
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  locktrace export trace --format jsonl -o trace.jsonl")]
pub(super) struct ExportVerb {
    /// A trace directory, a file of JSON lines, or - for JSON lines on standard input
    ///
    /// Without it: the directory in LOCKTRACE_DIR, or ./locktrace-trace.
    trace: Option<PathBuf>,
    /// What to write
    #[arg(long, short, value_enum)]
    format: Format,
    /// Where to; - is standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// JSON lines: every record, with all names
    Jsonl,
}

impl ExportVerb {
    pub(super) fn run(self) -> Result<(), Failure> {
        let trace = open(self.trace.as_deref())?;
        let export = self.format.begin(&trace, &self.output)?;
        match export::run(&trace, export) {
            Ok(_) => Ok(()),
            Err(Stopped::Trace(error)) => Err(error.into()),
            Err(Stopped::Output(error)) => Err(error.into()),
        }
    }
}

impl Format {
    fn begin<'t>(self, trace: &'t Trace, to: &Path) -> Result<Box<dyn Export + 't>, Failure> {
        Ok(match self {
            Format::Jsonl => Box::new(Jsonl::new(trace, stream(to)?)?),
        })
    }
}

/// Where a format goes that is one stream of bytes.
fn stream(to: &Path) -> Result<Box<dyn Write>, Failure> {
    if to == Path::new("-") {
        return Ok(Box::new(BufWriter::with_capacity(1 << 16, std::io::stdout())));
    }
    let file = File::create(to).map_err(|error| Failure::Other(format!("{}: cannot be written: {error}", to.display())))?;
    Ok(Box::new(BufWriter::with_capacity(1 << 20, file)))
}
