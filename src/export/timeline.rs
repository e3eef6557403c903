//! What the viewers of timelines are shown, whatever their format: rows for connections, slices for holds, work and waits, counters for databases.
//!
//! Input: what the pass over the records finds. Output: calls of a [`Painter`]. Each process has for each of its connections these rows:
//!
//! | row | slices |
//! | --- | --- |
//! | `c1 app.db` | the SHARED lock that a connection in WAL mode keeps for its whole life |
//! | `locks` | every other hold, one inside the other where that is how they lie; a second row where they cross |
//! | `work` | syncs, checkpoints that copy, deletions of a journal or WAL |
//! | `waits` | every incident: from its first attempt to its end |
//! | `in the way` | the holds that refused somebody, once more, with an arrow to each wait |
//!
//! Each database has two counters: bytes in its -wal, and whether somebody has the lock to write (WRITE or RESERVED).
//! What has no time in nanoseconds is left out and counted. Rows are forgotten when their connection closes, so that memory does not grow with the trace.
#![forbid(unsafe_code)]

use super::lanes::Lanes;
use super::paint::{Counter, Facts, Painter, RowId, Shows, Slice};
use super::waits;
use super::{Export, naming};
use crate::analysis::locks::activity::Work;
use crate::analysis::observer::{ObservedHold, Worked};
use crate::analysis::order::instants::Times;
use crate::analysis::{Analysis, ConnId, HoldEnd, Instant, LockId, Observer};
use crate::report::human;
use crate::trace::{Event, LogId, Trace};
use shim::event::{FileKind, Kind, Level, Slot};
use std::collections::HashMap;
use std::io;

/// What is known of a live connection's rows.
#[derive(Default)]
struct Rows {
    lanes: [Lanes; Shows::ALL.len()],
    /// How many lanes of each kind were declared.
    declared: [u8; Shows::ALL.len()],
}

/// What was left out, and why.
#[derive(Default)]
pub(super) struct LeftOut {
    /// No length of a tick is known.
    pub untimed: u64,
    /// Shorter than was asked for.
    pub short: u64,
    /// On no row it would lie beside the others.
    pub crossing: u64,
}

impl LeftOut {
    fn told(&self, shortest: u64) -> Vec<String> {
        let reasons = [
            (
                self.untimed,
                "holds, stretches of work and waits: their times are not known (a log without a usable pair of clock anchors)"
                    .to_owned(),
            ),
            (self.short, format!("holds shorter than {}", human::duration(shortest))),
            (self.crossing, "slices whose times contradict those of too many others".to_owned()),
        ];
        reasons
            .into_iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| format!("{} {what}", human::count(number)))
            .collect()
    }
}

/// See the module.
pub(super) struct Timeline<'t, P> {
    pub(super) trace: &'t Trace,
    times: Times<'t>,
    pub(super) painter: P,
    rows: HashMap<ConnId, Rows>,
    closing: Option<ConnId>,
    pub(super) paths: naming::Paths,
    /// Which counters of each database were declared.
    counters: Vec<[bool; 2]>,
    /// Nanoseconds of the shortest hold that is drawn.
    shortest: u64,
    pub(super) left_out: LeftOut,
    failed: Option<io::Error>,
}

