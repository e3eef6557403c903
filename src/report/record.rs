//! The line of one record in `locktrace cat`: time, connection, call and result, the state afterwards, duration, and the statement.
//!
//! The statement comes last and is cut to the rest of the width.
#![forbid(unsafe_code)]

use super::human::{cut, duration, pad_left};
use crate::trace::text::Clean;
use crate::trace::{Event, Trace};
use shim::event::{FileKind, Flags, KnownKind as Known, Level, Slot};
use shim::format::record::Record;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use unicode_width::UnicodeWidthStr;

/// Writes records as lines. Times count from the first record.
pub struct Lines {
    width: usize,
    /// The wall-clock time of the first record, if known, and its ticks.
    origin: Option<(Option<u64>, u64)>,
    many_files: bool,
}

impl Lines {
    /// A writer of lines of at most `width` columns.
    pub fn new(width: usize) -> Lines {
        Lines { width, origin: None, many_files: false }
    }

    /// Looks up the databases of this trace. If it has several, each line names its database.
    #[must_use]
    pub fn of(mut self, trace: &Trace) -> Lines {
        self.names_of(trace);
        self
    }

    /// Looks the databases up again in a trace that has grown.
    pub fn names_of(&mut self, trace: &Trace) {
        let mut paths = Vec::new();
        for log in trace.logs() {
            paths.extend(log.names.files().map(|file| file.path.as_bytes()));
        }
        paths.sort();
        paths.dedup();
        self.many_files = paths.len() > 1;
    }

    /// Writes one line.
    ///
    /// # Errors
    /// The errors of `out`.
    pub fn write(&mut self, trace: &Trace, event: &Event, out: &mut impl Write) -> io::Result<()> {
        let record = &event.record;
        let log = trace.log(event.log);
        let real = trace.real_ns(event.log, record.start);
        let (first_real, first_ticks) = *self.origin.get_or_insert((real, record.start));
        let mut line = String::with_capacity(self.width + 8);
        line.push_str(&pad_left(&since(real, first_real, record.start, first_ticks), 11));
        let who = match log.names.thread(record.tid) {
            Some(name) => format!("{}/{}", log.pid, name.text),
            None if record.tid == 0 || record.tid == log.pid => log.pid.to_string(),
            None => format!("{}/{}", log.pid, record.tid),
        };
        column(&mut line, 12, &cut(&who, 14));
        let conn = match (record.conn, record.flags.has(Flags::FORKED)) {
            (0, _) => "-".to_owned(),
            (conn, false) => format!("c{conn}"),
            (conn, true) => format!("c{conn}(forked)"),
        };
        column(&mut line, 27, &conn);
        column(&mut line, 31, &call(record));
        column(&mut line, 56, &state(record));
        let took = trace.clock(event.log).to_ns(record.duration).filter(|_| !record.flags.has(Flags::ONE_CLOCK));
        let took = took.map_or_else(|| "-".to_owned(), duration);
        column(&mut line, 80 - took.width(), &took);
        let mut last = String::new();
        if self.many_files && record.file != 0 {
            let name = log.names.file(record.file).map(|file| file.path.text.as_str());
            let name = name.map_or_else(|| format!("file {}", record.file), |path| base(path).to_owned());
            last.push_str(&cut(&name, 12));
            last.push(' ');
        }
        if record.sql != 0 {
            match log.names.sql(record.sql) {
                Some(sql) => last.push_str(&sql.text.text),
                None => drop(write!(last, "sql {:016x}", record.sql)),
            }
        } else if record.flags.has(Flags::SQL_UNKNOWN) {
            last.push_str("(statement not looked for)");
        }
        let line = if last.is_empty() { cut(line.trim_end(), self.width) } else { cut(&format!("{line} {last}"), self.width) };
        out.write_all(line.trim_end().as_bytes())?;
        out.write_all(b"\n")
    }
}

/// Adds a text at this column, or one blank after the present text if that reaches further.
fn column(line: &mut String, at: usize, text: &str) {
    let clean = Clean(text).to_string();
    if clean.is_empty() {
        return;
    }
    for _ in line.width()..at.max(line.width() + 1) {
        line.push(' ');
    }
    line.push_str(&clean);
}

fn base(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path)
}

/// Seconds since the first record, to the microsecond. Ticks if the length of a tick is unknown.
fn since(real: Option<u64>, first_real: Option<u64>, ticks: u64, first_ticks: u64) -> String {
    let (Some(now), Some(first)) = (real, first_real) else {
        return format!("{}t", ticks as i128 - i128::from(first_ticks));
    };
    let us = (i128::from(now) - i128::from(first)) / 1_000;
    let sign = if us < 0 { "-" } else { "+" };
    let us = us.unsigned_abs();
    format!("{sign}{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// The call, what it asked for, and how it ended: `xShmLock X WRITE = BUSY`.
pub fn call(record: &Record) -> String {
    let mut text = record.kind.to_string();
    match record.kind.known() {
        Some(Known::Lock | Known::Unlock) => drop(write!(text, " {}", record.requested)),
        Some(Known::ShmLock) => {
            let how = match (record.flags.has(Flags::SHM_UNLOCK), record.flags.has(Flags::SHM_EXCLUSIVE)) {
                (true, _) => "U",
                (false, true) => "X",
                (false, false) => "S",
            };
            let last = record.shm_offset.saturating_add(record.shm_n.saturating_sub(1));
            let _ = write!(text, " {how} {}", Slot(record.shm_offset));
            if last != record.shm_offset {
                let _ = write!(text, "..{}", Slot(last));
            }
        }
        Some(Known::Sleep) => drop(write!(text, " {}", duration(record.arg.saturating_mul(1_000)))),
        Some(Known::Wrote) => drop(write!(text, " {} {} B", record.file_kind, record.arg)),
        Some(Known::CheckReserved) => drop(write!(text, " {}", record.arg)),
        Some(Known::Open | Known::Close) if record.file_kind == FileKind::DATABASE => {}
        Some(Known::Open | Known::Close | Known::Sync | Known::Delete) => drop(write!(text, " {}", record.file_kind)),
        Some(Known::ShmMap | Known::ShmUnmap | Known::CkptStart | Known::CkptDone | Known::Handle) | None => {}
    }
    if !record.rc.is_ok() {
        let _ = write!(text, " = {}", record.rc);
    } else if record.flags.has(Flags::REDUNDANT) {
        text.push_str(" (redundant)");
    }
    text
}

/// The locks of the connection after the call: `SHARED S:READ1 X:WRITE`.
pub fn state(record: &Record) -> String {
    let mut parts = Vec::new();
    if record.after != Level::NONE {
        parts.push(record.after.to_string());
    }
    for (how, mask) in [("S", record.shm_shared), ("X", record.shm_exclusive)] {
        let slots: Vec<&str> = (0..8).filter(|slot| mask & (1 << slot) != 0).filter_map(|slot| Slot(slot).name()).collect();
        if !slots.is_empty() {
            parts.push(format!("{how}:{}", slots.join(",")));
        }
    }
    parts.join(" ")
}
