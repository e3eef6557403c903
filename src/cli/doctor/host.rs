//! Programs that run other people's programs and that can be asked: Python, the sqlite3 shell, Node, Ruby.
//!
//! In comes the name of one; out go the commands that ask it what it has ([`Host::ask`]) and that open a database with it
//! ([`Host::writes`], [`Host::loads`]). What they do is written in its own language, in `hosts/`. Called by [`super::subject`] and
//! [`super::ways`].
#![forbid(unsafe_code)]

use super::child::ask;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One that can be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Host {
    Python,
    Shell,
    Node,
    Ruby,
}

/// What it answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    /// Its language and version.
    pub language: Option<String>,
    /// The program that runs in the end.
    pub executable: Option<PathBuf>,
    /// Its virtual environment.
    pub environment: Option<String>,
    /// The version of the SQLite it uses by default.
    pub version: Option<String>,
    pub source_id: Option<String>,
    /// The module its SQLite comes with, where that is not the language's own.
    pub module: Option<String>,
    /// It can load extensions.
    pub extensions: bool,
    /// The libraries mapped into it once it had opened a database.
    pub mapped: Vec<PathBuf>,
    /// Files of modules that may bring a SQLite of their own.
    pub others: Vec<(String, PathBuf)>,
    /// Why it has no SQLite.
    pub error: Option<String>,
}

/// The line with the answer begins with this; a program's start-up may print lines of its own.
const MARK: &str = "@locktrace ";

const SHELL: &str = "SELECT char(10)||'@locktrace '||'{\"language\":\"the sqlite3 shell\",\"version\":\"'||sqlite_version()||'\",\
                     \"source_id\":\"'||sqlite_source_id()||'\",\"extensions\":'||\
                     (CASE sqlite_compileoption_used('OMIT_LOAD_EXTENSION') WHEN 1 THEN 'false' ELSE 'true' END)||'}'";

impl Host {
    /// The one that a program of this name is.
    pub(super) fn of(program: &Path) -> Option<Host> {
        let name = program.file_name()?.to_str()?;
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        match stem {
            "python" | "pypy" => Some(Host::Python),
            "ruby" => Some(Host::Ruby),
            "node" | "nodejs" => Some(Host::Node),
            _ if name == "sqlite3" => Some(Host::Shell),
            _ => None,
        }
    }

    /// A command of this program that does what is written in these words.
    fn says(self, program: &Path, code: &str) -> Command {
        let mut command = Command::new(program);
        match self {
            Host::Python => command.args(["-c", code]).env("PYTHONDONTWRITEBYTECODE", "1"),
            Host::Node | Host::Ruby => command.args(["-e", code]),
            // Without the user's start-up file.
            Host::Shell => command.args(["-batch", "-init", "/dev/null"]),
        };
        command
    }

    /// Asks it what it has. An error says in words why there is no answer.
    pub(super) fn ask(self, program: &Path) -> Result<Answer, String> {
        let mut command = match self {
            Host::Python => self.says(program, include_str!("hosts/python.py")),
            Host::Node => self.says(program, include_str!("hosts/node.js")),
            Host::Ruby => self.says(program, include_str!("hosts/ruby.rb")),
            Host::Shell => self.says(program, ""),
        };
        if self == Host::Shell {
            command.args(["-list", "-noheader", ":memory:", SHELL]);
        }
        let said = ask(&mut command)?;
        let line = said.out.lines().rev().find_map(|line| line.strip_prefix(MARK));
        let answer: Option<Value> = line.and_then(|line| serde_json::from_str(line).ok());
        let answer = answer.ok_or_else(|| format!("it did not answer: {}", said.complaint()))?;
        let text = |key: &str| answer.get(key).and_then(Value::as_str).map(str::to_owned);
        let paths = |value: Option<&Value>| -> Vec<PathBuf> {
            value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(PathBuf::from).collect()
        };
        let modules = answer.get("others").and_then(Value::as_object).into_iter().flatten();
        Ok(Answer {
            language: text("language"),
            executable: text("executable").map(PathBuf::from),
            environment: text("environment"),
            version: text("version"),
            source_id: text("source_id"),
            module: text("module"),
            extensions: answer.get("extensions").and_then(Value::as_bool).unwrap_or(false),
            mapped: paths(answer.get("mapped")),
            others: modules
                .flat_map(|(name, files)| paths(Some(files)).into_iter().map(|file| (name.clone(), file)).collect::<Vec<_>>())
                .collect(),
            error: text("error"),
        })
    }

