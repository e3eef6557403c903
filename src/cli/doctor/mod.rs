//! `locktrace doctor`: finds out how a program can be traced, and why.
//!
//! For a command line and perhaps a database, it prints the ways in with a verdict each, and findings with a line to type. [`subject`] examines the
//! program, [`ways`] judges, [`database`] and [`environment`] examine what is around it, and [`installation`] is used without a program. [`show`]
//! prints. Of the user's programs, `doctor` runs only an interpreter, to ask it about its SQLite.
#![forbid(unsafe_code)]

mod child;
mod database;
mod driver;
mod environment;
mod finding;
mod installation;
mod interpreter;
mod script;
mod show;
mod sqlite;
mod subject;
mod trial;
mod ways;

use crate::cli::io::{Failure, output, width};
use crate::cli::program::library;
use finding::{Diagnosis, Finding, FindingLevel, Way, WayVerdict};
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use subject::Subject;

/// Find out how to trace a program, and why.
///
/// `doctor` finds out which SQLite a program uses and how it is linked. It asks interpreters (Python, Node, Bun, Deno, PHP, Ruby) and the
/// sqlite3 shell. It tries `run`, the extension or the crate on a database of its own, with the drivers that the script imports. It does not run
/// the program itself. Without a command it checks this installation and shows what it can do for the usual programs.
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  locktrace doctor                            this machine and this installation
  locktrace doctor -- python3 manage.py runserver
  locktrace doctor --db app.db -- ./server    also checks the database: file system, journal mode, WAL
  locktrace doctor --json -- gunicorn app | jq '.ways[] | select(.verdict == \"works\") | .type'

Exit codes:
  0  A way to trace the program works, or may work.
  1  No way works.
  2  Wrong usage.")]
pub(super) struct Doctor {
    /// A database that the program uses. `doctor` reads the file without SQLite
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
    #[arg(long, hide = true, value_name = "FILE")]
    self_test: Option<PathBuf>,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Doctor {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        if let Some(database) = &self.self_test {
            return installation::self_test(database).map(|()| ExitCode::SUCCESS).map_err(Failure::Other);
        }
        let library = library::unpack().map_err(|failure| match failure {
            Failure::Other(text) => text,
            _ => "the library cannot be unpacked".to_owned(),
        });
        let mut diagnosis =
            if self.command.is_empty() { installation::examine(&library) } else { program(&self.command, library.as_deref().ok()) };
        let unpacked = match &library {
            Ok(path) => Finding::new(
                "library",
                FindingLevel::Ok,
                format!("locktrace {}; its library: {}", env!("CARGO_PKG_VERSION"), path.display()),
            ),
            Err(why) => Finding::new("library", FindingLevel::Problem, why.as_str()),
        };
        diagnosis.findings.push(unpacked);
        // Both are in the user's cache: there is no place that other users can read.
        if let (Ok(own), Ok(shared)) = (&library, library::unpack_for_all())
            && *own == shared
        {
            let what = "`locktrace run` finds no place for its library that other users can read: a child that changes its user stays \
                        untraced, and the loader complains on its standard error";
            diagnosis.findings.push(Finding::new("library-not-shared", FindingLevel::Note, what));
        }
        if let Some(path) = &self.db {
            let versions: Vec<String> = diagnosis.libraries.iter().filter_map(|library| library.version.clone()).collect();
            let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
            // ChildOutput of the database where it is in WAL mode, and of the library alone where that is not known.
            diagnosis.findings.retain(|finding| finding.id != "wal-reset-exposure");
            diagnosis.findings.extend(database::examine(path, &versions));
        }
        diagnosis.findings.extend(environment::examine());
        diagnosis.findings.sort_by_key(|finding| std::cmp::Reverse(finding.level as u8));
        let mut out = output();
        if self.json {
            show::json(&diagnosis, &self.command, &mut out)?;
        } else {
            show::text(&diagnosis, width(), &mut out)?;
        }
        out.flush()?;
        Ok(if diagnosis.verdict() == WayVerdict::No { ExitCode::from(1) } else { ExitCode::SUCCESS })
    }
}

