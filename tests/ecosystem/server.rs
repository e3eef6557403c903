//! A web server under `locktrace run`, on a Unix socket in a place of its own, and requests to it.
//!
//! Nothing of it outlives the test: `timeout` ends the server if nobody else does.

use crate::place::Place;
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take; far more than it needs.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for a condition.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A server that listens on `./socket`.
pub struct Server<'a> {
    place: &'a Place,
    run: Child,
}

impl<'a> Server<'a> {
    /// Starts `locktrace run -- sh -c LINE` with `tests/programs` on Python's path, and waits until the server takes connections.
    pub fn start(place: &'a Place, line: &str) -> Server<'a> {
        let mut command = place.command(env!("CARGO_BIN_EXE_locktrace"));
        command.args(["run", "--", "timeout", "--foreground", "90", "sh", "-c", line]);
        command.env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs")).env("PYTHONDONTWRITEBYTECODE", "1");
        let log = |name: &str| Stdio::from(File::create(place.path(name)).unwrap());
        let run = command.stdin(Stdio::null()).stdout(log("stdout")).stderr(log("stderr")).spawn().unwrap();
        let mut server = Server { place, run };
        until("the server listens", || {
            let ended = server.run.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended with {ended:?}: {}", server.said());
            UnixStream::connect(place.path("socket")).is_ok()
        });
        server
    }

    /// What it wrote.
    fn said(&self) -> String {
        let file = |name| std::fs::read_to_string(self.place.path(name)).unwrap_or_default();
        format!("{}{}", file("stdout"), file("stderr"))
    }

    /// The JSON that a path answers with.
    pub fn get(&self, path: &str) -> Value {
        let mut stream = UnixStream::connect(self.place.path("socket")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{path}: {error}: {}", self.said()));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {answer:?}: {}", self.said()));
        assert!(head.split(' ').nth(1) == Some("200"), "{path}: {answer}\n{}", self.said());
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {answer:?}"))
    }

    /// Sends SIGTERM to `locktrace run`, as a service manager does; its exit code and what was written.
    pub fn stop(mut self) -> (Option<i32>, String) {
        self.signal("TERM");
        let mut status = None;
        until("the server ends", || {
            status = self.run.try_wait().unwrap();
            status.is_some()
        });
        (status.unwrap().code(), self.said())
    }

    fn signal(&self, signal: &str) {
        let kill = std::process::Command::new("kill").args([&format!("-{signal}"), &self.run.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        if let Ok(None) = self.run.try_wait() {
            self.signal("TERM");
            let _ = self.run.wait();
        }
    }
}
