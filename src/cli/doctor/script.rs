//! The script of a command line, and the SQLite drivers that it imports: `import apsw`, `require("better-sqlite3")`.
//!
//! The script is read and never run. Files of its own that it imports are read, too. If a JavaScript program imports no driver, its `package.json`
//! may name one. The search is a text search and no parser: an import in a comment counts.
#![forbid(unsafe_code)]

use super::interpreter::Interpreter;
use serde_json::Value;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The modules that bring a SQLite to Python, or load one.
const PYTHON: [&str; 7] = ["sqlite3", "apsw", "pysqlite3", "sqlcipher3", "libsql", "libsql_experimental", "ctypes"];

/// The same for JavaScript.
const JAVASCRIPT: [&str; 6] = ["node:sqlite", "bun:sqlite", "better-sqlite3", "sqlite3", "libsql", "@libsql/client"];

/// How many files are read, and how much of each.
const MOST_FILES: usize = 200;
const MOST_BYTES: u64 = 1 << 20;

/// The script or code that a command line gives to an interpreter.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    /// The file; none if the code is on the command line, or typed in.
    pub file: Option<PathBuf>,
    /// The drivers that are imported, in that order.
    pub drivers: Vec<String>,
    /// Options without which the interpreter has no SQLite.
    pub options: Vec<OsString>,
    /// The file that is opened by `ctypes`, as the script names it.
    library: Option<String>,
}

impl Script {
    /// Looks for the script in the words of a command line, and in the scripts that led to the interpreter.
    pub(super) fn of(interpreter: Interpreter, words: &[OsString], scripts: &[PathBuf]) -> Script {
        let mut script = Script::default();
        if !matches!(interpreter, Interpreter::Python | Interpreter::Node | Interpreter::Bun | Interpreter::Deno) {
            return script;
        }
        let mut texts = ScriptReader::default();
        script.options = words.iter().filter(|word| *word == "--experimental-sqlite").cloned().collect();
        // The interpreter sees the target of a link. A tool such as npm is not the program in question.
        let tool = |file: &PathBuf| file.components().any(|part| part.as_os_str() == "node_modules");
        let real = |file: &PathBuf| file.canonicalize().ok().filter(|file| !tool(file));
        script.file = scripts.iter().chain(&paths(words)).filter(|file| is_script(file, interpreter)).find_map(real);
        match (&script.file, code(words, interpreter)) {
            (_, Some(code)) => texts.add(Path::new("."), code),
            (Some(file), None) => texts.read(file),
            // `python3 -m app`, `gunicorn app:main`
            (None, None) if interpreter == Interpreter::Python => {
                modules(words).iter().for_each(|module| texts.module(Path::new("."), module))
            }
            _ => {}
        }
        // `gunicorn app:main`, whose script is not the application.
        if interpreter == Interpreter::Python && scripts.iter().any(|named| named.canonicalize().ok() == script.file) {
            modules(words).iter().for_each(|module| texts.module(Path::new("."), module));
        }
        while let Some((dir, text)) = texts.waiting.pop() {
            if interpreter == Interpreter::Python {
                script.python_text(&dir, &text, &mut texts);
            } else {
                script.javascript_text(&dir, &text, &mut texts);
            }
        }
        if interpreter != Interpreter::Python && script.drivers.is_empty() {
            let dir = script.file.as_deref().and_then(Path::parent).unwrap_or(Path::new("."));
            script.drivers = package(dir).unwrap_or_default();
        }
        script
    }

    fn uses(&mut self, driver: &str) {
        if !self.drivers.iter().any(|known| known == driver) {
            self.drivers.push(driver.to_owned());
        }
    }

    fn python_text(&mut self, dir: &Path, text: &str, texts: &mut ScriptReader) {
        for statement in text.split(['\n', ';']).map(str::trim_start) {
            let names: Vec<&str> = if let Some(rest) = statement.strip_prefix("import ") {
                rest.split(',').collect()
            } else if let Some(rest) = statement.strip_prefix("from ") {
                vec![rest]
            } else {
                continue;
            };
            for name in names {
                let name = name.split_whitespace().next().unwrap_or_default();
                let first = name.split('.').next().unwrap_or_default();
                match PYTHON.iter().find(|driver| **driver == first) {
                    Some(&"ctypes") => {
                        if let Some(library) = ctypes_library(text) {
                            self.uses("ctypes");
                            self.library = self.library.take().or(library);
                        }
                    }
                    Some(driver) => self.uses(driver),
                    None => texts.module(dir, name.trim_start_matches('.')),
                }
            }
        }
        for driver in PYTHON {
            let named = |quote: char| {
                ["import_module(", "__import__("].iter().any(|call| text.contains(&format!("{call}{quote}{driver}{quote}")))
            };
            if driver != "ctypes" && (named('"') || named('\'')) {
                self.uses(driver);
            }
        }
    }

