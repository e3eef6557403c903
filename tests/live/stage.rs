//! A database, the processes that have it open, and the trace they write: the stage for a test of lock sequences.
//!
//! Each step ("A does this") returns what the trace shows of it, in the words of [`super::render`], with commas between. Records of the connection that
//! carries out the step come without its name; those of other connections with it, as `B: U(NONE)`.

use super::host::{Kind as Host, Process};
use super::render::render;
use super::replay::Replay;
use serde_json::{Value, json};
use shim::event::{FileKind, Kind};
use sqlite_locktrace::trace::{Event, Trace};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// See the module.
pub struct Stage {
    /// Which SQLite.
    pub host: Host,
    /// The records of the last step.
    pub last: Vec<Event>,
    /// The answer to the last step.
    pub answer: Value,
    processes: Vec<Process>,
    version: u64,
    /// Which process has which connection.
    places: HashMap<String, usize>,
    /// Connections by log and number.
    names: HashMap<(String, u32), String>,
    /// How many records of each log were seen.
    seen: HashMap<String, u64>,
    dir: tempfile::TempDir,
}

/// Plays a scenario on the system's SQLite through the extension, and on the bundled one through the library.
pub fn on_both(scenario: impl Fn(&mut Stage)) {
    for host in [Host::Stock, Host::Bundled] {
        on_each(host, &scenario);
    }
}

/// Plays it on one of them, and checks the trace as a whole.
pub fn on_each(host: Host, scenario: impl Fn(&mut Stage)) {
    println!("on {host:?}");
    let mut stage = Stage::new(host);
    scenario(&mut stage);
    stage.finish();
}

