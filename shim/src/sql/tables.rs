//! The tables: their names and columns, and the rows of one query.
#![forbid(unsafe_code)]

use super::events::{Events, events};
use super::locks::{Locks, locks};
use super::status::{Status, status};
use super::text::Words;
use std::ffi::CStr;

/// One cell; a text is the row's, or that of the [`Words`] it was put into.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Value<'a> {
    Null,
    Integer(i64),
    Real(f64),
    /// UTF-8, as a rule: a path or a statement is what the program made it.
    Text(&'a [u8]),
}

/// A table: what SQLite is told of it, and where its rows come from.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static CStr,
    pub(super) schema: &'static CStr,
    /// `None` where there is no memory.
    pub(super) rows: fn() -> Option<Rows>,
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
    Locks(Locks),
    Events(Events),
    Status(Status),
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        match self {
            Rows::None => 0,
            Rows::Locks(locks) => locks.len(),
            Rows::Events(events) => events.len(),
            Rows::Status(_) => 1,
        }
    }

    /// A cell; `words` is empty memory for it.
    pub(super) fn value<'a>(&'a mut self, row: usize, column: usize, words: &'a mut Words) -> Value<'a> {
        match self {
            Rows::None => Value::Null,
            Rows::Locks(locks) => locks.value(row, column, words),
            Rows::Events(events) => events.value(row, column, words),
            Rows::Status(status) => status.value(column),
        }
    }
}

pub(super) fn integer(number: impl TryInto<i64>) -> Value<'static> {
    number.try_into().map_or(Value::Null, Value::Integer)
}

pub(super) fn nonzero(number: u32) -> Value<'static> {
    if number == 0 { Value::Null } else { integer(number) }
}

/// Nanoseconds, as seconds.
pub(super) fn seconds(ns: Option<u64>) -> Value<'static> {
    ns.map_or(Value::Null, |ns| Value::Real(ns as f64 / 1e9))
}

pub(super) fn text(text: Option<&[u8]>) -> Value<'_> {
    text.map_or(Value::Null, Value::Text)
}

/// What `fill` says; null where that is nothing.
pub(super) fn words(words: &mut Words, fill: impl FnOnce(&mut Words)) -> Value<'_> {
    fill(words);
    text(Some(words.bytes()).filter(|bytes| !bytes.is_empty()))
}

/// The hash of a statement; null for none.
pub(super) fn hash(into: &mut Words, sql: u64) -> Value<'_> {
    words(into, |into| {
        if sql != 0 {
            into.part("", format_args!("{sql:016x}"));
        }
    })
}
