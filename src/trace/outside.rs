//! The answers of `/proc/locks` about refused locks, from the `outside` lines of the names.
#![forbid(unsafe_code)]

use super::names::{Object, object};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// The answer about one refused attempt.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outside {
    /// The connection that was refused, as in its record.
    pub conn: u32,
    /// When the refused call began, in ticks, as in its record.
    #[serde(with = "hex")]
    pub start: u64,
    /// Ticks from then to the answer.
    #[serde(default)]
    pub after: u64,
    /// How often the list was read.
    #[serde(default)]
    pub readings: u32,
    /// Why the list could not be read, if it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The holders of conflicting locks. None, and no failure: none that the process could see.
    #[serde(default)]
    pub holders: Vec<OutsideHolder>,
    /// How many holders were left out.
    #[serde(default)]
    pub more: u32,
}

/// A process that held a conflicting lock when the list was read, just after the refusal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OutsideHolder {
    /// Its process id; -1 for a lock of an open file description, whose processes the kernel does not report; 0 for a process of another pid
    /// namespace.
    pub pid: i64,
    /// `posix`, `ofd` or `flock`.
    #[serde(default)]
    pub how: String,
    /// `read` or `write`.
    #[serde(default)]
    pub mode: String,
    /// A level, or the conflicting slots.
    #[serde(default)]
    pub locks: Vec<String>,
    /// Whether the device is the same, too. Otherwise the file may be another one.
    #[serde(default)]
    pub exact: bool,
    /// Whether it is the refused process itself: another connection in it, traced or not.
    #[serde(default)]
    pub own: bool,
    /// The name of its program, up to 15 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// The name in hexadecimal, if it was not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comm_bytes: Option<String>,
    /// The beginning of its command line; empty if it could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<String>,
    /// When it started, in units of `_SC_CLK_TCK` since boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<u64>,
}

impl Outside {
    /// The holders that are certainly other processes and hold locks of this very file.
    pub fn others(&self) -> impl Iterator<Item = &OutsideHolder> {
        self.holders.iter().filter(|holder| holder.exact && !holder.own)
    }

    pub(crate) fn read(line: Object) -> Result<Outside, String> {
        serde_json::from_value(Value::Object(line)).map_err(|error| format!("not an `outside` line: {error}"))
    }

    pub(crate) fn line(&self) -> Object {
        object(serde_json::to_value(self).unwrap_or_default())
    }
}

impl OutsideHolder {
    /// The lock that it held, in the words of reports: `RESERVED`, `X WRITE`, `S READ1+READ2`.
    pub fn lock(&self) -> String {
        let level = self.locks.iter().all(|lock| (1..=4).any(|level| shim::event::Level(level).name() == Some(lock)));
        let mode = match (level, self.mode.as_str()) {
            (true, _) => "",
            (_, "write") => "X ",
            _ => "S ",
        };
        format!("{mode}{}", if self.locks.is_empty() { "a lock".to_owned() } else { self.locks.join("+") })
    }

    /// Its command line, or the name of its program; empty if both are unknown.
    pub fn command(&self) -> String {
        if self.argv.is_empty() { self.comm.clone().unwrap_or_default() } else { self.argv.join(" ") }
    }
}

/// The process: `pid 4711 sqlite3 app.db`.
impl fmt::Display for OutsideHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            0 => f.write_str("a process of another pid namespace"),
            -1 => f.write_str("an open file description (an OFD lock: the kernel does not report whose)"),
            pid => {
                let command = self.command();
                write!(f, "pid {pid}{}{command}", if command.is_empty() { "" } else { " " })
            }
        }
    }
}

/// Ticks as 16 hexadecimal digits.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:016x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let digits = String::deserialize(deserializer)?;
        u64::from_str_radix(&digits, 16).map_err(|_| D::Error::custom("expected \"start\", 16 hexadecimal digits"))
    }
}
