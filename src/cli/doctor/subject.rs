//! The program a user asks about: from the words of a command line to the file that runs in the end, and the SQLites it uses.
//!
//! In come the words; out goes a [`Subject`]. A script is followed to its interpreter; one that can be asked is asked
//! ([`super::host`]), and of any other program the symbols are read, and those of the libraries that the loader says it would take.
//! The program itself is never run. Called by [`super::Doctor`].
#![forbid(unsafe_code)]

use super::child::ask;
use super::finding::{Library, Symbols};
use super::host::{Answer, Host};
use super::sqlite::{Contents, Embedded, embedded};
use crate::cli::elf::Elf;
use crate::cli::program::{self, Closed};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What was found out about a program.
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
    pub closed: Option<Closed>,
    /// The interpreter that was asked, how it was called, and its answer.
    pub host: Option<(Host, PathBuf, Result<Answer, String>)>,
    pub libraries: Vec<Library>,
    /// Libraries it needs and the loader does not find.
    pub missing: Vec<String>,
    /// What it carries without exporting it.
    pub embedded: Option<Embedded>,
}

impl Subject {
    /// Looks at a command.
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
        if let Some((host, file)) = self.can_be_asked() {
            let answer = host.ask(&file);
            // A wrapper (pyenv's, for one) is a script that ends in another program than its first line says.
            if let Some(executable) = answer.as_ref().ok().and_then(|answer| answer.executable.clone())
                && self.program.canonicalize().is_ok_and(|program| program != executable)
                && executable.is_file()
            {
                self.scripts.push(std::mem::replace(&mut self.program, executable));
            }
            self.host = Some((host, file, answer));
        }
        self.elf = Elf::read(&self.program);
        self.closed = program::closed(&self.program);
        let native = self.elf.as_ref().is_some_and(|elf| elf.native);
        let mut candidates = Vec::new();
        if let Some((_, _, Ok(answer))) = &self.host {
            candidates.extend(answer.mapped.iter().cloned());
        }
        if candidates.is_empty() && native && self.closed != Some(Closed::Static) {
            candidates = self.loaded();
        }
        for path in candidates {
            if let Some(contents) = Contents::read(&path).filter(|contents| contents.exports) {
                self.library(path, None, contents.version, None, Symbols::Shared);
            }
        }
        let own = if native { Contents::read(&self.program).unwrap_or_default() } else { Contents::default() };
        if own.exports {
            self.library(self.program.clone(), None, own.version.clone(), None, Symbols::Program);
        } else if self.libraries.is_empty() && !own.imports {
            self.hidden(own.version);
        }
        self.modules();
        if let Some((_, _, Ok(answer))) = &self.host
            && let Some(library) = self.libraries.iter_mut().find(|library| library.module == answer.module)
        {
            library.version = answer.version.clone().or(library.version.take());
            library.source_id = answer.source_id.clone().or(library.source_id.take());
        }
    }

    /// The first file on the way that is a host.
    fn can_be_asked(&self) -> Option<(Host, PathBuf)> {
        let mut files = self.scripts.iter().chain([&self.program]);
        files.find_map(|file| Some((Host::of(file)?, file.clone())))
    }

    /// A SQLite that is inside and not exported: in the program, or in what an interpreter has loaded.
    fn hidden(&mut self, version: Option<String>) {
        let mapped = match &self.host {
            Some((_, _, Ok(answer))) => answer.mapped.clone(),
            _ => Vec::new(),
        };
        for path in mapped.into_iter().chain([self.program.clone()]) {
            if let Some(found) = embedded(&path) {
                self.library(path, None, version, found.source_id.clone(), Symbols::Hidden);
                self.embedded = Some(found);
                return;
            }
        }
    }

    /// Modules of an interpreter that bring a SQLite of their own.
    fn modules(&mut self) {
        let Some((_, _, Ok(answer))) = &self.host else { return };
        for (module, path) in answer.others.clone() {
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
            self.libraries.push(Library { path, module, version, source_id, symbols });
        }
    }

    /// The libraries that the loader would load with the program: it is asked to list them, which runs nothing of the program.
    fn loaded(&mut self) -> Vec<PathBuf> {
        // Ours, not the one the program names: what a file says is not to be executed.
        let Some(loader) = Elf::read(Path::new("/proc/self/exe")).and_then(|own| own.loader) else { return Vec::new() };
        let mut command = Command::new(loader);
        // As ldd does: unlike with `--list`, one missing library does not hide the others.
        command.arg(&self.program).env("LD_TRACE_LOADED_OBJECTS", "1").env_remove("LD_PRELOAD");
        let Ok(said) = ask(&mut command) else { return Vec::new() };
        let mut found = Vec::new();
        for line in said.out.lines().map(str::trim) {
            let (name, path) = line.split_once(" => ").unwrap_or((line, line));
            if path == "not found" {
                self.missing.push(name.to_owned());
            }
            // The address behind it.
            let path = path.rsplit_once(" (").map_or(path, |(path, _)| path);
            if path.starts_with('/') {
                found.push(PathBuf::from(path));
            }
        }
        found
    }

    /// What its interpreter answered.
    pub(super) fn answer(&self) -> Option<&Answer> {
        self.host.as_ref().and_then(|(_, _, answer)| answer.as_ref().ok())
    }
}

/// The program that `env` starts: the first of its arguments that is neither an option nor a variable.
fn after_env<'w>(words: impl Iterator<Item = &'w OsStr>) -> Option<OsString> {
    let program = |word: &&OsStr| !word.is_empty() && !word.as_bytes().starts_with(b"-") && !word.as_bytes().contains(&b'=');
    words.filter(program).map(OsStr::to_owned).next()
}
