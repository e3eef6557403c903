//! The program that `doctor` examines: the file that a command line runs in the end, and the SQLites that it uses.
//!
//! A script is followed to its interpreter. A known interpreter ([`super::interpreter`]) is asked about each driver that its script imports
//! ([`super::script`]). Of any other program, the symbols are read, and those of the libraries that the loader lists for it. The program itself is
//! never run.
#![forbid(unsafe_code)]

use super::child::ask;
use super::finding::{SqliteLibrary, Symbols};
use super::interpreter::{Answer, Interpreter};
use super::script::Script;
use super::sqlite::{Contents, Embedded, embedded};
use crate::cli::program::elf::Elf;
use crate::cli::program::{self, Untraceable};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An interpreter, and its answers.
#[derive(Clone, Debug)]
pub(super) struct AskedInterpreter {
    pub interpreter: Interpreter,
    /// The path by which it is started.
    pub program: PathBuf,
    pub script: Script,
    /// The answer about each driver that the script imports, or else about the usual one.
    pub answers: Vec<(String, Result<Answer, String>)>,
}

impl AskedInterpreter {
    fn new(interpreter: Interpreter, program: PathBuf, script: Script) -> AskedInterpreter {
        let usual = [String::new()];
        let drivers = if script.drivers.is_empty() { &usual[..] } else { &script.drivers[..] };
        let ask = |driver: &String| {
            let answer = interpreter.ask(&program, driver, &script);
            // The driver that it chose, if it had a choice.
            let named = answer.as_ref().ok().and_then(|answer| answer.module.clone()).unwrap_or_else(|| driver.clone());
            (named, answer)
        };
        let answers = drivers.iter().take(MOST_DRIVERS).map(ask).collect();
        AskedInterpreter { interpreter, program, script, answers }
    }

    /// The drivers that have a SQLite.
    pub(super) fn working(&self) -> impl Iterator<Item = (&str, &Answer)> {
        let answers = self.answers.iter().filter_map(|(driver, answer)| Some((&**driver, answer.as_ref().ok()?)));
        answers.filter(|(_, answer)| answer.version.is_some())
    }
}

/// About how many drivers of a script the interpreter is asked.
const MOST_DRIVERS: usize = 4;

/// The results about a program.
#[derive(Clone, Debug, Default)]
pub(super) struct Subject {
    /// The command line.
    pub words: Vec<OsString>,
    /// The file that its first word names.
    pub named: Option<PathBuf>,
    /// The scripts that lead to `program`.
    pub scripts: Vec<PathBuf>,
    /// The file that runs in the end.
    pub program: PathBuf,
    pub elf: Option<Elf>,
    pub untraceable: Option<Untraceable>,
    /// The interpreter that was asked.
    pub interpreter: Option<AskedInterpreter>,
    pub libraries: Vec<SqliteLibrary>,
    /// Libraries it needs and the loader does not find.
    pub missing: Vec<String>,
    /// The SQLite that it contains without exporting it.
    pub embedded: Option<Embedded>,
}

impl Subject {
    /// Examines a command.
    pub(super) fn of(words: &[OsString]) -> Subject {
        let mut subject = Subject { words: words.to_vec(), ..Subject::default() };
        let path = std::env::var_os("PATH");
        let find = |name: &OsStr| program::find(name, path.as_deref());
        let Some(named) = words.first().and_then(|name| find(name)) else { return subject };
        subject.named = Some(named.clone());
        let executed = program::executed(&named);
        (subject.scripts, subject.program) = (executed.scripts, executed.file);
        // `env` starts what its arguments name, from a command line or from the first line of a script.
        for _ in 0..3 {
            if subject.program.file_name() != Some(OsStr::new("env")) {
                break;
            }
            let name = match subject.scripts.last() {
                Some(script) => program::interpreter(script)
                    .and_then(|(_, rest)| after_env(rest.split(u8::is_ascii_whitespace).map(OsStr::from_bytes))),
                None => after_env(words.iter().skip(1).map(OsString::as_os_str)),
            };
            let Some(found) = name.as_deref().and_then(find) else { break };
            if subject.scripts.is_empty() {
                subject.scripts.push(subject.program);
            }
            let executed = program::executed(&found);
            subject.scripts.extend(executed.scripts);
            subject.program = executed.file;
        }
        subject.examine();
        subject
    }

    fn examine(&mut self) {
        if let Some((interpreter, file)) = self.can_be_asked() {
            let asked = AskedInterpreter::new(interpreter, file, Script::of(interpreter, &self.words, &self.scripts));
            let answered = asked.answers.iter().find_map(|(_, answer)| answer.as_ref().ok());
            // A wrapper, such as pyenv's, is a script that ends in another program than that of its first line.
            if let Some(executable) = answered.and_then(|answer| answer.executable.clone())
                && self.program.canonicalize().is_ok_and(|program| program != executable)
                && executable.is_file()
            {
                self.scripts.push(std::mem::replace(&mut self.program, executable));
            }
            self.interpreter = Some(asked);
        }
        self.elf = Elf::read(&self.program);
        self.untraceable = program::untraceable(&self.program);
        let native = self.elf.as_ref().is_some_and(|elf| elf.native);
        if let Some(asked) = self.interpreter.clone() {
            for (_, answer) in asked.working() {
                self.answered(answer);
            }
        }
        let linked = if native && self.untraceable != Some(Untraceable::Static) { self.loaded() } else { Vec::new() };
        if self.libraries.is_empty() {
            for path in &linked {
                if let Some(contents) = Contents::read(path).filter(|contents| contents.exports) {
                    self.library(path.clone(), None, contents.version, None, Symbols::Shared);
                }
            }
        }
        let own = if native { Contents::read(&self.program).unwrap_or_default() } else { Contents::default() };
        if own.exports {
            self.library(self.program.clone(), None, own.version.clone(), None, Symbols::Program);
        } else if self.libraries.is_empty() && !own.imports {
            self.hidden(own.version, &linked);
        }
        self.modules();
    }

