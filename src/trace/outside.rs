//! What `/proc/locks` said to a traced process about a lock it was refused: the `outside` lines of the names.
//!
//! Input: JSON objects. Output: [`Outside`]s, and the same objects again for an export. Called by the names.
#![forbid(unsafe_code)]

use super::names::{Object, object};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// One answer.
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
    /// Why it could not be asked, where it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Who held what was asked for. None of these and no reason: nobody that the process could see.
    #[serde(default)]
    pub holders: Vec<OutsideHolder>,
    /// Holders left out.
    #[serde(default)]
    pub more: u32,
}

/// A process that held a conflicting lock when the list was read, just after the refusal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OutsideHolder {
    /// Its number; -1 for a lock of an open file description, whose processes the kernel does not tell; 0 for another namespace's.
    pub pid: i64,
    /// `posix`, `ofd` or `flock`.
    #[serde(default)]
    pub how: String,
    /// `read` or `write`.
    #[serde(default)]
    pub mode: String,
    /// A level, or the slots that stand in the way.
    #[serde(default)]
    pub locks: Vec<String>,
    /// Whether the device agrees, too; otherwise it is only possible that this is the same file.
    #[serde(default)]
    pub exact: bool,
    /// It is the refused process itself: another connection in it, traced or not.
    #[serde(default)]
    pub own: bool,
    /// The name of its program, up to 15 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// The same in hexadecimal, where it was not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comm_bytes: Option<String>,
    /// The beginning of its command line; nothing where it could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<String>,
    /// When it started: `_SC_CLK_TCK` since boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<u64>,
}

impl Outside {
    /// Those that are certainly outside the refused process, and hold locks of this very file.
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
    /// What it held, as reports name locks: `RESERVED`, `X WRITE`, `S READ1+READ2`.
    pub fn lock(&self) -> String {
        let level = self.locks.iter().all(|lock| (1..=4).any(|level| shim::event::Level(level).name() == Some(lock)));
        let mode = match (level, self.mode.as_str()) {
            (true, _) => "",
            (_, "write") => "X ",
            _ => "S ",
        };
        format!("{mode}{}", if self.locks.is_empty() { "a lock".to_owned() } else { self.locks.join("+") })
    }

    /// Its command line, or the name of its program; empty where neither is known.
    pub fn command(&self) -> String {
        if self.argv.is_empty() { self.comm.clone().unwrap_or_default() } else { self.argv.join(" ") }
    }
}

/// Who it is: `pid 4711 sqlite3 app.db`.
impl fmt::Display for OutsideHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            0 => f.write_str("a process of another pid namespace"),
            -1 => f.write_str("an open file description (an OFD lock: the kernel does not tell whose)"),
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