impl Stage {
    /// One process, no connection, no database yet.
    pub fn new(host: Host) -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let mut stage = Stage {
            host,
            last: Vec::new(),
            answer: Value::Null,
            processes: Vec::new(),
            version: 0,
            places: HashMap::new(),
            names: HashMap::new(),
            seen: HashMap::new(),
            dir,
        };
        stage.process();
        stage.version = stage.processes[0].version();
        stage
    }

    /// The directory of the database.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.dir.path().join("app.db")
    }

    /// The trace directory.
    pub fn traces(&self) -> PathBuf {
        self.dir.path().join("trace")
    }

    /// The trace as it is now.
    pub fn trace(&self) -> Trace {
        Trace::open(&self.traces()).unwrap()
    }

    /// SQLite's version, such as 3040001.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The process that has this connection.
    pub fn pid(&self, conn: &str) -> u32 {
        self.processes[self.places[conn]].pid()
    }

    /// Starts another process: connections opened from now on are in it. Returns its pid.
    pub fn process(&mut self) -> u32 {
        self.other_process(self.host)
    }

    /// Starts another process on this SQLite.
    pub fn other_process(&mut self, host: Host) -> u32 {
        let process = Process::host(host, &self.traces(), self.dir.path());
        self.processes.push(process);
        self.processes[self.processes.len() - 1].pid()
    }

    /// Kills the process that has this connection, as `kill -9` does. Its other connections are gone, too.
    pub fn kill(&mut self, conn: &str) {
        let place = self.places[conn];
        self.processes[place].kill();
        self.places.retain(|_, other| *other != place);
    }

    /// Opens a connection.
    pub fn open(&mut self, conn: &str) -> String {
        let path = self.database();
        self.open_at(conn, path.to_str().unwrap())
    }

    /// Opens a connection to this path or URI.
    pub fn open_at(&mut self, conn: &str, path: &str) -> String {
        self.places.insert(conn.to_owned(), self.processes.len() - 1);
        self.step_of(conn, json!({"do": "open", "conn": conn, "path": path}), None)
    }

    /// Runs one statement to its end.
    pub fn sql(&mut self, conn: &str, sql: &str) -> String {
        self.step_of(conn, json!({"do": "sql", "conn": conn, "sql": sql}), None)
    }

    /// Runs one statement to its end, on a new thread of this name.
    pub fn sql_on(&mut self, thread: &str, conn: &str, sql: &str) -> String {
        self.step_of(conn, json!({"do": "sql", "conn": conn, "sql": sql, "thread": thread}), None)
    }

    /// Runs one statement, which must fail with this extended result code.
    pub fn fails(&mut self, code: u64, conn: &str, sql: &str) -> String {
        self.step_of(conn, json!({"do": "sql", "conn": conn, "sql": sql}), Some(code))
    }

    /// Steps a statement once and leaves it busy.
    pub fn step(&mut self, conn: &str, sql: &str) -> String {
        self.step_of(conn, json!({"do": "step", "conn": conn, "sql": sql}), None)
    }

    /// Ends the statement of the newest [`Stage::step`] of this process.
    pub fn reset(&mut self, conn: &str) -> String {
        self.step_of(conn, json!({"do": "reset", "conn": conn}), None)
    }

    /// Closes a connection.
    pub fn close(&mut self, conn: &str) -> String {
        let calls = self.step_of(conn, json!({"do": "close", "conn": conn}), None);
        self.places.remove(conn);
        calls
    }

    /// The rows of the last statement.
    pub fn rows(&self) -> &Value {
        &self.answer["rows"]
    }

    fn step_of(&mut self, conn: &str, command: Value, fails: Option<u64>) -> String {
        let place = *self.places.get(conn).unwrap_or_else(|| panic!("{conn} is not open"));
        self.answer = self.processes[place].ask(&command);
        match fails {
            None => assert!(self.answer["error"].is_null(), "{command} failed: {}", self.answer),
            Some(code) => assert_eq!(self.answer["code"], code, "{command}: {}", self.answer),
        }
        self.news(conn)
    }

    /// What was recorded since the last step.
    fn news(&mut self, conn: &str) -> String {
        self.last.clear();
        if !self.traces().is_dir() {
            return String::new();
        }
        let trace = self.trace();
        let mut events: Vec<Event> = trace.events().unwrap().collect();
        // One connection at a time makes calls, so that their order is the order of their numbers.
        events.sort_by_key(|event| (event.log, event.number));
        let mut calls = Vec::new();
        for event in events {
            let (log, record) = (&trace.log(event.log).id, &event.record);
            let seen = self.seen.entry(log.clone()).or_default();
            if event.number < *seen {
                continue;
            }
            assert_eq!(event.number, *seen, "no record of log {log} is missing");
            *seen += 1;
            self.last.push(event);
            let key = (log.clone(), record.conn);
            if record.kind == Kind::OPEN && record.file_kind == FileKind::DATABASE {
                self.names.insert(key.clone(), conn.to_owned());
            }
            match self.names.get(&key) {
                _ if record.kind == Kind::HANDLE => {}
                Some(name) if name == conn => calls.push(render(record)),
                Some(name) => calls.push(format!("{name}: {}", render(record))),
                None => calls.push(format!("{:?}: {}", key, render(record))),
            }
        }
        calls.join(", ")
    }

    /// Closes what is open, and holds the whole trace against the oracle.
    pub fn finish(mut self) {
        let mut open: Vec<String> = self.places.keys().cloned().collect();
        open.sort();
        for conn in open {
            self.close(&conn);
        }
        let replay = Replay::of(&self.trace(), true);
        for (who, state) in &replay.states {
            if replay.closed.contains(who) {
                assert_eq!(*state, super::replay::State::NOTHING, "{who:?} at the end");
            }
        }
    }
}

/// Runs `locktrace` and returns what it printed.
#[cfg(feature = "cli")]
pub fn locktrace(arguments: &[&str]) -> Vec<u8> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_locktrace"));
    let output = command.args(arguments).env_remove("LOCKTRACE_DIR").output().unwrap();
    assert!(output.status.success(), "locktrace {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