    /// Adds the SQLite that a driver of an interpreter uses: in the libraries that were mapped after it had opened a database.
    fn answered(&mut self, answer: &Answer) {
        type Candidate = (PathBuf, Option<String>, Option<Embedded>, Symbols);
        let program = self.program.clone();
        let exported = |path: &PathBuf| -> Option<Candidate> {
            let contents = Contents::read(path).filter(|contents| contents.exports)?;
            let symbols = if *path == program { Symbols::Program } else { Symbols::Shared };
            Some((path.clone(), contents.version, None, symbols))
        };
        let hidden = |path: &PathBuf| Some((path.clone(), None, Some(embedded(path)?), Symbols::Hidden));
        // The module's own files first: another SQLite may be mapped, too.
        let own = answer.others.iter().filter(|(module, _)| Some(module) == answer.module.as_ref()).map(|(_, file)| file);
        let found = own.clone().find_map(|path| exported(path).or_else(|| hidden(path)));
        let all = || answer.mapped.iter().chain([&program]);
        let found = found.or_else(|| all().find_map(exported)).or_else(|| all().find_map(hidden));
        if let Some((path, version, inside, symbols)) = found {
            let source_id = answer.source_id.clone().or(inside.as_ref().and_then(|inside| inside.source_id.clone()));
            self.library(path, answer.module.clone(), answer.version.clone().or(version), source_id, symbols);
            self.embedded = self.embedded.take().or(inside);
        }
    }

    /// The first known interpreter among the scripts and the program.
    fn can_be_asked(&self) -> Option<(Interpreter, PathBuf)> {
        let mut files = self.scripts.iter().chain([&self.program]);
        files.find_map(|file| Some((Interpreter::of(file)?, file.clone())))
    }

    /// Adds a SQLite that is not exported: in the program, or in a library that it is linked with.
    fn hidden(&mut self, version: Option<String>, linked: &[PathBuf]) {
        let program = self.program.clone();
        for path in [&program].into_iter().chain(linked) {
            if let Some(found) = embedded(path) {
                let version = version.clone().or_else(|| Contents::read(path)?.version);
                self.library(path.clone(), None, version, found.source_id.clone(), Symbols::Hidden);
                self.embedded = Some(found);
                return;
            }
        }
    }

    /// Adds the modules of an interpreter that bring a SQLite of their own, whether the script imports them or not.
    fn modules(&mut self) {
        let Some(answer) = self.answer().cloned() else { return };
        for (module, path) in answer.others {
            let contents = Contents::read(&path).unwrap_or_default();
            if contents.exports {
                self.library(path, Some(module), contents.version, None, Symbols::Shared);
            } else if let Some(found) = embedded(&path) {
                self.library(path, Some(module), contents.version, found.source_id, Symbols::Hidden);
            }
        }
    }

    fn library(
        &mut self,
        path: PathBuf,
        module: Option<String>,
        version: Option<String>,
        source_id: Option<String>,
        symbols: Symbols,
    ) {
        if !self.libraries.iter().any(|known| known.path == path) {
            self.libraries.push(SqliteLibrary { path, module, version, source_id, symbols });
        }
    }

    /// The libraries that the loader would load with the program. The loader lists them without running the program.
    fn loaded(&mut self) -> Vec<PathBuf> {
        // Our own loader, not the one that the program names, because a file must not choose what is executed.
        let Some(loader) = Elf::read(Path::new("/proc/self/exe")).and_then(|own| own.loader) else { return Vec::new() };
        let mut command = Command::new(loader);
        // The kernel starts the file that a link leads to, and `$ORIGIN` is its directory (with Java's libjli.so).
        let program = self.program.canonicalize().unwrap_or_else(|_| self.program.clone());
        // As ldd does: unlike with `--list`, one missing library does not hide the others.
        command.arg(program).env("LD_TRACE_LOADED_OBJECTS", "1").env_remove("LD_PRELOAD");
        let Ok(said) = ask(&mut command) else { return Vec::new() };
        let mut found = Vec::new();
        for line in said.out.lines().map(str::trim) {
            let (name, path) = line.split_once(" => ").unwrap_or((line, line));
            if path == "not found" {
                self.missing.push(name.to_owned());
            }
            // Removes the address behind the path.
            let path = path.rsplit_once(" (").map_or(path, |(path, _)| path);
            if path.starts_with('/') {
                found.push(PathBuf::from(path));
            }
        }
        found
    }

    /// The first answer of its interpreter.
    pub(super) fn answer(&self) -> Option<&Answer> {
        self.interpreter.as_ref().and_then(|asked| asked.answers.iter().find_map(|(_, answer)| answer.as_ref().ok()))
    }
}

/// The program that `env` starts: the first of its arguments that is neither an option nor a variable.
fn after_env<'w>(words: impl Iterator<Item = &'w OsStr>) -> Option<OsString> {
    let program = |word: &&OsStr| !word.is_empty() && !word.as_bytes().starts_with(b"-") && !word.as_bytes().contains(&b'=');
    words.filter(program).map(OsStr::to_owned).next()
}
