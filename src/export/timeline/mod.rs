//! A timeline for viewers, in any format: rows for connections, slices for holds, work and waits, counters for databases.
//!
//! An observer of the pass draws it by calls of a `TimelineFormat`. Each connection of a process has these rows:
//!
//! | row | slices |
//! | --- | --- |
//! | `c1 app.db` | the SHARED lock that a connection in WAL mode keeps for its whole life |
//! | `locks` | every other hold, nested where one lies inside another; a second row where they cross |
//! | `work` | syncs, checkpoints that copy, deletions of a journal or WAL |
//! | `waits` | every incident: from its first attempt to its end |
//! | `blocking` | the holds that blocked others, a second time, each with arrows to the waits it caused |
//!
//! Each database has two counters: bytes in its -wal, and whether a connection holds the lock to write (WRITE or RESERVED).
//! Slices without a time in nanoseconds are left out and counted. A closed connection's rows are forgotten, so memory does not grow with the trace.
#![forbid(unsafe_code)]

mod canvas;
#[cfg(feature = "cli")]
pub mod firefox;
mod format;
mod lanes;
pub mod perfetto;
mod protobuf;
#[cfg(feature = "cli")]
mod spooled_rows;
mod waits;

use super::{Export, labels};
use crate::analysis::locks::activity::Work;
use crate::analysis::observer::{ObservedHold, Worked};
use crate::analysis::{Analysis, ConnId, HoldEnd, Instant, LockId, Observer};
use crate::trace::{Event, LogId, Trace};
use canvas::Canvas;
use format::{Args, Counter, RowKind, Slice, TimelineFormat};
use shim::event::{FileKind, Kind, Level, Slot};
use std::io;

/// See the module.
struct Timeline<'t, F> {
    canvas: Canvas<'t, F>,
    /// The connection of the latest record, if that closed it.
    closing: Option<ConnId>,
    /// Which counters of each database were declared.
    counters: Vec<[bool; 2]>,
    /// Nanoseconds of the shortest hold that is drawn.
    shortest: u64,
    failed: Option<io::Error>,
}

