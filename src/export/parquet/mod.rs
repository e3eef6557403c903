//! A dataset of Parquet files, partitioned by host and day, to which the traces of many hosts can be added.
//!
//! The tables `events`, `holds`, `incidents`, `hazards`, `statements` and `processes` are directories in Hive's layout:
//! `holds/host=web-1/day=2026-11-21/4711-….0.parquet`. `tables.rs` describes their columns, and so does each file. Rows are in the order in which the
//! pass over the trace finds them. Row groups have 65,536 rows, compressed with snappy; growing numbers are stored as differences. The day of a hold
//! is the day on which it began. Another export of the same trace replaces the first one (`dataset`).
//!
//! | file | idea |
//! | --- | --- |
//! | `tables` | the tables and the meaning of their columns |
//! | `part` | rows gathered by column and written as a row group |
//! | `dataset` | the file of each row, and the files that are replaced |
//! | `findings` | the rows from the finished analysis |
#![forbid(unsafe_code)]

mod dataset;
mod findings;
mod part;
mod tables;

use super::Export;
use super::table_values::{self, TableValues};
use super::unfinished::Unfinished;
use crate::analysis::observer::ObservedHold;
use crate::analysis::{Analysis, LockId, Observer, Request};
use crate::trace::{Event, LogId, Trace};
use dataset::{Dataset, day, place};
use part::Cell as Value;
use shim::event::Level;
use std::borrow::Cow;
use std::io;
use std::path::Path;

/// See the module.
pub struct Parquet<'t> {
    values: TableValues<'t>,
    dataset: Dataset,
    /// The path of each database.
    paths: Vec<Option<&'t str>>,
    /// The names of each mask of slots.
    slots: Vec<String>,
    places: [usize; 2],
    failed: Option<io::Error>,
}

impl<'t> Parquet<'t> {
    /// Adds to the dataset in this directory, which is created if it is missing. The files are `unfinished` until all are complete.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub fn create(trace: &'t Trace, to: &Path, unfinished: Unfinished) -> io::Result<Parquet<'t>> {
        let dataset = Dataset::new(to, trace, unfinished)?;
        let slots = (0..=u8::MAX).map(table_values::slots).collect();
        let places = [place(&tables::EVENTS), place(&tables::HOLDS)];
        Ok(Parquet { values: TableValues::new(trace), dataset, paths: Vec::new(), slots, places, failed: None })
    }

    fn path(&self, db: Option<u32>) -> Option<&'t str> {
        *self.paths.get(db? as usize)?
    }

    /// A database keeps the first name under which a record names it.
    fn meet(&mut self, event: &Event, db: Option<u32>) {
        let Some(db) = db.map(|db| db as usize) else { return };
        if self.paths.len() <= db {
            self.paths.resize(db + 1, None);
        }
        if self.paths[db].is_none() {
            self.paths[db] = self.values.trace.log(event.log).names.file(event.record.file).map(|name| name.path.text.as_str());
        }
    }

    fn thread(&self, log: LogId, tid: u32) -> Option<&'t str> {
        self.values.trace.log(log).names.thread(tid).map(|name| name.text.as_str())
    }
}

/// A known name, or one made for a number that has none.
#[expect(clippy::ptr_arg, reason = "borrowed and owned names are different cells")]
fn cell<'a>(name: &'a Cow<'static, str>) -> Value<'static, 'a> {
    match name {
        Cow::Borrowed(name) => Value::Lasting(name),
        Cow::Owned(name) => Value::Text(name),
    }
}

fn named(name: Option<&'static str>, other: impl std::fmt::Display) -> Cow<'static, str> {
    name.map_or_else(|| Cow::Owned(other.to_string()), Cow::Borrowed)
}

fn level(level: Level) -> Cow<'static, str> {
    named(level.name(), level)
}

/// A time in microseconds, for people, from one in nanoseconds.
fn micros(ns: Option<i64>) -> Option<i64> {
    ns.map(|ns| ns.div_euclid(1_000))
}

/// A number in which 0 means unknown.
fn some(number: u32) -> Option<i64> {
    (number != 0).then_some(i64::from(number))
}

impl Observer for Parquet<'_> {
    fn event(&mut self, event: &Event, db: Option<u32>) {
        if self.failed.is_some() {
            return;
        }
        self.meet(event, db);
        let record = &event.record;
        let log = self.values.trace.log(event.log);
        let began = self.values.began(event);
        let request = Request::of(record);
        let asked = table_values::asked(record);
        let (kind, file_kind) = (named(record.kind.name(), record.kind), named(record.file_kind.name(), record.file_kind));
        let result = named(record.rc.name().filter(|_| record.rc.0 == record.rc.primary()), record.rc);
        let (before, after) = (level(record.before), level(record.after));
        let flags = if record.flags.0 == 0 { String::new() } else { table_values::flags(record.flags) };
        let slots = |mask: u8| Value::Text(&self.slots[usize::from(mask)]);
        let row = [
            Value::Lasting(&log.id),
            Value::count(event.number),
            Value::int(micros(began)),
            Value::int(began),
            Value::int(self.values.took(event)),
            Value::Int(log.pid.into()),
            Value::int(some(record.tid)),
            Value::lasting(self.thread(event.log, record.tid)),
            Value::int(some(record.conn)),
            Value::lasting(self.path(db)),
            cell(&kind),
            cell(&file_kind),
            asked.as_deref().map_or(Value::Null, Value::Text),
            Value::lasting(request.map(|request| LockId::of(request).name())),
            Value::lasting(request.map(|request| table_values::mode(LockId::of(request)))),
            Value::Bool(request.is_some() && record.rc.is_busy()),
            cell(&before),
            cell(&after),
            slots(record.shm_shared),
            slots(record.shm_exclusive),
            cell(&result),
            Value::Text(&flags),
            Value::Hash(record.sql),
            Value::Int(record.arg as i64),
        ];
        self.failed = self.dataset.push(self.places[0], event.log, day(began), &row).err();
    }

    fn hold(&mut self, span: &ObservedHold) {
        if self.failed.is_some() {
            return;
        }
        let who = span.who;
        let log = self.values.trace.log(who.log);
        let since = self.values.at(who.log, span.since);
        let known = since.filter(|_| span.since_known());
        let row = [
            Value::Lasting(&log.id),
            Value::count(span.number),
            span.end.number().map_or(Value::Null, Value::count),
            Value::int(micros(known)),
            Value::int(known),
            Value::int(self.values.at(who.log, span.until)),
            Value::int(self.values.held(span)),
            Value::Lasting(table_values::ended(span.end)),
            Value::Bool(span.seen),
            Value::Bool(span.lifetime),
            Value::Int(log.pid.into()),
            Value::int(some(span.tid)),
            Value::lasting(self.thread(who.log, span.tid)),
            Value::Int(who.conn.into()),
            Value::lasting(self.path(Some(span.db))),
            Value::Lasting(span.lock.name()),
            Value::Lasting(table_values::mode(span.lock)),
            Value::Hash(span.sql),
        ];
        self.failed = self.dataset.push(self.places[1], who.log, day(since), &row).err();
    }

    fn enough(&self) -> bool {
        self.failed.is_some()
    }
}

impl Export for Parquet<'_> {
    fn finish(mut self: Box<Self>, analysis: &Analysis<'_>) -> io::Result<Vec<String>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let first = analysis.trace.logs().iter().map(|log| log.first.real_ns).min();
        findings::write(&mut self.dataset, &self.values, analysis)?;
        self.dataset.finish(day(first.and_then(table_values::integer)))?;
        Ok(Vec::new())
    }
}
