//! The `locktrace` command: arguments in, exit code out. One file for each verb.
//!
//! Called by `main.rs` and by nothing else. A verb returns its failure; only this file prints it and picks the exit code.
#![forbid(unsafe_code)]

// One file for each verb; a new one is named here, in `Verb` and in `main`.
mod audit;
mod beside;
mod cat;
mod check;
mod demo;
mod destination;
mod doctor;
mod elf;
mod explain;
mod export;
mod extension;
mod follow;
mod go;
mod library;
mod notes;
mod open;
mod page;
mod program;
mod progress;
mod quote;
mod reasons;
mod report;
mod run;
pub mod top;

use crate::trace::{self, Trace};
use clap::{Parser, Subcommand};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Names the connection, thread and statement behind every `database is locked`.
///
/// A traced program writes its locks to a trace directory (LOCKTRACE_DIR, by default ./locktrace-trace). These commands read that
/// directory, also while programs write to it.
#[derive(Parser)]
#[command(name = "locktrace", version, after_long_help = AFTER, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

const AFTER: &str = "\
First steps:
  locktrace run -- python3 app.py    trace a program; a summary follows when it ends
  locktrace report                   the causes, the blocking statements, the fixes
  locktrace explain                  the worst refusal, with its proof
  locktrace doctor -- ./server       how to trace a program where `run` records nothing

Environment:
  LOCKTRACE_DIR    The trace directory, where none is given.
  LOCKTRACE_LIMIT  Bytes of records kept for each process, the newest: from 256K to 64G (4M).
  LOCKTRACE_NOT    run: names of programs to leave alone, with colons between them (as --not).
  LOCKTRACE_SQL    What is kept of a statement: text (as prepared, never its values), hash, off.
  NO_COLOR         Set to anything: no colours. There are none in a pipe or a file either.

Exit codes:
  0  It worked.
  1  check: beyond a limit. audit: a lock was lost. doctor: no way in works.
  2  Wrong usage; nothing could be read; check and audit cannot decide.
  run passes on the exit code of the program.";

#[derive(Subcommand)]
enum Verb {
    Audit(audit::AuditVerb),
    Cat(cat::Cat),
    Check(check::Check),
    Demo(demo::Demo),
    Doctor(doctor::Doctor),
    Explain(explain::Explain),
    Export(export::ExportVerb),
    Extension(extension::Extension),
    Follow(follow::FollowVerb),
    Open(open::OpenVerb),
    Report(report::Report),
    Run(run::Run),
    #[command(hide = true)]
    RunSeated(beside::Seat),
    Top(top::Top),
}

/// Why a verb stopped.
enum Failure {
    /// The trace cannot be read.
    Trace(trace::Error),
    /// The output cannot be written.
    Output(io::Error),
    /// Something else, in words.
    Other(String),
}

impl From<trace::Error> for Failure {
    fn from(error: trace::Error) -> Failure {
        Failure::Trace(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are errors to clap, and go to standard output with code 0. A closed pipe is not ours to report.
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    let done = match arguments.verb {
        Verb::Cat(cat) => cat.run(),
        Verb::Demo(demo) => demo.run(),
        Verb::Explain(explain) => explain.run(),
        Verb::Export(export) => export.run(),
        Verb::Extension(extension) => extension.run(),
        Verb::Follow(follow) => follow.run(),
        Verb::Open(open) => open.run(),
        Verb::Report(report) => report.run(),
        Verb::Top(top) => top.run(),
        Verb::Audit(audit) => match audit.run() {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        Verb::Doctor(doctor) => match doctor.run() {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        Verb::Check(check) => match check.run() {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        // Its exit code is the program's.
        Verb::RunSeated(seat) => match seat.run() {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        Verb::Run(run) => match run.run() {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output had enough of it.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            let text = match failure {
                Failure::Trace(error) => error.to_string(),
                Failure::Output(error) => format!("cannot write the output: {error}"),
                Failure::Other(text) => text,
            };
            let _ = writeln!(anstream::stderr(), "locktrace: {text}");
            ExitCode::from(2)
        }
    }
}

/// The trace a verb was given: a path, `-` for JSON lines on standard input, or nothing for the usual place.
fn place(given: Option<&Path>) -> PathBuf {
    given.map_or_else(
        || {
            let dir = std::env::var_os("LOCKTRACE_DIR").filter(|dir| !dir.is_empty());
            dir.map_or_else(|| PathBuf::from("locktrace-trace"), PathBuf::from)
        },
        Path::to_path_buf,
    )
}

/// Opens the trace a verb was given, to read it once.
fn open(given: Option<&Path>) -> Result<Trace, trace::Error> {
    let path = place(given);
    if path == Path::new("-") {
        return Trace::from_lines(Path::new(STDIN), Box::new(io::BufReader::new(io::stdin())));
    }
    Trace::open(&path)
}

/// What errors call standard input.
const STDIN: &str = "standard input";

/// A trace that is opened more than once. What comes on standard input is kept in a temporary file, which has no name and so goes with us.
struct Again {
    path: PathBuf,
    kept: Option<File>,
}

impl Again {
    fn new(given: Option<&Path>) -> Result<Again, Failure> {
        let path = place(given);
        let kept = if path == Path::new("-") { Some(keep(&mut io::stdin().lock())?) } else { None };
        Ok(Again { path, kept })
    }

    fn open(&self) -> Result<Trace, Failure> {
        let Some(kept) = &self.kept else { return Ok(Trace::open(&self.path)?) };
        // Not a duplicate of the descriptor, which would share its place in the file.
        let lines = || {
            let lines = File::open(format!("/proc/self/fd/{}", kept.as_raw_fd()));
            lines.map_err(|error| Failure::Other(format!("{STDIN}: what was kept of it cannot be read: {error}")))
        };
        Ok(Trace::from_reader(Path::new(STDIN), Box::new(io::BufReader::with_capacity(1 << 20, lines()?)), Some(lines()?))?)
    }
}

fn keep(stream: &mut impl io::Read) -> Result<File, Failure> {
    let dir = std::env::temp_dir();
    let kept = tempfile::tempfile_in(&dir).and_then(|mut file| io::copy(stream, &mut file).map(|_| file));
    kept.map_err(|error| {
        let why = format!("cannot be kept in {} to be read twice: {error}; give a file or a directory instead", dir.display());
        Failure::Other(format!("{STDIN}: {why}"))
    })
}

/// How many columns a line may take: those of the terminal, 100 elsewhere.
fn width() -> usize {
    if !io::stdout().is_terminal() {
        return 100;
    }
    terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0).max(60))
}

/// Standard output, buffered, with colours only where they are wanted.
fn output() -> impl Write {
    io::BufWriter::with_capacity(1 << 16, anstream::stdout())
}

/// Standard output, buffered, for what has no colours in it: nobody need look for them.
fn plain() -> impl Write {
    io::BufWriter::with_capacity(1 << 16, io::stdout())
}
