//! The tables: their columns, and their rows as they are when a query asks.
//!
//! In come copies of what the VFS and the recorder know; out go [`Value`]s. Nothing here calls SQLite.
#![forbid(unsafe_code)]

use super::text::{held_slots, slots, state, time};
use crate::event::{Flags, Kind, Level, slot_mask};
use crate::format::record::Record;
use crate::recorder::control::{self, Status};
use crate::recorder::{recent, texts, thread_name};
use crate::vfs::live::{self, Since};
use std::collections::HashMap;
use std::ffi::CStr;

/// One cell.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) enum Value {
    #[default]
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
}

/// A table: what SQLite is told of it, and where its rows come from.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static CStr,
    pub(super) schema: &'static CStr,
    pub(super) rows: fn() -> Result<Rows, String>,
}

/// All of them.
pub(super) static TABLES: [Table; 3] = [
    Table {
        name: c"locktrace_locks",
        schema: c"CREATE TABLE x(connection INTEGER, database TEXT, pid INTEGER, lock TEXT, slots TEXT, held REAL, since TEXT, \
                  thread_id INTEGER, thread TEXT, sql TEXT, reading REAL, refused TEXT, refused_ago REAL, refused_sql TEXT, flags TEXT, \
                  sql_hash TEXT, handle INTEGER, vfs TEXT, sqlite TEXT)",
        rows: locks,
    },
    Table {
        name: c"locktrace_events",
        schema: c"CREATE TABLE x(number INTEGER, time TEXT, connection INTEGER, database TEXT, call TEXT, lock TEXT, result TEXT, \
                  duration REAL, after TEXT, thread_id INTEGER, sql TEXT, file TEXT, argument INTEGER, flags TEXT, sql_hash TEXT)",
        rows: events,
    },
    Table {
        name: c"locktrace_status",
        schema: c"CREATE TABLE x(recording TEXT, directory TEXT, log TEXT, records INTEGER, lost INTEGER, names_lost INTEGER, \
                  record_limit INTEGER, sql TEXT, open_files INTEGER, pid INTEGER, version TEXT)",
        rows: status,
    },
];

/// The rows of one query.
#[derive(Debug, Default)]
pub(super) enum Rows {
    #[default]
    None,
    /// Every cell.
    Cells(Vec<Vec<Value>>),
    /// Records, put into words one cell at a time.
    Events(Events),
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        match self {
            Rows::None => 0,
            Rows::Cells(rows) => rows.len(),
            Rows::Events(events) => events.records.len(),
        }
    }

    pub(super) fn value(&self, row: usize, column: usize) -> Value {
        match self {
            Rows::None => Value::Null,
            Rows::Cells(rows) => rows.get(row).and_then(|row| row.get(column)).cloned().unwrap_or_default(),
            Rows::Events(events) => events.value(row, column),
        }
    }
}

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

fn integer(number: impl TryInto<i64>) -> Value {
    number.try_into().map_or(Value::Null, Value::Integer)
}

fn optional<T>(value: Option<T>, into: impl FnOnce(T) -> Value) -> Value {
    value.map_or(Value::Null, into)
}

fn seconds(ns: u64) -> Value {
    Value::Real(ns as f64 / 1e9)
}

fn hash(sql: u64) -> Value {
    if sql == 0 { Value::Null } else { text(format!("{sql:016x}")) }
}

fn nonzero(number: u32) -> Value {
    if number == 0 { Value::Null } else { integer(number) }
}

fn locks() -> Result<Rows, String> {
    let all = live::connections();
    let holds = |row: &live::Connection| [row.writing, row.reading, row.refused.map(|refused| refused.last)];
    let known = texts(all.iter().flat_map(holds).flatten().map(|since| since.sql));
    let sql = |sql: u64| optional(known.get(&sql), |sql| text(sql.as_str()));
    let row = |row: &live::Connection| {
        // What is worth naming: what keeps others out, or else what only reads.
        let hold = row.writing.or(row.reading);
        let of = |get: &dyn Fn(Since) -> Value| optional(hold, get);
        let flags = [(row.forked, "forked"), (row.shared_cache, "shared_cache")];
        let flags: Vec<&str> = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
        let wanted = |refused: &live::Refused| match slots(refused.slots, if refused.exclusive { "X" } else { "S" }) {
            Some(slots) => slots,
            None => refused.level.to_string(),
        };
        vec![
            integer(row.number),
            text(row.path.to_string_lossy()),
            integer(std::process::id()),
            text(row.level.to_string()),
            optional(held_slots(row.shared, row.exclusive), text),
            of(&|hold| optional(hold.ago_ns, seconds)),
            of(&|hold| optional(hold.real_ns, |ns| text(time(ns)))),
            of(&|hold| nonzero(hold.tid)),
            of(&|hold| optional(thread_name(hold.tid), text)),
            of(&|hold| sql(hold.sql)),
            optional(row.reading.and_then(|reading| reading.ago_ns), seconds),
            optional(row.refused.as_ref().map(wanted), text),
            optional(row.refused.and_then(|refused| refused.last.ago_ns), seconds),
            optional(row.refused, |refused| sql(refused.last.sql)),
            if flags.is_empty() { Value::Null } else { text(flags.join(",")) },
            of(&|hold| hash(hold.sql)),
            integer(row.handle as i64),
            text(row.vfs.to_string_lossy()),
            text(row.sqlite),
        ]
    };
    Ok(Rows::Cells(all.iter().map(row).collect()))
}