/// The diagnosis of a command.
fn program(command: &[OsString], library: Option<&std::path::Path>) -> Diagnosis {
    let subject = Subject::of(command);
    let mut diagnosis = Diagnosis::default();
    let name = command.first().map(|name| name.display().to_string()).unwrap_or_default();
    let mut no_way = |id, what: String| {
        diagnosis.ways.push(Way::new("run", WayVerdict::No, what.clone()));
        diagnosis.findings.push(Finding::new(id, FindingLevel::Problem, what));
    };
    if subject.named.is_none() {
        no_way("command-not-found", format!("{name}: there is no such program"));
        return diagnosis;
    }
    if !subject.program.exists() {
        let (script, program) = (subject.scripts.last().unwrap_or(&subject.program), &subject.program);
        no_way("interpreter-missing", format!("{} needs {}, which does not exist", script.display(), program.display()));
        return diagnosis;
    }
    let not_executable = |file: &&PathBuf| rustix::fs::access(*file, rustix::fs::Access::EXEC_OK).is_err() || !file.is_file();
    if let Some(file) = subject.scripts.iter().chain([&subject.program]).find(not_executable) {
        no_way("not-executable", format!("{} cannot be executed: it is not a file, or lacks the permission", file.display()));
        return diagnosis;
    }
    describe(&subject, &mut diagnosis);
    diagnosis.ways = match library {
        Some(library) => ways::of(&subject, library),
        None => vec![Way::new("run", WayVerdict::No, "there is no library to put into it")],
    };
    diagnosis.libraries = subject.libraries;
    diagnosis
}

/// Describes the program, and adds the findings about it.
fn describe(subject: &Subject, diagnosis: &mut Diagnosis) {
    for script in &subject.scripts {
        diagnosis.subject.push(("script", script.display().to_string()));
    }
    let kind = match (&subject.elf, subject.untraceable) {
        (None, _) => "not an ELF program".to_owned(),
        (Some(elf), _) if !elf.native => "ELF, for another architecture".to_owned(),
        (Some(elf), _) => elf.loader.as_ref().map_or_else(|| "ELF, static".to_owned(), |loader| format!("ELF, dynamic, {loader}")),
    };
    diagnosis.subject.push(("program", format!("{} ({kind})", subject.program.display())));
    let mut say = |id, level, what: String| diagnosis.findings.push(Finding::new(id, level, what));
    if let Some(asked) = &subject.interpreter {
        let file = asked.program.display();
        for (driver, answer) in &asked.answers {
            let about = if driver.is_empty() { String::new() } else { format!(" about {driver}") };
            match answer {
                Ok(answer) => {
                    if let Some(error) = &answer.error {
                        say("no-sqlite", FindingLevel::Warning, format!("{file} was asked{about}: {error}"));
                    }
                    if answer.version.is_some() && !answer.extensions {
                        let what = if driver.is_empty() { "it" } else { driver };
                        say(
                            "no-load-extension",
                            FindingLevel::Note,
                            format!("{what} cannot load extensions; `locktrace run` needs none"),
                        );
                    }
                }
                Err(why) => say("not-asked", FindingLevel::Note, format!("{file} was asked{about} what it has: {why}")),
            }
        }
    }
    if let Some(reason) = subject.untraceable {
        say(reason.id(), FindingLevel::Problem, reason.why().to_owned());
    }
    for name in &subject.missing {
        say(
            "library-missing",
            FindingLevel::Problem,
            format!("it needs {name}, which the loader does not find, so it will not start"),
        );
    }
    if subject.libraries.len() > 1 {
        let what = "several SQLites can come together in one process; on one database that is safe only while nothing closes a file of the other";
        say("two-sqlite-libraries", FindingLevel::Note, what.to_owned());
    }
    for library in &subject.libraries {
        let Some(version) = &library.version else { continue };
        if sqlite::parse(version).is_some_and(|version| version < [3, 17, 0]) {
            say("sqlite-too-old", FindingLevel::Problem, format!("SQLite {version}: locktrace needs 3.17.0 or later"));
        }
        if sqlite::wal_reset_exposed(version) {
            let what = format!(
                "SQLite {version} has the WAL-reset bug (fixed in 3.51.3, 3.50.7 and 3.44.6): several writers can damage a database in WAL \
                 mode. Upgrade, and set no mmap_size until then"
            );
            say("wal-reset-exposure", FindingLevel::Note, what);
        }
    }
    let Some(answer) = subject.answer() else { return };
    for (label, text) in [("language", &answer.language), ("environment", &answer.environment)] {
        if let Some(text) = text {
            diagnosis.subject.push((label, text.clone()));
        }
    }
}
