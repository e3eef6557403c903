//! The `locktrace` command: parses the arguments, runs a verb, and sets the exit code.
//!
//! Each verb is a file or a directory of its own. A verb returns its failure. Only this file prints it and chooses the exit code.
#![forbid(unsafe_code)]

// A new verb is added here, in `Verb` and in `main`.
mod audit;
mod cat;
mod check;
mod demo;
mod destination;
mod doctor;
mod explain;
mod export;
mod extension;
mod follow;
mod io;
mod open;
mod page;
mod program;
mod progress;
mod report;
mod run;
pub mod top;

use clap::{Parser, Subcommand};
use io::{Failure, say};
use std::io::ErrorKind;
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
  LOCKTRACE_DIR    The trace directory, if none is given.
  LOCKTRACE_LIMIT  Bytes of newest records to keep for each process, from 256K to 64G (default 4M).
  LOCKTRACE_NOT    run: names of programs that stay untraced, separated by colons (like --not).
  LOCKTRACE_SQL    What to keep of a statement: text (as prepared, without values), hash, off.
  NO_COLOR         If set, output has no colours. Pipes and files never get colours.

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
    RunSeated(run::split_screen::Seat),
    Top(top::Top),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // For clap, help and version are errors; they go to standard output with code 0. A closed pipe is not reported.
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
        // Its exit code is that of the program.
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
        // The reader of our output closed it.
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            let text = match failure {
                Failure::Trace(error) => error.to_string(),
                Failure::Output(error) => format!("cannot write the output: {error}"),
                Failure::Other(text) => text,
            };
            say(&text);
            ExitCode::from(2)
        }
    }
}
