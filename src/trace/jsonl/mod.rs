//! JSON lines: a whole trace as text, one object a line. The interchange format: `locktrace cat --json` writes it, and everything
//! that reads a trace directory reads it too and gives the same results.
//!
//! The order is: for each log a `log` line and its names lines; then every record of every log in time order; then for each log an
//! `end` line, and the problems. A reader skips keys and line types that it does not know. Ticks and hashes, which need 64 bits, are
//! strings; every other number is below 2^53 (or, for `arg`, a string where it is not).
//!
//! | `t` | keys |
//! | --- | --- |
//! | `log` | `log` (its id), `version` (of the format on disk), `pid`, `clock` (`tsc`, `cntvct`, `monotonic`, or `clock#N`), `boot_id` (32 hex digits), `capacity` (records), `first` and `last` (anchors: `ticks`, `monotonic_ns`, `real_ns`, decimal strings; `last` may be null), `head`, `lost_space`, `lost_names` (counts when the trace was opened) |
//! | `process`, `library`, `file`, `thread`, `sql`, `outside`, `recording`, `cap` | as in the names file (see `shim::format`), and `log` |
//! | `record` | [below](#records) |
//! | `end` | `log`, and what became of its record numbers: `head` = `read` + `overwritten` + `lost` + `empty` + `torn` + `missing` ([`super::Tally`]); from `locktrace follow` also + `skipped`, those from before it began |
//! | `problem` | `severity` (`notice`, `problem`), `path`, `byte` or `line`, `what` |
//!
//! # Records
//!
//! Keys marked * follow from others, from the log or from its names, and are not read back. A key that does not apply is left out.
//!
//! | key | what |
//! | --- | --- |
//! | `log`, `n` | which log, and the record's number there |
//! | `time`* | when the call began: UTC, RFC 3339 with nanoseconds; left out where the length of a tick is unknown |
//! | `start`, `duration` | when the call began (ticks, decimal string), and ticks until it returned |
//! | `ns`* | the duration in nanoseconds; left out where it was not measured or the length of a tick is unknown |
//! | `pid`*, `tid`, `thread`* | process, OS thread id, the thread's name |
//! | `conn` | the connection, counted from 1 in the process that opened it; left out where it is not known |
//! | `file`, `path`* | the database: its number in the names, and its path |
//! | `kind` | the call: `xLock`, `xShmLock`, … ([`shim::event::Kind`]) |
//! | `lock` | the level that `xLock` or `xUnlock` asks for |
//! | `slots` | the wal-index locks that `xShmLock` asks for, an array of names |
//! | `op`, `mode` | of `xShmLock`: `lock` or `unlock`; `SHARED` or `EXCLUSIVE` |
//! | `before`, `after` | the connection's lock on the database file before and after the call |
//! | `shm_shared`, `shm_exclusive` | the wal-index locks the connection holds after the call, arrays of names |
//! | `file_kind` | which of the connection's files: `database`, `journal`, `wal`, `shm` |
//! | `rc`, `result`* | SQLite's result code, and its name |
//! | `flags` | array of `redundant`, `one_clock`, `sql_unknown`, `forked`, `shared_cache`, `assumed` ([`shim::event::Flags`]) |
//! | `sql`, `text`* | hash of the running statement (16 hex digits), and its text |
//! | `arg` | by kind: open flags, bytes written, microseconds slept, … |
//!
//! `locktrace follow --json` writes the same lines as things become known: names between the records, `end` where a process has ended. A file
//! may have logs and names behind records, since it is read twice; on a stream they come too late to be used, and that is said.
//!
//! A level, slot, kind or file kind that this version has no name for is `lock#N`, `slot#N`, `kind#N` or `file#N`.
#![forbid(unsafe_code)]

mod record;
mod write;

pub use record::write as write_record;
pub use write::{write, write_end, write_log, write_name, write_problem};

use super::directory::{BadLines, Line, next_line, parse};
use super::names::{Names, Object, Taken};
use super::{ClockId, Error, Event, Log, LogId, Place, Problem, Severity, Summary, Tally, Trace};
use serde_json::Value;
use shim::format::header::{Anchor, ClockKind};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::BufRead;
use std::path::{Path, PathBuf};

