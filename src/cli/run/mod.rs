//! `locktrace run`: traces an unchanged program.
//!
//! The recorder's library, embedded in this binary, is preloaded into the program and all its descendants ([`super::program::library`]). There, the shim's
//! `preload` runs. It writes logs into the trace directory, and notes into a file ([`super::program::notes`]). At the end `run` prints a summary on
//! standard error, and exits with the program's exit code.
#![forbid(unsafe_code)]

mod child;
pub(super) mod split_screen;

use super::io::quote::quoted;
use super::io::{Failure, log_files, output, say, width};
use super::program::notes::{self, Notes};
use super::program::{self, Untraceable, library, reasons};
use crate::analysis::{Analysis, Options};
use crate::report::{summary, text};
use crate::trace::{Trace, collect};
use child::{ChildError, not_started, supervise};
use shim::recorder::config::{Config, parse_limit};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::time::Duration;

/// Run a program and trace the locks of every SQLite database that it or its children open.
///
/// `run` traces every SQLite in a dynamically linked program: the system's libsqlite3, one inside a module (apsw, pysqlite3,
/// better-sqlite3), and one inside the program, exported or not, stripped or not (Node, Bun, Deno, Rust, C, Go with cgo). It cannot trace
/// static programs, programs for musl or another architecture, setuid programs, and SQLite translated to Go (modernc.org/sqlite). If that
/// is known beforehand, `run` says so before the program starts.
///
/// The program runs as it does without `run`. It receives the signals, and `run` exits with its exit code. A summary follows on standard error: how
/// many errors the application saw, the worst cause, and the blocking connection. If nothing was recorded, the summary says why.
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  locktrace run -- python3 manage.py runserver
  locktrace run -o trace --report -- ./load-test.sh
  locktrace run --top -- python3 manage.py runserver    shows who waits for whom below its output
  locktrace run --add -o trace -- python3 worker.py      adds to an existing trace
  locktrace run --not node -- ./start.sh                 traces everything it starts except node

Exit codes:
  That of the program; 128 + n if signal n ended it.
  126  The program cannot be executed.
  127  There is no such program.
  2    Wrong usage, or a trace that would be mixed with another.")]
pub(super) struct Run {
    /// The trace directory (default: LOCKTRACE_DIR, or ./locktrace-trace)
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Add to a trace that this directory already holds
    #[arg(long)]
    add: bool,
    /// What to keep of a statement: its text without bound values, a hash, or nothing (default: LOCKTRACE_SQL, or text)
    #[arg(long, value_name = "KEEP", value_parser = ["text", "hash", "off"])]
    sql: Option<String>,
    /// How many bytes of records to keep for each process; the newest are kept (default: LOCKTRACE_LIMIT, or 4M)
    #[arg(long, value_name = "SIZE", value_parser = limit)]
    limit: Option<String>,
    /// Do not trace processes of this program. NAME is its file name without directories. Repeat for more programs
    ///
    /// NAME is the file that is executed in the end: python3.11 if python3 links to it, and the interpreter if a script is started.
    #[arg(long = "not", value_name = "NAME", value_parser = file_name)]
    excluded: Vec<String>,
    /// Print the whole report on standard output after the program has ended
    #[arg(long)]
    report: bool,
    /// While the program runs, show who holds what and who waits for whom, at the bottom of the terminal
    ///
    /// The program's output scrolls above. The program gets a pseudo-terminal with fewer rows in place of the terminal, in a session of its
    /// own. Its pipes and files stay what they are. Programs that it leaves running receive SIGHUP when it ends.
    #[arg(long)]
    top: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<OsString>,
}

fn limit(text: &str) -> Result<String, String> {
    parse_limit(text).map(|_| text.to_owned()).ok_or_else(|| "expected bytes from 256K to 64G, such as 4M".to_owned())
}

/// Checks that a name can stand in `LOCKTRACE_NOT`.
fn file_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(['/', ':']) {
        return Err("expected the name of a program's file, with no / and no : in it".to_owned());
    }
    Ok(text.to_owned())
}

/// The environment variable with the names of programs that stay untraced, separated by colons.
const NOT: &str = "LOCKTRACE_NOT";

