//! A SQLite database with every hold, refusal and incident, indexed, with views for the common questions. Plain `sqlite3` from 3.37 on reads it.
//!
//! Its schema explains itself: `.schema` shows the comments of `schema.sql`. Rows are written as the pass over the trace finds them, in one
//! transaction and without a journal, so a failure leaves an unusable file. It contains every record only on request, which makes it two to three
//! times as large. `PRAGMA user_version` is the version of the schema.
//!
//! | file | idea |
//! | --- | --- |
//! | `schema.sql`, `indexes.sql`, `views.sql` | the tables, their indexes, the views for common questions |
//! | `file` | opening the file, and which files may be replaced |
//! | `rows` | connections, threads and statements: a row each, at their first use |
//! | `findings` | the rows from the finished analysis: incidents, hazards, sums, losses |
#![forbid(unsafe_code)]

mod file;
mod findings;
mod rows;

pub use file::may_replace;

use super::Export;
use super::table_values::{self, TableValues, integer};
use crate::analysis::locks::activity::Work;
use crate::analysis::observer::{ObservedHold, Worked};
use crate::analysis::{Analysis, ConnId, Instant, LockId, Observer, Request};
use crate::trace::{Event, LogId, Trace};
use rows::RowNumbers;
use rusqlite::{Connection, Result, params};
use shim::event::Flags;
use std::io;
use std::path::Path;

/// The version of the schema.
const VERSION: i32 = 1;

const TABLES: &str = include_str!("schema.sql");
const INDEXES: &str = include_str!("indexes.sql");
const VIEWS: &str = include_str!("views.sql");

/// See the module.
pub struct Sqlite<'t> {
    values: TableValues<'t>,
    to: Connection,
    rows: RowNumbers,
    events: bool,
    failed: Option<io::Error>,
}

impl<'t> Sqlite<'t> {
    /// Begins a database in this file, which is empty or missing; `events` adds every record.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn create(trace: &'t Trace, to: &Path, events: bool) -> io::Result<Sqlite<'t>> {
        let to = file::open(to).and_then(|to| begin(&to).map(|()| to)).map_err(io::Error::other)?;
        Ok(Sqlite { values: TableValues::new(trace), to, rows: RowNumbers::default(), events, failed: None })
    }

    /// Writes rows, unless something has failed before.
    #[inline]
    fn write(&mut self, rows: impl FnOnce(&Connection, &mut RowNumbers, &TableValues<'t>) -> Result<()>) {
        if self.failed.is_none() {
            self.failed = rows(&self.to, &mut self.rows, &self.values).err().map(io::Error::other);
        }
    }

    fn finish_rows(&mut self, analysis: &Analysis<'_>) -> Result<()> {
        let to = &self.to;
        self.rows.finish(to)?;
        // Writing the proofs looks up holds.
        to.execute_batch(INDEXES)?;
        findings::write(to, analysis, &mut self.rows, self.events)?;
        to.execute_batch(VIEWS)?;
        to.execute_batch("ANALYZE; COMMIT")
    }
}

/// Creates the tables in a new transaction.
fn begin(to: &Connection) -> Result<()> {
    to.set_prepared_statement_cache_capacity(64);
    // No journal and no locks are needed: the file has its name only when it is complete, and an incomplete one is removed.
    to.execute_batch(
        "PRAGMA page_size = 8192; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE; PRAGMA foreign_keys = OFF;
         PRAGMA cache_size = -16384",
    )?;
    to.pragma_update(None, "application_id", file::APPLICATION)?;
    to.pragma_update(None, "user_version", VERSION)?;
    to.execute_batch("BEGIN")?;
    let mut tables = String::new();
    for part in TABLES.split_inclusive('}') {
        match part.split_once("{time:") {
            None => tables.push_str(part),
            Some((before, name)) => {
                let ns = format!("{}_ns", name.trim_end_matches('}'));
                let seconds = format!("strftime('%Y-%m-%dT%H:%M:%S', {ns} / 1000000000, 'unixepoch')");
                tables.push_str(&format!("{before}{seconds} || printf('.%09dZ', {ns} % 1000000000)"));
            }
        }
    }
    to.execute_batch(&tables)
}

impl RowNumbers {
    /// The rows of a connection and its thread.
    fn party(
        &mut self,
        to: &Connection,
        values: &TableValues<'_>,
        who: ConnId,
        tid: u32,
        db: Option<u32>,
    ) -> Result<(i64, Option<i64>)> {
        let name = values.trace.log(who.log).names.thread(tid).map(|name| name.text.as_str());
        Ok((self.connection(to, who, db)?, self.thread(to, who.log, tid, name)?))
    }
}