    fn javascript_text(&mut self, dir: &Path, text: &str, texts: &mut ScriptReader) {
        for specifier in specifiers(text) {
            if specifier.starts_with("./") || specifier.starts_with("../") {
                texts.javascript(&dir.join(specifier));
                continue;
            }
            // `npm:better-sqlite3@12`, `libsql/promise`
            let name = specifier.strip_prefix("npm:").unwrap_or(specifier);
            let name = name.get(1..).and_then(|rest| rest.find('@')).map_or(name, |at| &name[..=at]);
            let own = |driver: &&&str| name == **driver || name.strip_prefix(**driver).is_some_and(|rest| rest.starts_with('/'));
            if let Some(driver) = JAVASCRIPT.iter().find(own) {
                self.uses(driver);
            }
        }
    }

    /// Python code with the variables `MODULE` and `LIBRARY` set.
    pub(super) fn python(&self, driver: &str, code: &str) -> String {
        let module = Value::from(if driver.is_empty() { "sqlite3" } else { driver });
        let library = self.library.as_ref().map_or_else(|| "None".to_owned(), |library| Value::from(library.as_str()).to_string());
        format!("MODULE, LIBRARY = {module}, {library}\n{code}")
    }

    /// JavaScript code that finds modules as the script does, and prints an error as one line.
    pub(super) fn javascript(&self, code: &str) -> String {
        let file = self.file.clone().unwrap_or_else(|| PathBuf::from("script.js"));
        let from = Value::from(std::path::absolute(&file).unwrap_or(file).to_string_lossy().into_owned());
        format!(
            "(async () => {{\nconst req = (await import(\"node:module\")).createRequire({from});\n{code}\n}})()\
             .catch((e) => {{ console.error(String(e.message || e).split(\"\\n\")[0]); process.exit(1); }});"
        )
    }
}

/// The texts that are still to be searched.
#[derive(Default)]
struct ScriptReader {
    seen: HashSet<PathBuf>,
    waiting: Vec<(PathBuf, String)>,
}

impl ScriptReader {
    fn add(&mut self, dir: &Path, text: String) {
        self.waiting.push((dir.to_owned(), text));
    }

    fn read(&mut self, file: &Path) {
        if self.seen.len() >= MOST_FILES || !file.is_file() || !self.seen.insert(file.to_owned()) {
            return;
        }
        if let Some(text) = beginning(file) {
            self.add(file.parent().unwrap_or(Path::new(".")), text);
        }
    }

    /// A module of the script's own: `a.b` is `a/b.py` or `a/b/__init__.py`, and `a` comes with it.
    fn module(&mut self, dir: &Path, name: &str) {
        let mut place = dir.to_owned();
        for part in name.split('.').filter(|part| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_')) {
            place.push(part);
            self.read(&place.with_extension("py"));
            self.read(&place.join("__init__.py"));
            self.read(&place.join("__main__.py"));
        }
    }

    fn javascript(&mut self, place: &Path) {
        self.read(place);
        for ending in ["js", "mjs", "cjs", "ts", "mts"] {
            let mut name = place.as_os_str().to_owned();
            name.push(format!(".{ending}"));
            self.read(Path::new(&name));
            self.read(&place.join(format!("index.{ending}")));
        }
    }
}