impl Run {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let config = Config::from_env().map_err(|error| Failure::Other(error.to_string()))?;
        let dir = self.output.clone().unwrap_or(config.dir);
        let dir = std::path::absolute(&dir).map_err(|error| Failure::Other(format!("{}: {error}", dir.display())))?;
        let before = log_files(&dir)?;
        if !before.is_empty() && !self.add {
            return Err(Failure::Other(format!(
                "{} holds a trace already, so nothing was started. Give another directory with -o DIR, add to this one with --add, or \
                 remove it",
                dir.display()
            )));
        }
        let Some((name, arguments)) = self.command.split_first() else {
            return Err(Failure::Other("there is no command to run".to_owned()));
        };
        let file = program::find(name, std::env::var_os("PATH").as_deref());
        let untraceable = file.as_deref().and_then(program::untraceable);
        if let Some(untraceable) = untraceable {
            say(&format!("{} runs untraced: {}", name.display(), untraceable.why()));
        }
        if self.top {
            split_screen::terminal()?;
            if file.is_none() {
                return Ok(not_started(name, None, &io::ErrorKind::NotFound.into()));
            }
        }
        let mut command = if self.top { split_screen::seated(name)? } else { Command::new(name) };
        command.args(arguments).env("LOCKTRACE_DIR", &dir);
        let library = library::unpack_for_all()?;
        // musl's loader ends the program if it cannot load the library; glibc's goes on.
        if untraceable != Some(Untraceable::Musl) {
            // The seat is this command, with a SQLite of its own: it passes the library on and must not load it itself.
            let variable = if self.top { split_screen::PRELOAD } else { "LD_PRELOAD" };
            command.env(variable, library::preload(&library));
        }
        let notes = match Notes::new() {
            Ok(notes) => Some(notes),
            Err(error) => {
                say(&format!("cannot create a file for the notes of traced processes: {error}"));
                None
            }
        };
        match &notes {
            Some(notes) => command.env(notes::VARIABLE, notes.path()),
            None => command.env_remove(notes::VARIABLE),
        };
        if !self.excluded.is_empty() {
            let mut names = std::env::var_os(NOT).filter(|names| !names.is_empty()).into_iter().collect::<Vec<_>>();
            names.extend(self.excluded.iter().map(OsString::from));
            command.env(NOT, names.join(OsStr::new(":")));
        }
        for (variable, value) in [("LOCKTRACE_SQL", &self.sql), ("LOCKTRACE_LIMIT", &self.limit)] {
            if let Some(value) = value {
                command.env(variable, value);
            }
        }
        let status = match if self.top { split_screen::supervise(command, &dir) } else { supervise(command) } {
            Ok(status) => status,
            Err(ChildError::Start(error)) => return Ok(not_started(name, file.as_deref(), &error)),
            Err(ChildError::Wait(error)) => return Err(Failure::Other(format!("cannot wait for {}: {error}", name.display()))),
        };
        // The exit code is the program's, also if the trace cannot be read.
        let notes = notes.as_ref().map(Notes::read).unwrap_or_default();
        for line in reasons::troubles(&notes) {
            say(&line);
        }
        let why = || {
            let name = name.display().to_string();
            let run = reasons::EmptyRun { name: &name, status, explained: untraceable.is_some(), excluded: &self.excluded };
            reasons::nothing(&notes, &run)
        };
        if let Err(failure) = self.conclude(&dir, &before, why) {
            match failure {
                Failure::Trace(error) => say(&error.to_string()),
                Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                Failure::Output(error) => say(&format!("cannot write the output: {error}")),
                Failure::Other(text) => say(&text),
            }
        }
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
        Ok(ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1)))
    }

    /// Prints the report if it was asked for, and the summary.
    fn conclude(&self, dir: &Path, before: &BTreeSet<OsString>, why_nothing: impl Fn() -> String) -> Result<(), Failure> {
        if log_files(dir)?.is_subset(before) {
            say(&why_nothing());
            return Ok(());
        }
        if let Err(error) = collect(dir) {
            say(&format!("a part of the trace is in memory and cannot be moved to {}: {error}", dir.display()));
        }
        if self.report {
            let trace = Trace::open(dir)?.named(quoted(dir.as_os_str()));
            let analysis = Analysis::of(&trace, Options::default())?;
            let mut out = output();
            text::write(&analysis, text::Style { width: width(), ..text::Style::default() }, &mut out)?;
            out.flush()?;
            anstream::stderr().write_all(summed_up(&analysis, dir, !before.is_empty())?.as_bytes())?;
            return Ok(());
        }
        let (place, added) = (dir.to_owned(), !before.is_empty());
        let summary = within(PATIENCE, move || -> Result<String, Failure> {
            let trace = Trace::open(&place)?;
            summed_up(&Analysis::of(&trace, Options::default())?, &place, added)
        });
        match summary {
            Some(summary) => anstream::stderr().write_all(summary?.as_bytes())?,
            None => say(&format!(
                "the trace is in {}; it is too large to be summed up in {} seconds: locktrace report {}",
                dir.display(),
                PATIENCE.as_secs(),
                quoted(dir.as_os_str())
            )),
        }
        Ok(())
    }
}

/// How long the summary may delay the exit of `run`.
const PATIENCE: Duration = Duration::from_secs(3);

/// The result of this work, if it is done in time. Otherwise the work goes on until this process ends.
fn within<T: Send + 'static>(patience: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (give, take) = mpsc::channel();
    std::thread::spawn(move || drop(give.send(work())));
    take.recv_timeout(patience).ok()
}

fn summed_up(analysis: &Analysis<'_>, dir: &Path, added: bool) -> Result<String, Failure> {
    let earlier = if added { " (with what was there before)" } else { "" };
    let (dir, word) = (format!("{}{earlier}", dir.display()), quoted(dir.as_os_str()));
    let mut text = Vec::new();
    summary::write(analysis, &summary::ReadOn { dir: &dir, word: &word }, &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
