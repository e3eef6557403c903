//! The tables: their names, their columns, and the rows of one query.
#![forbid(unsafe_code)]

use super::cell::Value;
use super::events::Events;
use super::locks::Locks;
use super::status::Status;
use super::text::Words;
use crate::recorder::control;
use std::ffi::CStr;

/// A table: its name, its declaration, and the function that makes its rows.
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
        rows: || Some(Rows::Locks(Locks::copy()?)),
    },
    Table {
        name: c"locktrace_events",
        schema: c"CREATE TABLE x(number INTEGER, time TEXT, connection INTEGER, database TEXT, call TEXT, lock TEXT, result TEXT, \
                  duration REAL, after TEXT, thread_id INTEGER, sql TEXT, file TEXT, argument INTEGER, flags TEXT, sql_hash TEXT)",
        rows: || {
            Some(match control::process_log() {
                Some(log) => Rows::Events(Events::copy(log)?),
                None => Rows::None,
            })
        },
    },
    Table {
        name: c"locktrace_status",
        schema: c"CREATE TABLE x(recording TEXT, directory TEXT, log TEXT, records INTEGER, lost INTEGER, names_lost INTEGER, \
                  record_limit INTEGER, sql TEXT, open_files INTEGER, pid INTEGER, version TEXT)",
        rows: || Some(Rows::Status(Status::now())),
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
