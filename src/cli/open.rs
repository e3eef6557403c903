//! `locktrace open`: shows the page of a trace in the user's browser.
#![forbid(unsafe_code)]

use super::io::{Failure, Reopenable, output};
use super::page;
use crate::analysis::Options;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Show a trace in the browser: the page of `locktrace report --html`.
///
/// Writes the page to a temporary file that only you can read, or to the file given with -o. Then opens it with $BROWSER or xdg-open. $BROWSER is a
/// list of commands separated by `:`; %s stands for the file, which comes last without it. If there is no display or no browser starts, `open` only
/// prints the path of the page.
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  locktrace open                      the trace in LOCKTRACE_DIR or ./locktrace-trace
  locktrace open trace -o page.html   writes the page to this file
  BROWSER=firefox locktrace open

Exit codes:
  0  The page was written and its path printed, whether or not a browser opened it.
  2  Wrong usage; the trace cannot be read; the page cannot be written.")]
pub(super) struct OpenVerb {
    /// A trace directory, a file of JSON lines, or - for JSON lines on standard input
    ///
    /// Without it: the directory in LOCKTRACE_DIR, or ./locktrace-trace.
    trace: Option<PathBuf>,
    /// The file to write the page to
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl OpenVerb {
    pub(super) fn run(self) -> Result<(), Failure> {
        let given = Reopenable::new(self.trace.as_deref())?;
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

/// Creates a temporary file that only this user can read. A name that exists already is not used.
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

/// Starts a browser and returns its name, or the reason why none started.
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
        // In a process group of its own: Ctrl-C at the terminal ends this command and not the browser.
        match child.process_group(0).spawn() {
            Ok(_) => return Ok(program.display().to_string()),
            Err(error) => failed.push(format!("{}: {error}", program.display())),
        }
    }
    Err(failed.join("; "))
}

/// The commands of `$BROWSER`, with the file where xdg-open puts it: at every `%s`, also within a word, or at the end if there is none.
fn browsers(list: Option<&OsStr>, path: &Path) -> Vec<Vec<OsString>> {
    let command = |text: &[u8]| {
        let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        if text.windows(2).any(|two| two == b"%s") {
            return words.map(|word| placed(word, path)).collect();
        }
        let mut words: Vec<OsString> = words.map(|word| OsString::from_vec(word.to_vec())).collect();
        if !words.is_empty() {
            words.push(path.into());
        }
        words
    };
    let list = list.map(OsStr::as_bytes).unwrap_or_default();
    list.split(|&byte| byte == b':').map(command).filter(|words: &Vec<OsString>| !words.is_empty()).collect()
}

/// A word with the file for `%s`, and a percent sign for `%%`.
fn placed(word: &[u8], path: &Path) -> OsString {
    let mut out = Vec::new();
    let mut rest = word;
    while let Some((&first, after)) = rest.split_first() {
        match (first, after.first()) {
            (b'%', Some(b's')) => out.extend_from_slice(path.as_os_str().as_bytes()),
            (b'%', Some(b'%')) => out.push(b'%'),
            _ => {
                out.push(first);
                rest = after;
                continue;
            }
        }
        rest = &after[1..];
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_as_the_variable_lists_them() {
        let list = OsStr::new("firefox -P locks:w3m %s -dump: :chromium --app=%s --name=100%%:links -d%%");
        let found = browsers(Some(list), Path::new("/tmp/a b.html"));
        assert_eq!(
            found,
            [
                vec!["firefox", "-P", "locks", "/tmp/a b.html"],
                vec!["w3m", "/tmp/a b.html", "-dump"],
                vec!["chromium", "--app=/tmp/a b.html", "--name=100%"],
                vec!["links", "-d%%", "/tmp/a b.html"]
            ]
        );
        assert!(browsers(None, Path::new("x")).is_empty() && browsers(Some(OsStr::new(" : ")), Path::new("x")).is_empty());
        // Neither the list nor the path need be UTF-8, and a `%` in the path is not expanded.
        let found = browsers(Some(OsStr::from_bytes(b"\xff:%s%")), Path::new(OsStr::from_bytes(b"/%s\xfe")));
        let of = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        assert_eq!(found, [vec![of(b"\xff"), of(b"/%s\xfe")], vec![of(b"/%s\xfe%")]]);
    }
}
