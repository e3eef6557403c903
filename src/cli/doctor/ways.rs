//! The ways into a program (`locktrace run`, the loadable extension, the crate), each with a verdict, its reason, and the line to type.
//!
//! Where possible, a way is tried ([`super::trial`]), once for each driver (four at most) that the script imports and that has a SQLite. Other verdicts follow from how the program
//! is linked.
#![forbid(unsafe_code)]

use super::finding::{Symbols, Way, WayVerdict};
use super::interpreter::Interpreter;
use super::subject::Subject;
use super::trial::Scratch;
use crate::cli::io::quote;
use crate::cli::program::Untraceable;
use crate::cli::program::library;
use std::ffi::OsStr;
use std::path::Path;

/// All ways, best first.
pub(super) fn of(subject: &Subject, library: &Path) -> Vec<Way> {
    let mut ways = vec![run(subject, library), extension(subject, library)];
    if subject.interpreter.is_none() && subject.embedded.as_ref().is_some_and(|found| found.rust) {
        let why = "it is a Rust program: with its source, one line at its start installs the recorder into its own SQLite";
        ways.push(Way::new("crate", WayVerdict::May, why).typed("cargo add sqlite-locktrace --no-default-features"));
    }
    ways.sort_by_key(|way| std::cmp::Reverse(way.verdict));
    ways
}

fn run(subject: &Subject, library: &Path) -> Way {
    let way = |verdict, why: &str| Way::new("run", verdict, why);
    let words = ["locktrace", "run", "--"].map(OsStr::new).into_iter().chain(subject.words.iter().map(|word| word.as_os_str()));
    let line = quote::line(words);
    if let Some(reason) = subject.untraceable {
        return way(WayVerdict::No, reason.why());
    }
    if let Some(asked) = subject.interpreter.as_ref().filter(|asked| asked.working().next().is_some()) {
        // The same library as `run` preloads.
        let shared = library::unpack_for_all();
        let library = shared.as_deref().unwrap_or(library);
        let trials = asked.working().map(|(driver, _)| {
            let tried = Scratch::new().and_then(|scratch| {
                let mut command = asked.interpreter.writes(&asked.program, driver, &asked.script, &scratch.database());
                scratch.records(command.env("LD_PRELOAD", library::preload(library)))
            });
            (driver, tried)
        });
        let words = ["its interpreter", "wrote a database", "failed to write a database"];
        return judged(way(WayVerdict::Works, ""), asked.interpreter, &trials.collect::<Vec<_>>(), words).typed(line);
    }
    if let Some(asked) = subject.interpreter.as_ref().filter(|asked| !asked.script.drivers.is_empty()) {
        let drivers = asked.script.drivers.join(" and ");
        let why =
            format!("not tried: its interpreter got no answer from {drivers}. A SQLite in a module is covered when it is loaded");
        return way(WayVerdict::May, &why).typed(line);
    }
    if is_java(&subject.program) {
        let why = "its SQLite comes with a driver (sqlite-jdbc unpacks a library and loads it) and is covered when that is loaded";
        return way(WayVerdict::May, why).typed(line);
    }
    match subject.libraries.first().map(|library| library.symbols) {
        // Covering in place was tested on x86-64 only.
        Some(_) if !cfg!(target_arch = "x86_64") => {
            way(WayVerdict::May, "its SQLite is covered in place, in the program or a library, which was not tested on this processor")
                .typed(line)
        }
        Some(_) if checks_calls(&subject.program) => {
            let why = "its SQLite is inside it, but Chrome's own builds check their calls (CFI), and then it stays untraced";
            way(WayVerdict::May, why).typed(line)
        }
        Some(Symbols::Shared) => way(WayVerdict::Works, "its SQLite is in a shared library and is covered there").typed(line),
        Some(Symbols::Program) => way(WayVerdict::Works, "its SQLite is in the program itself and is covered there").typed(line),
        Some(Symbols::Hidden) => {
            let why = if subject.embedded.as_ref().is_some_and(|found| found.omits_extensions) {
                "its SQLite is inside, with nothing exported, and is covered there. It was built without extension loading, so the text \
                 of its SQL may be missing"
            } else {
                "its SQLite is inside, with nothing exported, and is covered there"
            };
            way(WayVerdict::Works, why).typed(line)
        }
        None if subject.elf.is_none() && subject.program.is_file() => {
            way(WayVerdict::No, "it is neither a program for this system nor a script with an interpreter line")
        }
        None => way(
            WayVerdict::May,
            "no SQLite was found in it, nor in the libraries it is linked with. The recorder gets into it and into every program that it \
             starts, and records a SQLite that is loaded later. If it starts the program that has the SQLite, ask about that one",
        )
        .typed(line),
    }
}