/// A stream of JSON lines whose logs and names were read, and whose records come next.
pub(crate) struct Lines {
    name: PathBuf,
    reader: Box<dyn BufRead>,
    buffer: Vec<u8>,
    /// The number of the line in `buffer`.
    line: u64,
    /// The line in `buffer` was not used yet.
    held: bool,
    logs: HashMap<String, LogId>,
    bad: BadLines,
    /// Lines of logs and names that came too late to be used; `None` where they were looked for.
    late_names: Option<u64>,
    read: Vec<u64>,
    tallies: Vec<Option<Tally>>,
    problems: Vec<Problem>,
    done: bool,
}

/// What every record line that we write begins with.
const RECORD: &[u8] = br#"{"t":"record","#;

impl Lines {
    /// Reads up to the first record; and from `ahead`, which gives the same lines, the logs and names that come later.
    pub(crate) fn open(
        name: &Path,
        reader: Box<dyn BufRead>,
        ahead: Option<Box<dyn BufRead>>,
    ) -> Result<(Vec<Log>, Vec<Problem>, Lines), Error> {
        let mut lines = Lines {
            name: name.to_owned(),
            reader,
            buffer: Vec::new(),
            line: 0,
            held: false,
            logs: HashMap::new(),
            bad: BadLines::default(),
            late_names: if ahead.is_some() { None } else { Some(0) },
            read: Vec::new(),
            tallies: Vec::new(),
            problems: Vec::new(),
            done: false,
        };
        let mut logs: Vec<Log> = Vec::new();
        while lines.advance() {
            if lines.buffer.starts_with(RECORD) {
                lines.held = true;
                break;
            }
            let object = match parse(&lines.buffer) {
                Ok(object) => object,
                Err(what) => {
                    lines.note(what);
                    continue;
                }
            };
            match object.get("t").and_then(Value::as_str) {
                Some("record") => {
                    lines.held = true;
                    break;
                }
                Some("end" | "problem") => lines.trailer(&object),
                _ => lines.introduce(object, lines.line, &mut logs),
            }
        }
        if let Some(ahead) = ahead {
            lines.look_ahead(ahead, &mut logs);
        }
        if logs.is_empty() {
            let first = lines.problems.first().map(|problem| format!(" ({problem})")).unwrap_or_default();
            let what = format!("no `log` line before the first record; expected what `locktrace cat --json` writes{first}");
            return Err(Error::new(name, Place::Line(lines.line.max(1)), what));
        }
        lines.read = vec![0; logs.len()];
        lines.tallies.resize(logs.len(), None);
        Ok((logs, lines.problems.clone(), lines))
    }

    /// A log or a name, in this line.
    fn introduce(&mut self, object: Object, line: u64, logs: &mut Vec<Log>) {
        let taken = if object.get("t").and_then(Value::as_str) == Some("log") {
            log(&object, &self.name).and_then(|log| match self.logs.entry(log.id.clone()) {
                Entry::Occupied(known) => Err(format!("log {:?} was already described", known.key())),
                Entry::Vacant(free) => {
                    free.insert(LogId(logs.len() as u32));
                    logs.push(log);
                    Ok(Taken::Yes)
                }
            })
        } else {
            let id = object.get("log").and_then(Value::as_str).and_then(|log| self.logs.get(log));
            let known = id.ok_or_else(|| "expected \"log\", the id of a log described before".to_owned());
            known.and_then(|id| logs[id.0 as usize].names.take(object))
        };
        match taken {
            Ok(Taken::Yes) => {}
            Ok(Taken::Unknown(t)) => self.bad.unknown(&self.name, line, &t, &mut self.problems),
            Err(what) => self.bad.note(&self.name, line, what, &mut self.problems),
        }
    }

    /// Finds the logs and names that come behind the first record, where `locktrace follow` writes what it has not known before.
    fn look_ahead(&mut self, mut reader: Box<dyn BufRead>, logs: &mut Vec<Log>) {
        let mut buffer = Vec::new();
        // (What cannot be read is told when its turn comes.)
        for line in 1.. {
            match next_line(&mut reader, &mut buffer) {
                Ok(Line::Whole | Line::Torn) if line < self.line || buffer.starts_with(RECORD) => {}
                Ok(Line::Whole | Line::Torn) => match parse(&buffer) {
                    Ok(object) if !matches!(object.get("t").and_then(Value::as_str), None | Some("record" | "end" | "problem")) => {
                        self.introduce(object, line, logs);
                    }
                    _ => {}
                },
                Ok(Line::TooLong) => {}
                Ok(Line::End) | Err(_) => break,
            }
        }
    }

