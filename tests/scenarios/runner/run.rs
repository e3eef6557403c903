//! Runs one scenario under `locktrace run`, and asks for its report.
//!
//! In comes a [`Scenario`]; out goes the report's JSON, or why there is none. Each run has a directory, a trace and processes of its
//! own, and at most a minute. Called by `tests/scenarios.rs`.

use super::expect::Scenario;
use crate::packages;
use crate::place::{PYTHON, Place, parts};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names the Rust program that this test binary is to be, when it is started as a scenario.
pub const PROGRAM: &str = "LOCKTRACE_SCENARIO_PROGRAM";
/// A shared SQLite library, to run the Python scenarios with another than the system's.
pub const LIBRARY: &str = "LOCKTRACE_SCENARIO_SQLITE";

/// What the scenarios share: the compiled preload.
pub struct Stage {
    dir: tempfile::TempDir,
    scenarios: PathBuf,
}

impl Stage {
    /// Compiles what scenarios preload.
    pub fn new(scenarios: &Path, all: &[Scenario]) -> Stage {
        let stage = Stage { dir: tempfile::tempdir().unwrap(), scenarios: scenarios.to_owned() };
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

    /// Runs a scenario; its report, or `None` where packages that it needs are not there, which has been said.
    pub fn run(&self, scenario: &Scenario) -> Result<Option<Value>, String> {
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
            if let Some(library) = std::env::var_os(LIBRARY).map(PathBuf::from) {
                command.env("LD_LIBRARY_PATH", library.parent().unwrap());
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
