//! Programs that are watched while they run: children whose lines a test awaits, and a traced Python that executes the SQL it gets.
//!
//! Tests wait for a line or for an end, each with a deadline, never for a time to pass.

use super::{PYTHON, Place};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longer than anything that is awaited takes.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A child whose standard output comes line by line; ended when dropped.
pub struct Lines {
    pub child: Child,
    lines: Receiver<String>,
}

impl Lines {
    pub fn of(command: &mut Command) -> Lines {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Lines { child, lines }
    }

    /// The next line for which this holds.
    pub fn until(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + DEADLINE;
        let mut met = Vec::new();
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if is(&line) => return line,
                Ok(line) => met.push(line),
                Err(error) => panic!("{what} never came ({error}); instead: {met:#?}"),
            }
        }
    }

    /// Everything that is left, and the exit code.
    pub fn rest(mut self) -> (Vec<String>, Option<i32>) {
        let until = Instant::now() + DEADLINE;
        let mut rest = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            rest.push(line);
        }
        (rest, self.child.wait().unwrap().code())
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("/bin/kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A traced Python that executes the SQL it gets, and prints a line when it has.
pub struct Program {
    pub lines: Lines,
    input: ChildStdin,
}

impl Program {
    pub fn start(place: &Place, database: &str) -> Program {
        let code = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
for line in sys.stdin:
    db.execute(line)
    print('done', flush=True)
";
        let mut command = place.command("timeout");
        command.args(["120", env!("CARGO_BIN_EXE_locktrace"), "run", "--add", "-o", "trace", "--", PYTHON, "-c", code, database]);
        let mut lines = Lines::of(command.stdin(Stdio::piped()).stderr(Stdio::null()));
        let input = lines.child.stdin.take().unwrap();
        Program { lines, input }
    }

    /// Has it executed, and waits until it has been.
    pub fn execute(&mut self, sql: &str) {
        self.begin(sql);
        self.done();
    }

    /// Has it executed.
    pub fn begin(&mut self, sql: &str) {
        self.input.write_all(format!("{sql}\n").as_bytes()).unwrap();
    }

    /// Waits until that is done.
    pub fn done(&self) {
        self.lines.until("the end of a statement", |line| line == "done");
    }

    pub fn end(self) {
        drop(self.input);
        assert_eq!(self.lines.rest().1, Some(0));
    }
}