    /// Reads the next line that is not blank; `false` at the end.
    fn advance(&mut self) -> bool {
        if std::mem::take(&mut self.held) {
            return true;
        }
        while !self.done {
            self.line += 1;
            match next_line(&mut self.reader, &mut self.buffer) {
                Ok(Line::Whole) if self.buffer.trim_ascii().is_empty() => {}
                Ok(Line::Whole) => return true,
                Ok(Line::TooLong) => self.note("too long for a line of a trace".to_owned()),
                Ok(Line::End) => self.done = true,
                Ok(Line::Torn) => {
                    self.done = true;
                    // A text editor may have taken the last newline away: the line is whole if it parses.
                    if parse(&self.buffer).is_ok() {
                        return true;
                    }
                    self.note("torn last line".to_owned());
                }
                Err(error) => {
                    self.done = true;
                    self.problems.push(Error::io(&self.name, Place::Line(self.line), "read on", error).into_problem());
                }
            }
        }
        false
    }

    #[cold]
    fn note(&mut self, what: String) {
        self.bad.note(&self.name, self.line, what, &mut self.problems);
    }

    /// The next record.
    pub(crate) fn next(&mut self, trace: &Trace) -> Option<Event> {
        while self.advance() {
            if self.buffer.starts_with(RECORD) {
                match record::read(&self.buffer, &self.logs) {
                    Ok(event) => {
                        self.read[event.log.0 as usize] += 1;
                        return Some(event);
                    }
                    Err(what) => self.note(what),
                }
                continue;
            }
            let object = match parse(&self.buffer) {
                Ok(object) => object,
                Err(what) => {
                    self.note(what);
                    continue;
                }
            };
            match object.get("t").and_then(Value::as_str) {
                Some("record") => match record::read(&self.buffer, &self.logs) {
                    Ok(event) => {
                        self.read[event.log.0 as usize] += 1;
                        return Some(event);
                    }
                    Err(what) => self.note(what),
                },
                Some("end" | "problem") => self.trailer(&object),
                Some(_) => self.late_names = self.late_names.map(|lines| lines + 1),
                None => self.note("expected an object with a text \"t\"".to_owned()),
            }
        }
        let _ = trace;
        None
    }

    fn trailer(&mut self, object: &Object) {
        let read = match object.get("t").and_then(Value::as_str) {
            Some("end") => end(object).and_then(|(log, tally)| {
                let id = self.logs.get(&log).ok_or("expected \"log\", the id of a log described before")?.0 as usize;
                self.tallies.resize(self.tallies.len().max(id + 1), None);
                self.tallies[id] = Some(tally);
                Ok(())
            }),
            _ => problem(object).map(|problem| self.problems.push(problem)),
        };
        if let Err(what) = read {
            self.note(what);
        }
    }

    pub(crate) fn finish(mut self, trace: &Trace) -> Summary {
        let mut tallies = Vec::new();
        let mut cut = 0;
        for (index, log) in trace.logs.iter().enumerate() {
            let read = self.read[index];
            let tally = self.tallies[index].unwrap_or_else(|| {
                cut += 1;
                Tally { head: log.head.max(read), read, missing: log.head.saturating_sub(read), ..Tally::default() }
            });
            // Lines that were taken out of the export, or could not be read, are missing.
            let gone = tally.read.saturating_sub(read);
            let more = read.saturating_sub(tally.read);
            tallies.push(Tally { read, missing: tally.missing + gone, head: tally.head + more, ..tally });
        }
        if cut > 0 {
            let what =
                format!("the export ends without the `end` line of {cut} logs: it was cut short, and its last records are missing");
            self.problems.push(Problem::unusable(&self.name, Place::Line(self.line), what));
        }
        if let Some(lines @ 1..) = self.late_names {
            let what = format!(
                "{lines} lines that are neither records nor about the end come after the first record and are skipped; give them in a file, which is read twice"
            );
            self.problems.push(Problem::unusable(&self.name, Place::Whole, what));
        }
        self.bad.rest(&self.name, &mut self.problems);
        Summary { tallies, problems: self.problems, late: 0 }
    }
}