impl Observer for Sqlite<'_> {
    fn event(&mut self, event: &Event, db: Option<u32>) {
        let refused = if event.record.rc.is_busy() { Request::of(&event.record) } else { None };
        let all = self.events;
        self.write(|to, rows, values| {
            let record = &event.record;
            let who = ConnId { log: event.log, conn: record.conn, forked: record.flags.has(Flags::FORKED) };
            let connection = if record.conn == 0 { None } else { Some(rows.connection(to, who, db)?) };
            if refused.is_none() && !all {
                return Ok(());
            }
            let name = values.trace.log(event.log).names.thread(record.tid).map(|name| name.text.as_str());
            let thread = rows.thread(to, event.log, record.tid, name)?;
            let statement = rows.statement(record.sql);
            let (process, number, at) = (rows::process(event.log), integer(event.number), values.began(event));
            if let Some(request) = refused {
                let (lock, result) = (LockId::of(request), record.rc.to_string());
                to.prepare_cached("INSERT INTO refusals VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?.execute(params![
                    db,
                    connection,
                    process,
                    thread,
                    statement,
                    lock.name(),
                    table_values::mode(lock),
                    result,
                    number,
                    at
                ])?;
            }
            if all {
                to.prepare_cached(
                    "INSERT INTO events VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
                )?
                .execute(params![
                    process,
                    number,
                    db,
                    connection,
                    thread,
                    statement,
                    record.kind.to_string(),
                    record.file_kind.to_string(),
                    table_values::asked(record),
                    record.before.to_string(),
                    record.after.to_string(),
                    table_values::slots(record.shm_shared),
                    table_values::slots(record.shm_exclusive),
                    record.rc.to_string(),
                    table_values::flags(record.flags),
                    record.arg as i64,
                    at,
                    values.took(event)
                ])?;
            }
            Ok(())
        });
    }

    fn hold(&mut self, span: &ObservedHold) {
        self.write(|to, rows, values| {
            let (connection, thread) = rows.party(to, values, span.who, span.tid, Some(span.db))?;
            to.prepare_cached("INSERT INTO holds VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)")?
                .execute(params![
                    span.db,
                    connection,
                    thread,
                    rows.statement(span.sql),
                    span.lock.name(),
                    table_values::mode(span.lock),
                    integer(span.number),
                    span.end.number().and_then(integer),
                    values.at(span.who.log, span.since).filter(|_| span.since_known()),
                    values.at(span.who.log, span.until),
                    values.held(span),
                    table_values::ended(span.end),
                    span.seen,
                    span.lifetime
                ])?;
            Ok(())
        });
    }

    fn work(&mut self, work: &Worked) {
        self.write(|to, rows, values| {
            let (connection, thread) = rows.party(to, values, work.who, work.tid, work.db)?;
            to.prepare_cached("INSERT INTO work VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(params![
                work.db,
                connection,
                thread,
                what(work.work),
                integer(work.number),
                values.at(work.who.log, work.since),
                values.at(work.who.log, work.until)
            ])?;
            Ok(())
        });
    }

    fn wal(&mut self, who: ConnId, db: u32, at: Instant, bytes: u64) {
        self.write(|to, rows, values| {
            let connection = rows.connection(to, who, Some(db))?;
            to.prepare_cached("INSERT INTO wal_sizes VALUES (NULL, ?1, ?2, ?3, ?4)")?.execute(params![
                db,
                connection,
                i64::try_from(bytes).unwrap_or(i64::MAX),
                values.at(who.log, at)
            ])?;
            Ok(())
        });
    }

    fn enough(&self) -> bool {
        self.failed.is_some()
    }
}

fn what(work: Work) -> &'static str {
    match work {
        Work::SyncDatabase => "sync-database",
        Work::Sync => "sync",
        Work::Copy => "checkpoint",
        Work::Delete => "delete",
    }
}

impl Export for Sqlite<'_> {
    fn finish(mut self: Box<Self>, analysis: &Analysis<'_>) -> io::Result<Vec<String>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.finish_rows(analysis).map_err(io::Error::other)?;
        self.to.close().map_err(|(_, error)| io::Error::other(error))?;
        Ok(Vec::new())
    }
}

/// The logs of a trace with their ids.
fn logs(trace: &Trace) -> impl Iterator<Item = (LogId, &crate::trace::Log)> {
    (0..).map(LogId).zip(trace.logs())
}
