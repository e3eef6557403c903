//! A child process that carries out commands: one JSON object a line in, one line out.
//!
//! [`super::child`] and `tests/programs/host.py` understand the same commands. Every answer has a deadline, after which the child is killed and
//! the test fails.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How long one command may take; far more than any needs.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What the answers of a child begin with: the test harness of [`super::child`] prints lines of its own.
pub const MARK: &str = "@locktrace-answer ";

/// Which SQLite, and which way in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `/usr/bin/python3` and the system's SQLite, with the extension loaded once on a `:memory:` connection.
    Stock,
    /// rusqlite with its bundled SQLite, and `Builder::install`.
    Bundled,
}

/// The loadable extension that belongs to this test binary.
pub fn extension() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let deps = exe.parent().unwrap();
    let places = [deps.join("liblocktrace.so"), deps.parent().unwrap().join("liblocktrace.so")];
    let found = places.iter().find(|place| place.is_file());
    found.cloned().unwrap_or_else(|| {
        panic!("the loadable extension is not there (looked for {places:?}): `cargo build -p locktrace-shim` builds it, with the same profile")
    })
}

/// A program of the system that a test needs.
pub fn system(program: &str, package: &str) -> Command {
    assert!(Path::new(program).is_file(), "this test starts {program}, which is not there: install the package {package}");
    Command::new(program)
}

/// Starts a command that [`super::child`] runs, in a process of its own: this test binary again.
pub fn bundled(role: &str) -> Command {
    let mut command = again("live::child::run");
    command.env(super::child::ROLE, role);
    command
}

/// This test binary again, with only this one of its ignored tests.
pub fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

/// A child process, killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Process {
    /// Starts a host whose connections are traced into `trace`.
    pub fn host(kind: Kind, trace: &Path, dir: &Path) -> Process {
        let mut command = match kind {
            Kind::Stock => {
                let mut command = system("/usr/bin/python3", "python3");
                command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/host.py")).arg(extension());
                command
            }
            Kind::Bundled => bundled("host"),
        };
        command.env("LOCKTRACE_DIR", trace).env_remove("LOCKTRACE_LIMIT").env_remove("LOCKTRACE_SQL").current_dir(dir);
        Process::start(command)
    }

    /// Starts any command.
    pub fn start(mut command: Command) -> Process {
        let program = format!("{:?}", command.get_program());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
        let output = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        let reader = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some((_, answer)) = line.split_once(MARK)
                    && send.send(answer.to_owned()).is_err()
                {
                    break;
                }
            }
        });
        Process { input: child.stdin.take(), child, lines, reader: Some(reader) }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a command without waiting for its answer.
    pub fn send(&mut self, command: &Value) {
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{command}").unwrap_or_else(|error| panic!("the child {} is gone: {error}", self.child.id()));
        input.flush().unwrap();
    }

    /// The next answer, or `None` when the child has ended its output.
    pub fn next_line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                let _ = self.child.kill();
                panic!("the child {} did not answer within {DEADLINE:?}", self.child.id());
            }
        }
    }

    /// An answer that is there already.
    pub fn ready_line(&mut self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// The next answer, read.
    pub fn answer(&mut self) -> Value {
        let line = self.next_line().unwrap_or_else(|| panic!("the child {} ended without an answer", self.child.id()));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("not an answer: {line}: {error}"))
    }

    /// Sends a command and waits for its answer.
    pub fn ask(&mut self, command: &Value) -> Value {
        self.send(command);
        self.answer()
    }

    /// Kills it with SIGKILL, and returns when it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends its input and waits until it has ended by itself; the answers that were not read yet.
    pub fn finish(mut self) -> Vec<String> {
        drop(self.input.take());
        let mut rest = Vec::new();
        while let Some(line) = self.next_line() {
            rest.push(line);
        }
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the child ended with {status}");
        rest
    }

    /// Asks a host to end without closing anything first.
    pub fn quit(self) {
        self.finish();
    }

    /// Asks which SQLite it runs, as `sqlite3_libversion_number` has it.
    pub fn version(&mut self) -> u64 {
        self.ask(&json!({"do": "version"}))["version"].as_u64().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
