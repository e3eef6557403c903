//! `locktrace open`: the page, in the user's browser.
#![forbid(unsafe_code)]

use super::{Again, Failure, output, page};
use crate::analysis::Options;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Show a trace in the browser: the page of `locktrace report --html`.
///
/// The page is written among the temporary files, readable by you alone, or where -o says. Then $BROWSER opens it (a list of commands, with `:`
/// between them; %s is the file), or xdg-open. Where there is no display, or none of them starts, only the place of the page is printed.
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  locktrace open                      the trace in LOCKTRACE_DIR or ./locktrace-trace
  locktrace open trace -o page.html   keeps the page
  BROWSER=firefox locktrace open

Exit codes:
  0  The page is written, and its place is said, whether or not a browser opens it.
  2  Wrong usage; the trace cannot be read; the page cannot be written.")]
pub(super) struct OpenVerb {
    /// A trace directory, a file of JSON lines, or - for JSON lines on standard input
    ///
    /// Without it: the directory in LOCKTRACE_DIR, or ./locktrace-trace.
    trace: Option<PathBuf>,
    /// Where to write the page
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl OpenVerb {
    pub(super) fn run(self) -> Result<(), Failure> {
        let given = Again::new(self.trace.as_deref())?;
        let trace = given.open()?;
        let page = page::read(&trace, &given, Options::default())?;
        let (path, file) = match self.output {
            Some(path) => {
                let file = File::create(&path);
                (path, file)
            }
            None => fresh(),
        };
        let failed = |error: io::Error| Failure::Other(format!("{}: cannot be written: {error}", path.display()));
        let mut stream = BufWriter::with_capacity(1 << 20, file.map_err(failed)?);
        page.write(&mut stream).and_then(|()| stream.flush()).map_err(failed)?;
        let path = std::path::absolute(&path).unwrap_or(path);
        let mut out = output();
        match show(&path) {
            Ok(by) => writeln!(out, "The page is in {}; {by} opens it", path.display())?,
            Err(why) => writeln!(out, "The page is in {}; open it in a browser ({why})", path.display())?,
        }
        Ok(out.flush()?)
    }
}

/// A new file among the temporary ones, readable by this user alone. A name that is taken, by whomever, is not used.
fn fresh() -> (PathBuf, io::Result<File>) {
    let mut path = PathBuf::new();
    let mut file = Err(io::ErrorKind::AlreadyExists.into());
    for attempt in 0..100 {
        path = std::env::temp_dir().join(format!("locktrace-{}-{attempt}.html", std::process::id()));
        file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        if !file.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
            break;
        }
    }
    (path, file)
}

/// Starts a browser, and says which; or why there is none.
fn show(path: &Path) -> Result<String, String> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let browser = set("BROWSER");
    if browser.is_none() && set("DISPLAY").is_none() && set("WAYLAND_DISPLAY").is_none() {
        return Err("there is no display here, and BROWSER is not set".to_owned());
    }
    let mut commands = browsers(browser.as_deref(), path);
    commands.push(vec!["xdg-open".into(), path.into()]);
    let mut failed = Vec::new();
    for command in &commands {
        let Some((program, arguments)) = command.split_first() else { continue };
        let mut child = Command::new(program);
        child.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // In a group of its own: what ends this command at the terminal does not end the browser.
        match child.process_group(0).spawn() {
            Ok(_) => return Ok(program.display().to_string()),
            Err(error) => failed.push(format!("{}: {error}", program.display())),
        }
    }
    Err(failed.join("; "))
}

/// The commands of `$BROWSER`, with the file in its place.
fn browsers(list: Option<&OsStr>, path: &Path) -> Vec<Vec<OsString>> {
    let list = list.and_then(OsStr::to_str).unwrap_or_default();
    let command = |text: &str| {
        let mut words: Vec<OsString> = text.split_whitespace().map(OsString::from).collect();
        let places = words.iter_mut().filter(|word| *word == "%s").map(|word| *word = path.into()).count();
        if places == 0 && !words.is_empty() {
            words.push(path.into());
        }
        words
    };
    list.split(':').map(command).filter(|words| !words.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_as_the_variable_lists_them() {
        let found = browsers(Some(OsStr::new("firefox -P locks:w3m %s -dump: ")), Path::new("/tmp/a b.html"));
        assert_eq!(found, [vec!["firefox", "-P", "locks", "/tmp/a b.html"], vec!["w3m", "/tmp/a b.html", "-dump"]]);
        assert!(browsers(None, Path::new("x")).is_empty());
    }
}
