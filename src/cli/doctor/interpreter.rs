//! The interpreters that can be asked about their SQLite: Python, the sqlite3 shell, Node, Bun, Deno, PHP, Ruby.
//!
//! [`Interpreter::ask`] runs a probe in the interpreter's own language, from `probes/`. [`super::driver`] has the commands that open a database with
//! each.
#![forbid(unsafe_code)]

use super::child::ask;
use super::script::Script;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A known interpreter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Interpreter {
    Python,
    Shell,
    Node,
    Bun,
    Deno,
    Php,
    Ruby,
}

/// Its answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    /// Its language and version.
    pub language: Option<String>,
    /// The file that runs in the end.
    pub executable: Option<PathBuf>,
    /// Its virtual environment.
    pub environment: Option<String>,
    /// The version of the SQLite that was asked about.
    pub version: Option<String>,
    pub source_id: Option<String>,
    /// The module that brings its SQLite, if that is not the language's own.
    pub module: Option<String>,
    /// Whether it can load extensions.
    pub extensions: bool,
    /// The libraries mapped into it after it had opened a database.
    pub mapped: Vec<PathBuf>,
    /// Files of modules that may bring a SQLite of their own.
    pub others: Vec<(String, PathBuf)>,
    /// Why it has no SQLite.
    pub error: Option<String>,
}

/// The beginning of the line with the answer. The interpreter may print other lines at its start.
const MARK: &str = "@locktrace ";

const SHELL: &str = "SELECT char(10)||'@locktrace '||'{\"language\":\"the sqlite3 shell\",\"version\":\"'||sqlite_version()||'\",\
                     \"source_id\":\"'||sqlite_source_id()||'\",\"extensions\":'||\
                     (CASE sqlite_compileoption_used('OMIT_LOAD_EXTENSION') WHEN 1 THEN 'false' ELSE 'true' END)||'}'";

impl Interpreter {
    /// The interpreter that has this file name.
    pub(super) fn of(program: &Path) -> Option<Interpreter> {
        let name = program.file_name()?.to_str()?;
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        match stem {
            "python" | "pypy" => Some(Interpreter::Python),
            "ruby" => Some(Interpreter::Ruby),
            "node" | "nodejs" => Some(Interpreter::Node),
            "php" => Some(Interpreter::Php),
            "bun" => Some(Interpreter::Bun),
            "deno" => Some(Interpreter::Deno),
            _ if name == "sqlite3" => Some(Interpreter::Shell),
            _ => None,
        }
    }

    /// A command that runs this code. More arguments can be added.
    pub(super) fn runs(self, program: &Path, code: &str, script: &Script) -> Command {
        let mut command = Command::new(program);
        command.args(&script.options);
        match self {
            Interpreter::Python => command.args(["-c", code]).env("PYTHONDONTWRITEBYTECODE", "1"),
            Interpreter::Node | Interpreter::Bun | Interpreter::Ruby => command.args(["-e", code]),
            Interpreter::Deno => command.args(["eval", code]),
            Interpreter::Php => command.args(["-r", code, "--"]),
            // Without the start-up file of the user.
            Interpreter::Shell => command.args(["-batch", "-init", "/dev/null"]),
        };
        command
    }

    /// Asks it about a driver, or about its first one if the name is empty. The error is the reason in words.
    pub(super) fn ask(self, program: &Path, driver: &str, script: &Script) -> Result<Answer, String> {
        let code = match self {
            Interpreter::Python => script.python(driver, include_str!("probes/python.py")),
            Interpreter::Node | Interpreter::Bun | Interpreter::Deno => {
                let usual = match self {
                    Interpreter::Bun => r#"["bun:sqlite"]"#,
                    Interpreter::Deno => r#"["node:sqlite"]"#,
                    _ => r#"["better-sqlite3", "sqlite3", "libsql", "node:sqlite"]"#,
                };
                let wanted = Value::from(driver);
                script.javascript(&format!("const wanted = {wanted}, usual = {usual};\n{}", include_str!("probes/javascript.js")))
            }
            Interpreter::Php => include_str!("probes/php.php").to_owned(),
            Interpreter::Ruby => include_str!("probes/ruby.rb").to_owned(),
            Interpreter::Shell => String::new(),
        };
        let mut command = self.runs(program, &code, script);
        if self == Interpreter::Shell {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_known_by_name() {
        for (name, interpreter) in [
            ("/usr/bin/python3.11", Some(Interpreter::Python)),
            ("python", Some(Interpreter::Python)),
            ("ruby3.1", Some(Interpreter::Ruby)),
            ("nodejs", Some(Interpreter::Node)),
            ("php8.2", Some(Interpreter::Php)),
            ("bun", Some(Interpreter::Bun)),
            ("deno", Some(Interpreter::Deno)),
            ("sqlite3", Some(Interpreter::Shell)),
            ("sqlite", None),
            ("python-config", None),
            ("sh", None),
            ("/", None),
        ] {
            assert_eq!(Interpreter::of(Path::new(name)), interpreter, "{name}");
        }
    }
}
