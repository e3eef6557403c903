//! A directory of its own for each test that runs programs, and `locktrace` in it.
#![allow(dead_code, clippy::unwrap_used)] // Each test binary uses its own part.

pub mod lines;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The system's Python.
pub const PYTHON: &str = "/usr/bin/python3";

/// A directory to run programs in, with a cache of its own.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for variable in [
            "LD_PRELOAD",
            "LOCKTRACE_DIR",
            "LOCKTRACE_SQL",
            "LOCKTRACE_LIMIT",
            "LOCKTRACE_NOT",
            "LOCKTRACE_NOTES",
            "CLICOLOR_FORCE",
        ] {
            command.env_remove(variable);
        }
        command.current_dir(self.0.path()).env("XDG_CACHE_HOME", self.path("cache"));
        command
    }

    /// `locktrace` with these arguments, after at most a minute.
    pub fn locktrace(&self, arguments: &[&str]) -> Output {
        let mut command = self.command("timeout");
        command.args(["60", env!("CARGO_BIN_EXE_locktrace")]).args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Compiles this program into `./main`; `false`, with a printed line, where that is not possible.
    pub fn built(&self, main: &str, flags: &[&str]) -> bool {
        std::fs::write(self.path("main.c"), main).unwrap();
        let output = self.command("gcc").args(["-o", "main", "main.c"]).args(flags).output();
        let built = output.is_ok_and(|output| output.status.success());
        if !built {
            println!("skipped: gcc cannot build a program with {flags:?} here");
        }
        built
    }

    /// Whether `python3` on the path cannot load extensions; `false`, with a printed line, where it can or is not there.
    pub fn has_plain_python(&self) -> bool {
        let probe = "import sqlite3; print(hasattr(sqlite3.Connection, 'enable_load_extension'))";
        let plain = self.command("python3").args(["-c", probe]).output().is_ok_and(|output| text(&output.stdout) == "False\n");
        if !plain {
            println!("skipped: the python3 on PATH has enable_load_extension, or is not there");
        }
        plain
    }

    /// The path of the loadable extension, as `locktrace extension` prints it.
    pub fn extension(&self) -> String {
        let (code, out, err) = parts(&self.locktrace(&["extension"]));
        assert_eq!(code, Some(0), "{err}");
        out.trim_end().to_owned()
    }

    /// `locktrace run -- …` into `./locktrace-trace`.
    pub fn run(&self, command: &[&str]) -> Output {
        self.locktrace(&[&["run", "--"], command].concat())
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Exit code, standard output, standard error.
pub fn parts(output: &Output) -> (Option<i32>, String, String) {
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}