impl<'t, F: TimelineFormat> Timeline<'t, F> {
    fn new(trace: &'t Trace, shortest: u64, format: F) -> io::Result<Timeline<'t, F>> {
        Ok(Timeline { canvas: Canvas::new(trace, format)?, closing: None, counters: Vec::new(), shortest, failed: None })
    }

    fn draw_hold(&mut self, span: &ObservedHold) -> io::Result<()> {
        let Some((from, to)) = self.canvas.real(span.who.log, span.since, span.until) else { return Ok(()) };
        let writing = span.lock == LockId::shm(Slot::WRITE.0, true) || span.lock == LockId::file(Level::RESERVED);
        if writing && span.seen {
            self.count(span.db, Counter::Writing, from, 1)?;
            self.count(span.db, Counter::Writing, to, 0)?;
        }
        if to - from < self.shortest {
            self.canvas.left_out.short += 1;
            return Ok(());
        }
        let kind = if span.lifetime { RowKind::Life } else { RowKind::Locks };
        let Some(row) = self.canvas.place(span.who, Some(span.db), kind, (from, to))? else { return Ok(()) };
        let mut args = Args::default();
        let sql = labels::sql(self.canvas.trace, span.who, span.sql);
        args.sql("SQL", span.sql, sql.as_deref());
        let thread = labels::thread(self.canvas.trace, span.who, span.tid);
        args.text("thread", &thread);
        args.number("record", Some(span.number));
        args.number("ended by record", span.end.number());
        if !span.seen {
            args.word("beginning", "not recorded: it was held by then");
        }
        match span.end {
            HoldEnd::Released(..) => {}
            HoldEnd::Unseen(..) => args.word("end", "not recorded: it had ended by then"),
            HoldEnd::Open => args.word("end", "held to the end of the trace"),
        }
        let name = labels::lock(span.lock);
        self.canvas.format.slice(&Slice { row, from, to, instant: false, name, args: &args.0, arrows: &[] })
    }

    fn draw_work(&mut self, work: &Worked) -> io::Result<()> {
        let Some((from, to)) = self.canvas.real(work.who.log, work.since, work.until) else { return Ok(()) };
        let Some(row) = self.canvas.place(work.who, work.db, RowKind::Work, (from, to))? else { return Ok(()) };
        let name = match work.work {
            Work::SyncDatabase => "sync of the database",
            Work::Sync => "sync",
            Work::Copy => "checkpoint",
            Work::Delete => "deletion of journal or WAL",
        };
        let mut args = Args::default();
        let thread = labels::thread(self.canvas.trace, work.who, work.tid);
        args.text("thread", &thread);
        args.number("record", Some(work.number));
        self.canvas.format.slice(&Slice { row, from, to, instant: false, name, args: &args.0, arrows: &[] })
    }

    fn count(&mut self, db: u32, counter: Counter, at: u64, value: u64) -> io::Result<()> {
        let index = db as usize;
        if self.counters.len() <= index {
            self.counters.resize(index + 1, [false; 2]);
        }
        let path = self.canvas.paths.get(db).unwrap_or("unknown database");
        let declared = &mut self.counters[index][counter as usize];
        if !*declared {
            *declared = true;
            self.canvas.format.counter(db, counter, path)?;
        }
        self.canvas.format.value(db, counter, path, at, value)
    }

    fn end(&mut self, analysis: &Analysis<'_>) -> io::Result<Vec<String>> {
        waits::draw(&mut self.canvas, analysis)?;
        let left_out = self.canvas.left_out.sentences(self.shortest);
        let at = |log: LogId| {
            let log = self.canvas.trace.log(log);
            log.last.unwrap_or(log.first).real_ns
        };
        for (log, tally) in (0..).map(LogId).zip(&analysis.summary.tallies) {
            if tally.unread() > 0 {
                self.canvas.format.note(Some(log), at(log), &format!("records lost: {}", crate::report::losses(tally)))?;
            }
        }
        let start = (0..self.canvas.trace.logs().len()).map(|log| self.canvas.trace.logs()[log].first.real_ns).min().unwrap_or(0);
        if analysis.records == 0 {
            self.canvas.format.note(None, start, "no records were read")?;
        }
        for what in &left_out {
            self.canvas.format.note(None, start, &format!("left out: {what}"))?;
        }
        for problem in &analysis.summary.problems {
            self.canvas.format.note(None, start, &problem.to_string())?;
        }
        self.canvas.format.end()?;
        Ok(left_out)
    }

    fn keep(&mut self, done: io::Result<()>) {
        if let Err(error) = done {
            self.failed.get_or_insert(error);
        }
    }
}

impl<F: TimelineFormat> Observer for Timeline<'_, F> {
    #[inline]
    fn event(&mut self, event: &Event, db: Option<u32>) {
        self.canvas.paths.saw(self.canvas.trace, event, db);
        // The pass reports the holds that a close ends after the record of the close.
        if let Some(closed) = self.closing.take() {
            self.canvas.forget(&closed);
        }
        let record = &event.record;
        if record.kind == Kind::CLOSE && record.file_kind == FileKind::DATABASE {
            let forked = record.flags.has(shim::event::Flags::FORKED);
            self.closing = Some(ConnId { log: event.log, conn: record.conn, forked });
        }
    }

    fn hold(&mut self, span: &ObservedHold) {
        if self.failed.is_none() {
            let done = self.draw_hold(span);
            self.keep(done);
        }
    }

    fn work(&mut self, work: &Worked) {
        if self.failed.is_none() {
            let done = self.draw_work(work);
            self.keep(done);
        }
    }

    fn wal(&mut self, who: ConnId, db: u32, at: Instant, bytes: u64) {
        if self.failed.is_none()
            && let Some(at) = self.canvas.times.real_ns(who.log, at)
        {
            let done = self.count(db, Counter::Wal, at, bytes);
            self.keep(done);
        }
    }

    fn enough(&self) -> bool {
        self.failed.is_some()
    }
}

impl<F: TimelineFormat> Export for Timeline<'_, F> {
    fn finish(mut self: Box<Self>, analysis: &Analysis<'_>) -> io::Result<Vec<String>> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.end(analysis),
        }
    }
}
