//! One run of a scenario under `locktrace run`, and its report. Each run has a directory, a trace and processes of its own, and at most a minute.

use super::expect::Scenario;
use crate::place::{PYTHON, Place, parts};
use crate::{bundled, packages};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names the Rust program that this test binary is to be, when it is started as a scenario.
pub const PROGRAM: &str = "LOCKTRACE_SCENARIO_PROGRAM";

/// The SQLite that a Python scenario runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sqlite {
    /// The system's, under `locktrace run`.
    Stock,
    /// The newest, which rusqlite brings, as a shared library.
    Bundled,
}

/// What the scenarios share: the compiled preload, and the directory of the bundled SQLite if it can be had.
pub struct Stage {
    dir: tempfile::TempDir,
    scenarios: PathBuf,
    bundled: Option<PathBuf>,
}

impl Stage {
    /// Compiles what scenarios preload.
    pub fn new(scenarios: &Path, all: &[Scenario]) -> Stage {
        let stage = Stage { dir: tempfile::tempdir().unwrap(), scenarios: scenarios.to_owned(), bundled: bundled::library() };
        let mut sources: Vec<&str> = all.iter().filter_map(|scenario| scenario.preload.as_deref()).collect();
        sources.sort_unstable();
        sources.dedup();
        for source in sources {
            let mut gcc = Command::new("gcc");
            gcc.args(["-O1", "-shared", "-fPIC", "-o"])
                .arg(stage.library(source))
                .arg(scenarios.join(source))
                .args(["-ldl", "-lpthread"]);
            let built = gcc.output().unwrap_or_else(|error| panic!("gcc, which the tests need: {error}"));
            assert!(built.status.success(), "{source}: {}", String::from_utf8_lossy(&built.stderr));
        }
        stage
    }

    fn library(&self, source: &str) -> PathBuf {
        self.dir.path().join(source).with_extension("so")
    }

    /// What a scenario runs on: a Rust program has the SQLite that it links, and frameworks are tried with the system's only.
    pub fn sqlites(&self, scenario: &Scenario) -> &'static [Sqlite] {
        let own = scenario.source.extension().is_some_and(|extension| extension == "rs");
        if own || scenario.packages || scenario.stock || self.bundled.is_none() {
            &[Sqlite::Stock]
        } else {
            &[Sqlite::Stock, Sqlite::Bundled]
        }
    }

    /// Runs a scenario; its report, or `None` where packages that it needs are not there, which has been said.
    pub fn run(&self, scenario: &Scenario, sqlite: Sqlite) -> Result<Option<Value>, String> {
        let python = if scenario.packages { packages::python() } else { Some(PYTHON.to_owned()) };
        let Some(python) = python else { return Ok(None) };
        let place = Place::new();
        let locktrace = env!("CARGO_BIN_EXE_locktrace");
        let mut command = place.command("timeout");
        command.args(["60", locktrace, "run", "--"]).stdin(Stdio::null());
        if scenario.source.extension().is_some_and(|extension| extension == "rs") {
            command.arg(std::env::current_exe().unwrap()).args(["a_rust_program", "--exact", "--ignored", "--nocapture"]);
            command.env(PROGRAM, &scenario.name);
        } else {
            command.arg(python).arg(&scenario.source);
            if let Some(library) = self.bundled.as_ref().filter(|_| sqlite == Sqlite::Bundled) {
                command.env("LD_LIBRARY_PATH", library);
            }
        }
        command.env("LOCKTRACE_BIN", locktrace).env("PYTHONPATH", &self.scenarios).env("PYTHONDONTWRITEBYTECODE", "1");
        command.envs(&scenario.environment);
        if let Some(source) = &scenario.preload {
            command.env("LD_PRELOAD", self.library(source));
        }
        let (code, out, err) = parts(&command.output().unwrap());
        if code != Some(0) {
            return Err(format!("the program itself failed ({code:?}):\n{out}{err}"));
        }
        let (code, out, err) = parts(&place.locktrace(&["report", "--json", "locktrace-trace"]));
        if code != Some(0) {
            return Err(format!("the report failed ({code:?}): {err}"));
        }
        serde_json::from_str(&out).map(Some).map_err(|error| format!("the report is no JSON: {error}"))
    }
}