fn beginning(file: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The words that may name a file.
fn paths(words: &[OsString]) -> Vec<PathBuf> {
    words.iter().skip(1).filter(|word| !word.as_bytes().starts_with(b"-")).map(PathBuf::from).collect()
}

/// Whether this is a file of the language, by its name or its first line.
fn is_script(file: &Path, interpreter: Interpreter) -> bool {
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let python = interpreter == Interpreter::Python;
    let named = if python { ["py", "pyw"].contains(&ending) } else { ["js", "mjs", "cjs", "ts", "mts"].contains(&ending) };
    if !file.is_file() {
        return false;
    }
    if named {
        return true;
    }
    let mut start = [0; 128];
    let length = File::open(file).and_then(|mut file| file.read(&mut start)).unwrap_or(0);
    let line = start[..length].split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    line.starts_with("#!")
        && if python {
            ["python", "pypy"].iter().any(|name| line.contains(name))
        } else {
            ["node", "bun", "deno"].iter().any(|name| line.contains(name))
        }
}

/// The code on the command line.
fn code(words: &[OsString], interpreter: Interpreter) -> Option<String> {
    let options: &[&str] =
        if interpreter == Interpreter::Python { &["-c"] } else { &["-e", "--eval", "-p", "--print", "-pe", "eval"] };
    let at = words.iter().position(|word| options.iter().any(|option| word == option))?;
    Some(words.get(at + 1)?.to_string_lossy().into_owned())
}

/// Words that may name a module: `-m app.main`, `app.main:application`.
fn modules(words: &[OsString]) -> Vec<String> {
    let plain = |word: &OsString| word.to_str().map(|word| word.split(':').next().unwrap_or_default().to_owned());
    words.iter().skip(1).filter_map(plain).filter(|word| !word.starts_with('-') && !word.contains('/')).collect()
}

/// Whether a text opens a SQLite by ctypes; the inner name is the file that it names.
fn ctypes_library(text: &str) -> Option<Option<String>> {
    let mut found = None;
    for word in text.split(['"', '\'']) {
        let file = word.rsplit('/').next().unwrap_or_default();
        if word.len() < 200 && file.contains("sqlite") && file.contains(".so") && !word.contains(char::is_whitespace) {
            return Some(Some(word.to_owned()));
        }
        if word == "sqlite3" {
            found = Some(None);
        }
    }
    found
}

/// The imported names: quoted words after `require(`, `from`, `import`.
fn specifiers(text: &str) -> Vec<&str> {
    const BEFORE: [&str; 5] = ["require(", "from", "import", "import(", "getBuiltinModule("];
    let mut found = Vec::new();
    let mut last = 0;
    for (at, quote) in text.char_indices().filter(|(_, c)| ['"', '\'', '`'].contains(c)) {
        let before = text[last..at].trim_end();
        last = at + 1;
        if !BEFORE.iter().any(|word| before.ends_with(word)) {
            continue;
        }
        let rest = &text[at + 1..];
        if let Some(end) = rest.find([quote, '\n']).filter(|end| rest[*end..].starts_with(quote)) {
            found.push(&rest[..end]);
        }
    }
    found
}

/// The drivers among the dependencies of the nearest package.
fn package(dir: &Path) -> Option<Vec<String>> {
    let dir = std::path::absolute(dir).ok()?;
    let text = dir.ancestors().take(6).find_map(|dir| beginning(&dir.join("package.json")))?;
    let package: Value = serde_json::from_str(&text).ok()?;
    let dependencies = package.get("dependencies")?.as_object()?;
    Some(JAVASCRIPT.iter().filter(|driver| dependencies.contains_key(**driver)).map(|driver| (*driver).to_owned()).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn drivers(interpreter: Interpreter, words: &[&str]) -> Vec<String> {
        Script::of(interpreter, &words.iter().map(OsString::from).collect::<Vec<_>>(), &[]).drivers
    }

    #[test]
    fn imports_of_python() {
        let code = |text: &str| drivers(Interpreter::Python, &["python3", "-c", text]);
        assert_eq!(code("import os, apsw as a\nfrom pysqlite3 import dbapi2 as sqlite3"), ["apsw", "pysqlite3"]);
        assert_eq!(code("import sqlite3; import sqlite3.dbapi2"), ["sqlite3"]);
        assert_eq!(code("m = importlib.import_module('libsql')"), ["libsql"]);
        assert_eq!(code("import ctypes\nctypes.CDLL('libc.so.6')"), [""; 0]);
        assert_eq!(code("import ctypes.util\nctypes.CDLL(ctypes.util.find_library('sqlite3'))"), ["ctypes"]);
        assert_eq!(code("import apswutils, sqlite3ext"), [""; 0]);
        assert_eq!(ctypes_library("CDLL(\"/opt/libsqlite3.so.0\")"), Some(Some("/opt/libsqlite3.so.0".to_owned())));
    }

    #[test]
    fn a_scripts_own_modules_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("app")).unwrap();
        std::fs::write(path("main.py"), "from app.models import Thing\nimport main\n").unwrap();
        std::fs::write(path("app/models.py"), "try:\n    import apsw\nexcept ImportError:\n    import sqlite3\n").unwrap();
        assert_eq!(drivers(Interpreter::Python, &["python3", "-u", path("main.py").to_str().unwrap(), "x"]), ["apsw", "sqlite3"]);
        std::fs::write(path("server.mjs"), "import { db } from './lib/db'\nimport fs from 'fs'\n").unwrap();
        std::fs::create_dir(path("lib")).unwrap();
        std::fs::write(path("lib/db.ts"), "import Database from \"better-sqlite3\";\n").unwrap();
        assert_eq!(drivers(Interpreter::Node, &["node", path("server.mjs").to_str().unwrap()]), ["better-sqlite3"]);
        // An object-relational mapper imports the driver itself: the package names it.
        std::fs::write(path("plain.js"), "require('knex')\n").unwrap();
        std::fs::write(path("package.json"), r#"{"dependencies": {"knex": "1", "sqlite3": "6"}}"#).unwrap();
        assert_eq!(drivers(Interpreter::Node, &["node", path("plain.js").to_str().unwrap()]), ["sqlite3"]);
    }

    #[test]
    fn imports_of_javascript() {
        let code = |text: &str| drivers(Interpreter::Node, &["node", "-e", text]);
        assert_eq!(
            code("const D = require(`libsql/promise`); import x from 'npm:@libsql/client@0.15/node'"),
            ["libsql", "@libsql/client"]
        );
        assert_eq!(code("import { DatabaseSync } from 'node:sqlite'; await import( 'bun:sqlite')"), ["node:sqlite", "bun:sqlite"]);
        assert_eq!(code("import 'npm:better-sqlite3@^12'; console.log('sqlite3')"), ["better-sqlite3"]);
        assert_eq!(code("'require(\"sqlite3"), [""; 0]);
    }
}
