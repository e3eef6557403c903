//! The content of a trace, through the JSON that `locktrace report` and `locktrace cat` print.

use crate::place::{Place, parts};
use serde_json::Value;

/// See the module.
pub struct Seen {
    /// `locktrace report --json`.
    pub report: Value,
    /// The lines of `locktrace cat --json` that are records.
    pub records: Vec<Value>,
    /// The other lines: processes, libraries, files, statements.
    pub names: Vec<Value>,
}

impl Seen {
    /// Reads the trace; nothing may be lost, and nothing wrong with it.
    pub fn of(place: &Place) -> Seen {
        let json = |arguments: &[&str]| {
            let (code, out, err) = parts(&place.locktrace(arguments));
            assert_eq!(code, Some(0), "locktrace {arguments:?}: {err}");
            out
        };
        let report: Value = serde_json::from_str(&json(&["report", "--json", "locktrace-trace"])).unwrap();
        assert_eq!(report["problems"], Value::Array(vec![]), "{report}");
        let lines = json(&["cat", "--json", "locktrace-trace"]);
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (records, names) = lines.into_iter().partition(|line| line["t"] == "record");
        let seen = Seen { records, names, report };
        for log in seen.logs() {
            assert_eq!((&log["lost"], &log["torn"], &log["missing"]), (&0.into(), &0.into(), &0.into()), "{log}");
        }
        seen
    }

    /// One for each process that opened a database.
    pub fn logs(&self) -> &[Value] {
        self.report["logs"].as_array().unwrap()
    }

    /// The process numbers of the logs, ascending.
    pub fn pids(&self) -> Vec<u64> {
        let mut pids: Vec<u64> = self.logs().iter().map(|log| log["pid"].as_u64().unwrap()).collect();
        pids.sort_unstable();
        pids
    }

    /// The records of one process.
    pub fn of_pid(&self, pid: u64) -> impl Iterator<Item = &Value> {
        self.records.iter().filter(move |record| record["pid"] == pid)
    }

    /// The statements with which a process took RESERVED or WRITE, in order.
    pub fn writes(&self, pid: u64) -> Vec<String> {
        self.of_pid(pid)
            .filter(|record| took_write(record))
            .map(|record| record["text"].as_str().unwrap_or("").to_owned())
            .collect()
    }

    /// What a process says of itself.
    pub fn process(&self, pid: u64) -> &Value {
        let mut lines = self.names.iter().filter(|line| line["t"] == "process" && line["pid"] == pid);
        lines.next().unwrap_or_else(|| panic!("no process {pid}"))
    }

    /// The one refusal of `victim` while `holder` had the lock, taken with a statement that begins like this.
    pub fn refusal(&self, victim: u64, holder: u64, sql: &str) -> &Value {
        let by = |by: &Value| by["pid"] == holder && by["text"].as_str().is_some_and(|text| text.starts_with(sql));
        let refusals = self.report["refusals"].as_array().unwrap().iter();
        let mut refusals =
            refusals.filter(|one| one["pid"] == victim && one["holders"].as_array().unwrap().iter().any(by)).collect::<Vec<_>>();
        assert_eq!(refusals.len(), 1, "{victim} refused by {holder}: {}", self.report["refusals"]);
        refusals.remove(0)
    }

    /// There is one incident, of this cause, and its fix says this, among the rest.
    pub fn advises(&self, cause: &str, advice: &str) {
        let [incident] = &self.report["incidents"].as_array().unwrap()[..] else { panic!("one: {}", self.report["incidents"]) };
        assert_eq!(incident["cause"], cause, "{incident}");
        assert!(incident["fix"].as_str().unwrap().contains(advice), "{advice}: {incident}");
    }

    /// The first process had a module of this name loaded.
    pub fn had_loaded(&self, name: &str) {
        let process = self.names.iter().find(|line| line["t"] == "process").unwrap();
        let modules = process["modules"].as_array().unwrap().iter().filter_map(Value::as_str);
        assert!(modules.map(|path| path.rsplit('/').next().unwrap_or(path)).any(|file| file == name), "{process}");
    }

    /// The SQLite version behind a record.
    pub fn version(&self, record: &Value) -> &str {
        let line = |kind: &str, key: &str, number: &Value| {
            let of_log = |line: &&Value| line["t"] == kind && line["log"] == record["log"] && line[key] == *number;
            self.names.iter().find(of_log).unwrap_or_else(|| panic!("no {kind} {number}: {record}"))
        };
        line("library", "lib", &line("file", "file", &record["file"])["lib"])["sqlite"].as_str().unwrap()
    }
}

/// Whether a record took RESERVED or WRITE.
pub fn took_write(record: &Value) -> bool {
    let locked = record["kind"] == "xLock" && record["lock"] == "RESERVED"
        || record["kind"] == "xShmLock" && record["op"] == "lock" && record["slots"] == serde_json::json!(["WRITE"]);
    locked && record["rc"] == 0
}