fn status() -> Result<Rows, String> {
    let Status { recording, dir, log, records, lost, lost_names, limit, sql } = control::status();
    Ok(Rows::Cells(vec![vec![
        text(recording.name()),
        text(dir.to_string_lossy()),
        optional(log, |log| text(log.to_string_lossy())),
        integer(records),
        integer(lost),
        integer(lost_names),
        integer(limit),
        text(sql.name()),
        integer(live::open_files() as u64),
        integer(std::process::id()),
        text(env!("CARGO_PKG_VERSION")),
    ]]))
}

/// Records with the names for their numbers.
#[derive(Debug, Default)]
pub(super) struct Events {
    records: Vec<(u64, Record)>,
    databases: HashMap<u32, String>,
    sql: HashMap<u64, String>,
    clock: live::Clock,
}

fn events() -> Result<Rows, String> {
    let Some(recent) = recent().map_err(|error| error.to_string())? else { return Ok(Rows::None) };
    let sql = texts(recent.records.iter().map(|(_, record)| record.sql));
    let databases = recent.databases.into_iter();
    let databases = databases.map(|(number, path)| (number, String::from_utf8_lossy(&path).into_owned())).collect();
    Ok(Rows::Events(Events { records: recent.records, databases, sql, clock: live::Clock::now() }))
}

impl Events {
    fn value(&self, row: usize, column: usize) -> Value {
        let Some((number, record)) = self.records.get(row) else { return Value::Null };
        match column {
            0 => integer(*number),
            1 => optional(self.clock.real_ns(record.start), |ns| text(time(ns))),
            2 => nonzero(record.conn),
            3 => optional(self.databases.get(&record.file), |path| text(path.as_str())),
            4 => text(record.kind.to_string()),
            5 => optional(asked(record), text),
            6 => {
                if tells_result(record.kind) {
                    text(record.rc.to_string())
                } else {
                    Value::Null
                }
            }
            7 if record.flags.has(Flags::ONE_CLOCK) => Value::Null,
            7 => optional(self.clock.ns(record.duration), seconds),
            8 => text(state(record.after, record.shm_shared, record.shm_exclusive)),
            9 => integer(record.tid),
            10 => optional(self.sql.get(&record.sql), |sql| text(sql.as_str())),
            11 => text(record.file_kind.to_string()),
            12 => integer(record.arg as i64),
            13 if record.flags == Flags(0) => Value::Null,
            13 => text(record.flags.names().collect::<Vec<_>>().join(",")),
            14 => hash(record.sql),
            _ => Value::Null,
        }
    }
}

/// Whether a result code means anything in a record of this kind.
fn tells_result(kind: Kind) -> bool {
    !matches!(kind, Kind::SLEEP | Kind::WROTE | Kind::HANDLE | Kind::CKPT_START | Kind::CKPT_DONE)
}

/// What a call asked for: a level, or slots (`S` shared, `X` exclusive, `U` given back).
fn asked(record: &Record) -> Option<String> {
    match record.kind {
        Kind::LOCK | Kind::UNLOCK => Some(Level(record.requested.0).to_string()),
        Kind::CHECK_RESERVED => Some(Level::RESERVED.to_string()),
        Kind::SHM_LOCK => {
            let how = match record.flags {
                flags if flags.has(Flags::SHM_UNLOCK) => "U",
                flags if flags.has(Flags::SHM_EXCLUSIVE) => "X",
                _ => "S",
            };
            slots(slot_mask(record.shm_offset, record.shm_n), how)
        }
        _ => None,
    }
}