fn string<'a>(object: &'a Object, key: &str) -> Result<&'a str, String> {
    object.get(key).and_then(Value::as_str).ok_or_else(|| format!("expected a text {key:?}"))
}

fn number(object: &Object, key: &str) -> Result<u64, String> {
    object.get(key).and_then(Value::as_u64).ok_or_else(|| format!("expected a whole number {key:?}"))
}

fn anchor(value: &Value, key: &str) -> Result<Anchor, String> {
    let field = |name: &str| {
        let text = value.get(name).and_then(Value::as_str).and_then(|text| text.parse().ok());
        text.ok_or_else(|| format!("expected {key:?} with the decimal strings \"ticks\", \"monotonic_ns\" and \"real_ns\""))
    };
    Ok(Anchor { ticks: field("ticks")?, monotonic_ns: field("monotonic_ns")?, real_ns: field("real_ns")? })
}

fn log(object: &Object, name: &Path) -> Result<Log, String> {
    let version = number(object, "version")?;
    if version != u64::from(shim::format::VERSION) {
        return Err(format!("format version {version}; this locktrace reads version {}", shim::format::VERSION));
    }
    let boot_id = super::text::from_hex(string(object, "boot_id")?).and_then(|bytes| bytes.try_into().ok());
    let clock_kind = match string(object, "clock")? {
        "tsc" => ClockKind::Tsc,
        "cntvct" => ClockKind::Cntvct,
        "monotonic" => ClockKind::Monotonic,
        other => {
            let number = other.strip_prefix("clock#").and_then(|number| number.parse().ok());
            ClockKind::from_number(number.ok_or_else(|| format!("unknown clock {other:?}"))?)
        }
    };
    Ok(Log {
        id: string(object, "log")?.to_owned(),
        pid: u32::try_from(number(object, "pid")?).map_err(|_| "\"pid\" must fit 32 bits")?,
        clock_kind,
        boot_id: boot_id.ok_or("expected \"boot_id\", 32 hexadecimal digits")?,
        capacity: number(object, "capacity")?,
        first: anchor(object.get("first").unwrap_or(&Value::Null), "first")?,
        last: match object.get("last") {
            None | Some(Value::Null) => None,
            Some(value) => Some(anchor(value, "last")?),
        },
        head: number(object, "head")?,
        lost_space: number(object, "lost_space")?,
        lost_names: number(object, "lost_names")?,
        names: Names::default(),
        clock: ClockId(0),
        path: name.to_owned(),
    })
}

fn optional(object: &Object, key: &str) -> Result<u64, String> {
    if object.contains_key(key) { number(object, key) } else { Ok(0) }
}

fn end(object: &Object) -> Result<(String, Tally), String> {
    let tally = Tally {
        head: number(object, "head")?,
        read: number(object, "read")?,
        overwritten: number(object, "overwritten")?,
        lost: number(object, "lost")?,
        empty: number(object, "empty")?,
        torn: number(object, "torn")?,
        // What `follow` did not ask for is not in these lines.
        missing: number(object, "missing")?.saturating_add(optional(object, "skipped")?),
    };
    let parts = [tally.read, tally.overwritten, tally.lost, tally.empty, tally.torn, tally.missing];
    if parts.iter().try_fold(0u64, |sum, &part| sum.checked_add(part)) != Some(tally.head) {
        return Err("the counts do not add up to \"head\"".to_owned());
    }
    Ok((string(object, "log")?.to_owned(), tally))
}

fn problem(object: &Object) -> Result<Problem, String> {
    let severity = match string(object, "severity")? {
        "notice" => Severity::Notice,
        "problem" => Severity::Problem,
        other => return Err(format!("unknown severity {other:?}; expected \"notice\" or \"problem\"")),
    };
    let place = match (number(object, "byte"), number(object, "line")) {
        (Ok(byte), _) => Place::Byte(byte),
        (_, Ok(line)) => Place::Line(line),
        _ => Place::Whole,
    };
    Ok(Problem { severity, path: string(object, "path")?.to_owned(), place, what: string(object, "what")?.to_owned() })
}
