//! Which ways in work for a program: `locktrace run`, the loadable extension, the crate.
//!
//! In come a [`Subject`] and the library this command carries; out goes a verdict for each, with its reason and the line to type. What can be
//! tried is tried ([`super::trial`]); the rest follows from how the program is linked. Called by [`super::Doctor`].
#![forbid(unsafe_code)]

use super::finding::{Symbols, Verdict, Way};
use super::host::Host;
use super::subject::Subject;
use super::trial::Scratch;
use crate::cli::program::Closed;
use crate::cli::{library, quote};
use std::ffi::OsStr;
use std::path::Path;

/// All ways, the best first.
pub(super) fn of(subject: &Subject, library: &Path) -> Vec<Way> {
    let mut ways = vec![run(subject, library), extension(subject, library)];
    if subject.embedded.as_ref().is_some_and(|found| found.rust) {
        let why =
            "it is a Rust program: where the source is yours, one line at its start installs the recorder into its own SQLite";
        ways.push(Way::new("crate", Verdict::May, why).typed("cargo add sqlite-locktrace --no-default-features"));
    }
    ways.sort_by_key(|way| std::cmp::Reverse(way.verdict));
    ways
}

fn run(subject: &Subject, library: &Path) -> Way {
    let way = |verdict, why: &str| Way::new("run", verdict, why);
    let words = ["locktrace", "run", "--"].map(OsStr::new).into_iter().chain(subject.words.iter().map(|word| word.as_os_str()));
    let line = quote::line(words);
    if let Some(closed) = subject.closed {
        return way(Verdict::No, closed.why());
    }
    if let Some((host, program, Ok(answer))) = &subject.host
        && answer.version.is_some()
    {
        let tried = Scratch::new().and_then(|scratch| {
            let mut command = host.writes(program, &scratch.database());
            scratch.records(command.env("LD_PRELOAD", library::preload(library)))
        });
        return match tried {
            Ok(()) => Way { tried: true, ..way(Verdict::Works, "its interpreter wrote a database, and the locks were recorded") },
            Err(why) => Way { tried: true, ..way(Verdict::No, &format!("its interpreter was to write a database: {why}")) },
        }
        .typed(line);
    }
    let symbols = subject.libraries.first().map(|library| library.symbols);
    match symbols {
        Some(Symbols::Shared) => {
            let far = !cfg!(target_arch = "x86_64");
            let why = if far {
                "its SQLite is a shared library; on this processor that is enough only where the program itself links it"
            } else {
                "its SQLite is a shared library, and a preloaded one comes before it"
            };
            way(if far { Verdict::May } else { Verdict::Works }, why).typed(line)
        }
        Some(Symbols::Program) => way(
            Verdict::No,
            "its SQLite is in the program itself, whose calls to it do not go through the loader: nothing can be put before it",
        ),
        Some(Symbols::Hidden) => way(Verdict::No, "its SQLite is inside, and not exported: nothing can be put before it"),
        None if subject.elf.is_none() && subject.program.is_file() => {
            way(Verdict::No, "it is neither a program for this system nor a script that names its interpreter")
        }
        None => way(
            Verdict::May,
            "no SQLite was found in it, nor in the libraries it is linked with. The library gets in, and into every program it starts: \
             what loads a shared SQLite later is recorded. If it starts the program that has the SQLite, ask about that one",
        )
        .typed(line),
    }
}

fn extension(subject: &Subject, library: &Path) -> Way {
    let way = |verdict, why: &str| Way::new("extension", verdict, why);
    match subject.closed {
        Some(Closed::Foreign) => return way(Verdict::No, "the extension is built for another architecture than the program"),
        Some(Closed::Musl) => return way(Verdict::No, "the extension is built for glibc, and the program runs on musl"),
        _ => {}
    }
    if let Some((host, program, Ok(answer))) = &subject.host
        && answer.version.is_some()
    {
        if !answer.extensions {
            let why = match host {
                Host::Python => "this Python was built without enable_load_extension (pyenv builds it that way)",
                _ => "its SQLite, or the module it comes with, was built without the loading of extensions",
            };
            return way(Verdict::No, why);
        }
        let line = host.load_line(library);
        if subject.closed == Some(Closed::Setuid) {
            return way(Verdict::May, "it can load extensions; not tried, because it runs with another user's rights").typed(line);
        }
        let tried = Scratch::new().and_then(|scratch| scratch.records(&mut host.loads(program, library, &scratch.database())));
        return match tried {
            Ok(()) => Way { tried: true, ..way(Verdict::Works, "it loaded the extension, and the locks were recorded") },
            Err(why) => Way { tried: true, ..way(Verdict::No, &format!("it was to load the extension: {why}")) },
        }
        .typed(line);
    }
    if subject.embedded.as_ref().is_some_and(|found| found.omits_extensions) {
        return way(Verdict::No, "its SQLite was built without the loading of extensions");
    }
    if subject.libraries.is_empty() {
        return if subject.closed.is_none() && !subject.scripts.is_empty() {
            way(Verdict::May, "no SQLite was found: it depends on the program that has it, so ask about that one")
        } else {
            way(Verdict::No, "no SQLite was found that could load it")
        };
    }
    let why = if subject.closed == Some(Closed::Static) {
        "if the program loads extensions: few static programs can, since that needs the dynamic loader"
    } else {
        "if the program, or its driver, loads extensions (sqlite3_enable_load_extension, sqlite3_load_extension)"
    };
    way(Verdict::May, why).typed(library.display().to_string())
}