impl<'t, P: Painter> Timeline<'t, P> {
    pub(super) fn new(trace: &'t Trace, shortest: u64, mut painter: P) -> io::Result<Timeline<'t, P>> {
        for log in 0..trace.logs().len() {
            painter.process(trace, LogId(log as u32))?;
        }
        Ok(Timeline {
            trace,
            times: Times::new(trace),
            painter,
            rows: HashMap::new(),
            closing: None,
            paths: naming::Paths::default(),
            counters: Vec::new(),
            shortest,
            left_out: LeftOut::default(),
            failed: None,
        })
    }

    /// When something began and ended, in nanoseconds since 1970.
    pub(super) fn real(&mut self, log: LogId, from: Instant, to: Instant) -> Option<(u64, u64)> {
        let (Some(from), Some(to)) = (self.times.real_ns(log, from), self.times.real_ns(log, to)) else {
            self.left_out.untimed += 1;
            return None;
        };
        Some((from, to.max(from)))
    }

    /// The row to draw on, declared.
    pub(super) fn place(
        &mut self,
        who: ConnId,
        db: Option<u32>,
        shows: Shows,
        (from, to): (u64, u64),
    ) -> io::Result<Option<RowId>> {
        let rows = self.rows.entry(who).or_default();
        let kind = shows as usize;
        let Some(lane) = rows.lanes[kind].place(from, to) else {
            self.left_out.crossing += 1;
            return Ok(None);
        };
        let life = Shows::Life as usize;
        let database = db.and_then(|db| self.paths.get(db));
        if rows.declared[life] == 0 {
            rows.declared[life] = 1;
            self.painter.row(self.trace, RowId { who, shows: Shows::Life, lane: 0 }, database)?;
        }
        let row = RowId { who, shows, lane };
        while rows.declared[kind] <= lane {
            self.painter.row(self.trace, RowId { lane: rows.declared[kind], ..row }, database)?;
            rows.declared[kind] += 1;
        }
        Ok(Some(row))
    }

    fn draw_hold(&mut self, span: &ObservedHold) -> io::Result<()> {
        let Some((from, to)) = self.real(span.who.log, span.since, span.until) else { return Ok(()) };
        let writing = span.lock == LockId::shm(Slot::WRITE.0, true) || span.lock == LockId::file(Level::RESERVED);
        if writing && span.seen {
            self.count(span.db, Counter::Writing, from, 1)?;
            self.count(span.db, Counter::Writing, to, 0)?;
        }
        if to - from < self.shortest {
            self.left_out.short += 1;
            return Ok(());
        }
        let shows = if span.lifetime { Shows::Life } else { Shows::Locks };
        let Some(row) = self.place(span.who, Some(span.db), shows, (from, to))? else { return Ok(()) };
        let mut facts = Facts::default();
        let sql = naming::sql(self.trace, span.who, span.sql);
        facts.sql("SQL", span.sql, sql.as_deref());
        let thread = naming::thread(self.trace, span.who, span.tid);
        facts.text("thread", &thread);
        facts.number("record", Some(span.number));
        facts.number("ended by record", span.end.number());
        if !span.seen {
            facts.word("beginning", "not seen: it was held then at the latest");
        }
        match span.end {
            HoldEnd::Released(..) => {}
            HoldEnd::Unseen(..) => facts.word("end", "not seen: it was over then at the latest"),
            HoldEnd::Open => facts.word("end", "held to the end of the trace"),
        }
        let name = naming::lock(span.lock);
        self.painter.slice(&Slice { row, from, to, instant: false, name, facts: &facts.0, arrows: &[] })
    }

    fn draw_work(&mut self, work: &Worked) -> io::Result<()> {
        let Some((from, to)) = self.real(work.who.log, work.since, work.until) else { return Ok(()) };
        let Some(row) = self.place(work.who, work.db, Shows::Work, (from, to))? else { return Ok(()) };
        let name = match work.work {
            Work::SyncDatabase => "sync of the database",
            Work::Sync => "sync",
            Work::Copy => "checkpoint",
            Work::Delete => "deletion of journal or WAL",
        };
        let mut facts = Facts::default();
        let thread = naming::thread(self.trace, work.who, work.tid);
        facts.text("thread", &thread);
        facts.number("record", Some(work.number));
        self.painter.slice(&Slice { row, from, to, instant: false, name, facts: &facts.0, arrows: &[] })
    }

    fn count(&mut self, db: u32, counter: Counter, at: u64, value: u64) -> io::Result<()> {
        let index = db as usize;
        if self.counters.len() <= index {
            self.counters.resize(index + 1, [false; 2]);
        }
        let path = self.paths.get(db).unwrap_or("unknown database");
        let declared = &mut self.counters[index][counter as usize];
        if !*declared {
            *declared = true;
            self.painter.counter(db, counter, path)?;
        }
        self.painter.value(db, counter, path, at, value)
    }

    fn end(&mut self, analysis: &Analysis<'_>) -> io::Result<Vec<String>> {
        waits::draw(self, analysis)?;
        let told = self.left_out.told(self.shortest);
        let at = |log: LogId| {
            let log = self.trace.log(log);
            log.last.unwrap_or(log.first).real_ns
        };
        for (log, tally) in (0..).map(LogId).zip(&analysis.summary.tallies) {
            if tally.unread() > 0 {
                self.painter.note(Some(log), at(log), &format!("records lost: {}", crate::report::losses(tally)))?;
            }
        }
        let start = (0..self.trace.logs().len()).map(|log| self.trace.logs()[log].first.real_ns).min().unwrap_or(0);
        if analysis.records == 0 {
            self.painter.note(None, start, "no records were read")?;
        }
        for what in &told {
            self.painter.note(None, start, &format!("left out: {what}"))?;
        }
        for problem in &analysis.summary.problems {
            self.painter.note(None, start, &problem.to_string())?;
        }
        self.painter.end()?;
        Ok(told)
    }

    fn keep(&mut self, done: io::Result<()>) {
        if let Err(error) = done {
            self.failed.get_or_insert(error);
        }
    }
}

impl<P: Painter> Observer for Timeline<'_, P> {
    #[inline]
    fn event(&mut self, event: &Event, db: Option<u32>) {
        self.paths.saw(self.trace, event, db);
        // What its closing ended is told after the record itself.
        if let Some(closed) = self.closing.take() {
            self.rows.remove(&closed);
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
            && let Some(at) = self.times.real_ns(who.log, at)
        {
            let done = self.count(db, Counter::Wal, at, bytes);
            self.keep(done);
        }
    }

    fn enough(&self) -> bool {
        self.failed.is_some()
    }
}

impl<P: Painter> Export for Timeline<'_, P> {
    fn finish(mut self: Box<Self>, analysis: &Analysis<'_>) -> io::Result<Vec<String>> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.end(analysis),
        }
    }
}
