//! CSV tables for spreadsheets and data frames, in the format of RFC 4180 with a header, UTF-8, and lines that end with `\n`.
//!
//! An empty field is unknown or does not apply; no text is empty otherwise. Statements and names are written unchanged. Import the file as text:
//! for a spreadsheet, a cell that begins with `=`, `+`, `-` or `@` is a formula. Events and holds are written as the pass finds them, incidents
//! after it.
#![forbid(unsafe_code)]

use super::{Export, incidents, labels, table_values};
use crate::analysis::observer::ObservedHold;
use crate::analysis::order::instants::Times;
use crate::analysis::{Analysis, Blocker, ConnId, HoldEnd, Incident, Instant, Observer, Request};
use crate::report::words;
use crate::trace::{Event, LogId, Trace};
use shim::event::{Flags, KnownKind as Known, Level};
use std::fmt::Display;
use std::io::{self, Write};

/// Which table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CsvTable {
    /// Every record.
    Events,
    /// Every hold of a lock.
    Holds,
    /// Every incident with its main blocker.
    Incidents,
}

const EVENTS: &str =
    "log,n,time,duration_ns,pid,tid,thread,connection,forked,database,call,operation,lock,before,after,result,sql_hash,sql,arg";
const HOLDS: &str =
    "log,pid,tid,thread,connection,forked,database,lock,sql_hash,sql,since,until,held_ns,beginning,end,lifetime,record,end_record";
const INCIDENTS: &str = "id,database,lock,log,pid,tid,thread,connection,forked,sql_hash,sql,first,waited_ns,attempts,sleeps,outcome,cause,contributing,\
                         blocker_log,blocker_pid,blocker_tid,blocker_thread,blocker_connection,blocker_sql_hash,blocker_sql,blocker_lock,blocker_state,\
                         blocker_certain,blocker_held_before_ns,blocker_held_after_ns,more_blockers";

/// See the module.
pub struct Csv<'t, W: Write> {
    trace: &'t Trace,
    times: Times<'t>,
    table: CsvTable,
    out: CsvRows<W>,
    paths: labels::DatabasePaths,
    failed: Option<io::Error>,
}