/// The verdict of trials, one for each driver: the best if all agree, and `may work` if some failed.
fn judged(way: Way, interpreter: Interpreter, trials: &[(&str, Result<(), String>)], [who, did, failed_to]: [&str; 3]) -> Way {
    let python = interpreter == Interpreter::Python;
    // The language's own driver is not named if it is the only one.
    let own = |driver: &str| driver.is_empty() || (driver == "sqlite3" && trials.len() == 1 && python);
    let with = |driver: &str| if own(driver) { String::new() } else { format!(" with {driver}") };
    let (worked, failed): (Vec<_>, Vec<_>) = trials.iter().partition(|(_, tried)| tried.is_ok());
    let drivers: Vec<&str> = worked.iter().map(|(driver, _)| *driver).collect();
    let mut why = Vec::new();
    if !worked.is_empty() {
        why.push(format!("{who} {did}{}, and the locks were recorded", with(&drivers.join(" and with "))));
    }
    for (driver, tried) in &failed {
        let error = tried.as_ref().err().map_or("", String::as_str);
        why.push(format!("{who} {failed_to}{}: {error}", with(driver)));
    }
    let verdict = match (worked.is_empty(), failed.is_empty()) {
        (_, true) => WayVerdict::Works,
        (false, false) => WayVerdict::May,
        (true, false) => WayVerdict::No,
    };
    Way { tried: true, verdict, why: why.join("; "), ..way }
}

fn is_java(program: &Path) -> bool {
    program.file_name() == Some(OsStr::new("java"))
}

/// Whether this is a browser of Google's sources, by its name. Their official builds have clang's CFI.
fn checks_calls(program: &Path) -> bool {
    let real = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    real.file_name()
        .and_then(OsStr::to_str)
        .is_some_and(|name| ["chrome", "msedge", "brave", "opera", "vivaldi-bin"].contains(&name))
}

fn extension(subject: &Subject, library: &Path) -> Way {
    let way = |verdict, why: &str| Way::new("extension", verdict, why);
    match subject.untraceable {
        Some(Untraceable::Foreign) => {
            return way(WayVerdict::No, "the extension is built for another architecture than the program");
        }
        Some(Untraceable::Musl) => return way(WayVerdict::No, "the extension is built for glibc, but the program runs on musl"),
        Some(Untraceable::Go(_)) => return way(WayVerdict::No, "SQLite translated to Go cannot load an extension in C"),
        _ => {}
    }
    if let Some(asked) = subject.interpreter.as_ref().filter(|asked| asked.working().next().is_some()) {
        let able: Vec<&str> = asked.working().filter(|(_, answer)| answer.extensions).map(|(driver, _)| driver).collect();
        let Some(first) = able.first() else {
            let module = asked.working().next().map_or("", |(driver, _)| driver);
            let why = match asked.interpreter {
                Interpreter::Python if ["", "sqlite3"].contains(&module) => {
                    "this Python was built without enable_load_extension (pyenv builds it that way)"
                }
                Interpreter::Php => "PHP loads extensions only from a directory that its settings name (sqlite3.extension_dir)",
                _ => "its SQLite, or the module that brings it, was built without extension loading",
            };
            return way(WayVerdict::No, why);
        };
        let line = asked.interpreter.load_line(first, library);
        if subject.untraceable == Some(Untraceable::Setuid) {
            return way(WayVerdict::May, "it can load extensions; not tried, because it runs with another user's rights")
                .typed(line);
        }
        let trials = able.iter().map(|driver| {
            let tried = Scratch::new().and_then(|scratch| {
                scratch.records(&mut asked.interpreter.loads(&asked.program, driver, &asked.script, library, &scratch.database()))
            });
            (*driver, tried)
        });
        let words = ["it", "loaded the extension", "failed to load the extension"];
        return judged(way(WayVerdict::Works, ""), asked.interpreter, &trials.collect::<Vec<_>>(), words).typed(line);
    }
    if subject.embedded.as_ref().is_some_and(|found| found.omits_extensions) {
        return way(WayVerdict::No, "its SQLite was built without extension loading");
    }
    if subject.libraries.is_empty() {
        return if subject.untraceable.is_none() && !subject.scripts.is_empty() {
            way(WayVerdict::May, "no SQLite was found: it depends on the program that has it, so ask about that one")
        } else {
            way(WayVerdict::No, "no SQLite was found that could load it")
        };
    }
    let why = if subject.untraceable == Some(Untraceable::Static) {
        "if the program loads extensions: few static programs can, since that needs the dynamic loader"
    } else {
        "if the program, or its driver, loads extensions (sqlite3_enable_load_extension, sqlite3_load_extension)"
    };
    way(WayVerdict::May, why).typed(library.display().to_string())
}