    /// A command that makes a table in this database.
    pub(super) fn writes(self, program: &Path, database: &Path) -> Command {
        let mut command = self.says(
            program,
            match self {
                Host::Python => "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('CREATE TABLE t(x)')",
                Host::Ruby => "require 'sqlite3'; SQLite3::Database.new(ARGV[0]).execute('CREATE TABLE t(x)')",
                Host::Node => {
                    "let D; try { D = require('better-sqlite3') } catch { D = require('node:sqlite').DatabaseSync }\n\
                     new D(process.argv[1]).exec('CREATE TABLE t(x)')"
                }
                Host::Shell => "",
            },
        );
        command.arg(database);
        if self == Host::Shell {
            command.arg("CREATE TABLE t(x)");
        }
        command
    }

    /// A command that loads this extension, and then makes a table in this database.
    pub(super) fn loads(self, program: &Path, extension: &Path, database: &Path) -> Command {
        let mut command = self.says(
            program,
            match self {
                Host::Python => {
                    "import sqlite3, sys; c = sqlite3.connect(':memory:'); c.enable_load_extension(True)\n\
                     c.load_extension(sys.argv[1]); sqlite3.connect(sys.argv[2]).execute('CREATE TABLE t(x)')"
                }
                Host::Ruby => {
                    "require 'sqlite3'; d = SQLite3::Database.new(':memory:'); d.enable_load_extension(true)\n\
                     d.load_extension(ARGV[0]); SQLite3::Database.new(ARGV[1]).execute('CREATE TABLE t(x)')"
                }
                Host::Node => {
                    "let m, n = false; try { m = new (n = require('better-sqlite3'))(':memory:') }\n\
                     catch { m = new (n = require('node:sqlite').DatabaseSync)(':memory:', { allowExtension: true }) }\n\
                     m.loadExtension(process.argv[1]); new n(process.argv[2]).exec('CREATE TABLE t(x)')"
                }
                Host::Shell => "",
            },
        );
        if self == Host::Shell {
            let dot = |verb: &str, path: &Path| format!(".{verb} '{}'", path.display());
            command.args(["-cmd", &dot("load", extension), "-cmd", &dot("open", database), ":memory:", "CREATE TABLE t(x)"]);
        } else {
            command.args([extension, database]);
        }
        command
    }

    /// What a user writes to load the extension.
    pub(super) fn load_line(self, extension: &Path) -> String {
        let path = extension.display();
        match self {
            Host::Python => format!(
                "c = sqlite3.connect(\":memory:\"); c.enable_load_extension(True); c.load_extension(\"{path}\")  # before the first real one"
            ),
            Host::Ruby => format!(
                "d = SQLite3::Database.new(\":memory:\"); d.enable_load_extension(true); d.load_extension(\"{path}\")  # before the first real one"
            ),
            Host::Node => format!("new Database(\":memory:\").loadExtension(\"{path}\")  // before the first real one"),
            Host::Shell => format!("sqlite3 -cmd \".load {path}\" -cmd \".open app.db\""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_known_by_name() {
        for (name, host) in [
            ("/usr/bin/python3.11", Some(Host::Python)),
            ("python", Some(Host::Python)),
            ("ruby3.1", Some(Host::Ruby)),
            ("nodejs", Some(Host::Node)),
            ("sqlite3", Some(Host::Shell)),
            ("sqlite", None),
            ("python-config", None),
            ("sh", None),
            ("/", None),
        ] {
            assert_eq!(Host::of(Path::new(name)), host, "{name}");
        }
    }
}