impl<'t, W: Write> Csv<'t, W> {
    /// Writes the header.
    ///
    /// # Errors
    /// Errors of `out`.
    pub fn new(trace: &'t Trace, table: CsvTable, out: W) -> io::Result<Csv<'t, W>> {
        let mut out = CsvRows { out: csv::WriterBuilder::new().from_writer(out), text: String::new() };
        let header = match table {
            CsvTable::Events => EVENTS,
            CsvTable::Holds => HOLDS,
            CsvTable::Incidents => INCIDENTS,
        };
        header.split(',').try_for_each(|name| out.put(name))?;
        out.end()?;
        Ok(Csv { trace, times: Times::new(trace), table, out, paths: labels::DatabasePaths::default(), failed: None })
    }

    fn time(&self, log: LogId, at: Instant) -> Option<impl Display + use<W>> {
        self.times.real_ns(log, at).map(table_values::rfc3339)
    }

    fn event_row(&mut self, event: &Event, db: Option<u32>) -> io::Result<()> {
        let Event { log, number, ref record } = *event;
        let time = self.trace.real_ns(log, record.start).map(table_values::rfc3339);
        let forked = record.flags.has(Flags::FORKED);
        let who = ConnId { log, conn: record.conn, forked };
        let unmeasured = record.flags.has(Flags::ONE_CLOCK);
        let names = self.trace.log(log);
        let out = &mut self.out;
        out.put(&names.id)?;
        out.put(number)?;
        out.maybe(time)?;
        out.maybe(if unmeasured { None } else { self.trace.clock(log).to_ns(record.duration) })?;
        out.put(names.pid)?;
        out.thread(self.trace, who, record.tid)?;
        out.maybe((record.conn != 0).then_some(record.conn))?;
        out.put(forked)?;
        out.maybe(db.and_then(|db| self.paths.get(db)))?;
        out.put(record.kind)?;
        let unlock = record.flags.has(Flags::SHM_UNLOCK);
        match record.kind.known() {
            Some(Known::Lock) => (out.put("lock")?, out.put(record.requested)?),
            Some(Known::Unlock) => (out.put("unlock")?, out.put(record.requested)?),
            Some(Known::ShmLock) => {
                let mask = shim::event::slot_mask(record.shm_offset, record.shm_n);
                let request = Request::Shm { mask, exclusive: record.flags.has(Flags::SHM_EXCLUSIVE) };
                (out.put(if unlock { "unlock" } else { "lock" })?, out.put(request)?)
            }
            Some(Known::Open | Known::Close | Known::CheckReserved | Known::ShmMap | Known::ShmUnmap | Known::Sync)
            | Some(Known::Sleep | Known::Delete | Known::CkptStart | Known::CkptDone | Known::Wrote | Known::Handle)
            | None => (out.put("")?, out.put("")?),
        };
        out.maybe((record.conn != 0 || record.before != Level::NONE).then_some(record.before))?;
        out.maybe((record.conn != 0 || record.after != Level::NONE).then_some(record.after))?;
        out.put(record.rc)?;
        out.sql(self.trace, who, record.sql)?;
        out.maybe((record.arg != 0).then_some(record.arg))?;
        out.end()
    }

    fn hold_row(&mut self, span: &ObservedHold) -> io::Result<()> {
        let who = span.who;
        let since = self.time(who.log, span.since).filter(|_| span.since_known());
        let until = self.time(who.log, span.until);
        let ns = self.times.ns(who.log, span.since, span.until).filter(|_| span.since_known());
        let names = self.trace.log(who.log);
        let out = &mut self.out;
        out.put(&names.id)?;
        out.put(names.pid)?;
        out.thread(self.trace, who, span.tid)?;
        out.put(who.conn)?;
        out.put(who.forked)?;
        out.maybe(self.paths.get(span.db))?;
        out.put(span.lock)?;
        out.sql(self.trace, who, span.sql)?;
        out.maybe(since)?;
        out.maybe(until)?;
        out.maybe(ns)?;
        out.put(if span.seen { "seen" } else { "unseen" })?;
        out.put(match span.end {
            HoldEnd::Released(..) => "released",
            HoldEnd::Unseen(..) => "unseen",
            HoldEnd::Open => "open",
        })?;
        out.put(span.lifetime)?;
        out.put(span.number)?;
        out.maybe(span.end.number())?;
        out.end()
    }

    fn incident_row(&mut self, analysis: &Analysis<'_>, id: u64, incident: &Incident) -> io::Result<()> {
        let who = incident.who;
        let names = self.trace.log(who.log);
        let first = self.time(who.log, incident.first);
        let contributing: Vec<&str> = incident.contributing.iter().map(|item| item.id()).collect();
        let out = &mut self.out;
        out.put(id)?;
        out.maybe(incident.db.and_then(|db| analysis.databases.get(db as usize)?.paths.first()))?;
        out.put(incident.request)?;
        out.put(&names.id)?;
        out.put(names.pid)?;
        out.thread(self.trace, who, incident.tid)?;
        out.put(who.conn)?;
        out.put(who.forked)?;
        out.sql(self.trace, who, incident.sql)?;
        out.maybe(first)?;
        out.maybe(analysis.ns(who.log, incident.first, incident.until))?;
        out.put(incident.attempts)?;
        out.put(incident.sleeps)?;
        out.put(incident.end.id())?;
        out.put(incident.cause.id())?;
        out.put(contributing.join(" "))?;
        match incident.blockers.first() {
            Some(blocker) => self.blocker(analysis, blocker)?,
            None => {
                // A holder outside the trace: the kernel names its process, and nothing else of it is known.
                let untraced = words::untraced_holders(analysis, incident).next();
                out.put("")?;
                out.maybe(untraced.map(|holder| holder.pid))?;
                (0..5).try_for_each(|_| out.put(""))?;
                out.maybe(untraced.map(|holder| holder.lock()))?;
                out.maybe(untraced.map(|_| crate::analysis::State::Untraced.id()))?;
                (0..3).try_for_each(|_| out.put(""))?;
            }
        }
        let more = incident.blockers.len().saturating_sub(1) as u64 + u64::from(incident.more_blockers);
        self.out.put(more)?;
        self.out.end()
    }

    fn blocker(&mut self, analysis: &Analysis<'_>, blocker: &Blocker) -> io::Result<()> {
        let out = &mut self.out;
        match incidents::holding(analysis, blocker) {
            Some(holding) => {
                let names = self.trace.log(holding.who.log);
                out.put(&names.id)?;
                out.put(names.pid)?;
                out.thread(self.trace, holding.who, blocker.tid)?;
                out.put(holding.who.conn)?;
                out.sql(self.trace, holding.who, holding.sql)?;
                out.put(holding.lock)?;
            }
            None => (0..8).try_for_each(|_| out.put(""))?,
        }
        out.put(blocker.state.id())?;
        out.put(blocker.certain)?;
        out.maybe(blocker.held_before_ns)?;
        out.maybe(blocker.held_after_ns)
    }
}

impl<W: Write> Observer for Csv<'_, W> {
    fn event(&mut self, event: &Event, db: Option<u32>) {
        self.paths.saw(self.trace, event, db);
        if self.table == CsvTable::Events && self.failed.is_none() {
            self.failed = self.event_row(event, db).err();
        }
    }

    fn hold(&mut self, span: &ObservedHold) {
        if self.table == CsvTable::Holds && self.failed.is_none() {
            self.failed = self.hold_row(span).err();
        }
    }

    fn enough(&self) -> bool {
        self.failed.is_some()
    }
}

impl<W: Write> Export for Csv<'_, W> {
    fn finish(mut self: Box<Self>, analysis: &Analysis<'_>) -> io::Result<Vec<String>> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.table == CsvTable::Incidents {
            for (id, incident) in incidents::listed(analysis) {
                self.incident_row(analysis, id, incident)?;
            }
        }
        self.out.out.flush()?;
        Ok(Vec::new())
    }
}

/// Fields and rows.
struct CsvRows<W: Write> {
    out: csv::Writer<W>,
    text: String,
}

impl<W: Write> CsvRows<W> {
    fn put(&mut self, value: impl Display) -> io::Result<()> {
        use std::fmt::Write as _;
        self.text.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{value}");
        self.out.write_field(&self.text).map_err(output)
    }

    fn maybe(&mut self, value: Option<impl Display>) -> io::Result<()> {
        match value {
            Some(value) => self.put(value),
            None => self.put(""),
        }
    }

    /// Number and name.
    fn thread(&mut self, trace: &Trace, who: ConnId, tid: u32) -> io::Result<()> {
        self.maybe((tid != 0).then_some(tid))?;
        self.maybe(words::thread(trace, who, tid))
    }

    /// Hash and text.
    fn sql(&mut self, trace: &Trace, who: ConnId, hash: u64) -> io::Result<()> {
        self.maybe((hash != 0).then(|| format!("{hash:016x}")))?;
        self.maybe(words::sql_text(trace, who, hash))
    }

    fn end(&mut self) -> io::Result<()> {
        self.out.write_record(None::<&[u8]>).map_err(output)
    }
}

fn output(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}
