//! The pass over the records: each goes to its connection's timeline, and what that yields to the counts, the blockers and the waits.
//!
//! In come events in merged order; out goes the [`Analysis`]. Called by [`Analysis::of`].
#![forbid(unsafe_code)]

use super::blockers::{Asked, Blockers, Refusal};
use super::connections::{Connections, Found, Index, NO_DATABASE, id_of};
use super::database::{Database, Databases};
use super::lock::{LockId, Request};
use super::timeline::{Change, ConnId, End, NEVER};
use super::times::{Instant, Times};
use super::waits::{Meaning, Outcome, Wait, Waiting};
use super::{Analysis, Options};
use crate::trace::{Event, LogId, Summary, Trace};
use locktrace::event::{FileKind, Flags, Kind, Level, REFUSED_HERE};

/// What is known of a log's record numbers, to tell losses in between.
#[derive(Clone, Copy, Default)]
struct Seen {
    count: u64,
    first: u64,
    last: u64,
    latest: Instant,
    /// The ticks of its first start and its last end.
    ticks: Option<(u64, u64)>,
}

pub(super) struct Run<'t> {
    trace: &'t Trace,
    times: Times<'t>,
    databases: Databases<'t>,
    conns: Connections,
    blockers: Blockers<'t>,
    waits: Vec<Wait>,
    changes: Vec<Change>,
    seen: Vec<Seen>,
    records: u64,
}

impl<'t> Run<'t> {
    pub(super) fn new(trace: &'t Trace, options: Options) -> Run<'t> {
        let times = Times::new(trace);
        Run {
            trace,
            times,
            databases: Databases::new(trace, options.longest),
            conns: Connections::default(),
            blockers: Blockers::new(times),
            waits: Vec::new(),
            changes: Vec::new(),
            seen: vec![Seen::default(); trace.logs().len()],
            records: 0,
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        let Event { log, number, ref record } = *event;
        self.records += 1;
        let end = self.times.end(log, record);
        let seen = &mut self.seen[log.0 as usize];
        if seen.count == 0 {
            (seen.first, seen.last) = (number, number);
        }
        (seen.first, seen.last) = (seen.first.min(number), seen.last.max(number));
        (seen.count, seen.latest) = (seen.count + 1, seen.latest.max(end));
        let (from, to) = seen.ticks.unwrap_or((record.start, record.end()));
        seen.ticks = Some((from.min(record.start), to.max(record.end())));

        let index = match id_of(log, record) {
            None => None,
            Some(id) => match self.conns.find(id) {
                Found::Live(index) => Some(index),
                Found::New if record.kind != Kind::SLEEP => Some(self.conns.add(id)),
                Found::New | Found::Closed => None,
            },
        };
        let mut db = if record.file == 0 { None } else { Some(self.databases.find(log, record.file)) };
        if let Some(conn) = index.and_then(|index| self.conns.get(index)) {
            match db {
                Some(db) if conn.db == NO_DATABASE => {
                    conn.db = db;
                    self.databases.all[db as usize].connections += 1;
                    if let Some(index) = index {
                        self.blockers.join(db, index, conn.locks.held());
                    }
                }
                None if conn.db != NO_DATABASE => db = Some(conn.db),
                _ => {}
            }
        }
        if let Some(db) = db {
            let database = &mut self.databases.all[db as usize];
            database.records += 1;
            database.seen_in(log);
            database.redundant += u64::from(record.flags.has(Flags::REDUNDANT));
            match (record.kind, record.file_kind) {
                (Kind::DELETE, FileKind::JOURNAL) if record.rc.is_ok() => database.modes.journal_deleted = true,
                (Kind::WROTE | Kind::SYNC, FileKind::JOURNAL) => database.modes.journal_used = true,
                _ => {}
            }
        }
        if let Some(index) = index {
            self.connection(index, event);
        }
    }

    /// A record of a live connection.
    fn connection(&mut self, index: Index, event: &Event) {
        let Event { log, ref record, .. } = *event;
        let Some(conn) = self.conns.get(index) else { return };
        let (who, db) = (conn.id, conn.db);
        let start = self.times.start(log, record);
        if std::mem::take(&mut conn.open_ended) && db != NO_DATABASE {
            self.blockers.ended_by(db, conn.ended, start);
        }
        if let Some(number) = conn.refused.take()
            && matches!(record.kind, Kind::SHM_UNMAP | Kind::CLOSE)
            && let Some(refusal) = self.blockers.refusals.get_mut(number as usize)
        {
            refusal.closing = refusal.request == Request::File(Level::EXCLUSIVE);
        }
        let wal_before = conn.wal;
        let opened = record.kind == Kind::OPEN && record.file_kind == FileKind::WAL;
        if record.rc.is_ok() && (opened || matches!(record.kind, Kind::SHM_MAP | Kind::SHM_LOCK)) {
            conn.wal = true;
        }
        conn.lifetime |= conn.wal;

        self.changes.clear();
        conn.locks.apply(&self.times, log, record, &mut self.changes);
        let lifetime = conn.lifetime;
        if conn.locks.level.0 == Level::NONE {
            conn.lifetime = conn.wal;
        }
        if record.kind == Kind::SHM_UNMAP && record.rc.is_ok() {
            conn.wal = false;
        }
        if db != NO_DATABASE {
            let wal = conn.wal || wal_before;
            let database = &mut self.databases.all[db as usize];
            database.modes.wal |= wal;
            database.modes.reserved |=
                !wal && record.kind == Kind::LOCK && record.requested == Level::RESERVED && record.rc.is_ok();
            if !self.changes.is_empty() {
                self.changed(index, who, db, lifetime);
            }
        }
        self.waited(index, event);
        if record.rc.is_busy()
            && let Some(request) = Request::of(record)
        {
            self.refused(index, event, request);
        }
        if record.kind == Kind::CLOSE && record.file_kind == FileKind::DATABASE {
            if db != NO_DATABASE {
                self.blockers.leave(db, index);
            }
            self.end_wait(index, Outcome::GaveUp);
            self.conns.close(index);
        }
    }

    /// Counts the holds that began and ended, and tells the blockers.
    fn changed(&mut self, index: Index, who: ConnId, db: u32, lifetime: bool) {
        let mut ended = None;
        let mut moved = false;
        for i in 0..self.changes.len() {
            match self.changes[i] {
                Change::Began(lock, taken) => {
                    if taken.seen {
                        moved = true;
                        self.databases.all[db as usize].stats(lock).acquired += 1;
                    }
                    self.blockers.began(&mut self.conns, db, index, who, lock, &taken);
                }
                Change::Ended(lock, taken, end) => {
                    let number = self.blockers.ended(db, who, lock, &taken, end);
                    if let End::Released(_, gone) = end {
                        moved = true;
                        if gone == NEVER {
                            ended = Some((ended.map_or(number, |(first, _): (u64, u64)| first), number));
                        }
                    }
                    if lifetime && lock == LockId::file(Level::SHARED) {
                        continue;
                    }
                    let ns = match end {
                        End::Released(at, _) if taken.seen && taken.from != NEVER => self.times.ns(who.log, taken.from, at),
                        _ => None,
                    };
                    let database = &mut self.databases.all[db as usize];
                    match ns {
                        Some(ns) => {
                            database.stats(lock).held.add(ns);
                            database.hold(ns, lock, who, &taken, false);
                        }
                        None => database.stats(lock).unknown += 1,
                    }
                }
            }
        }
        self.databases.all[db as usize].transitions += u64::from(moved);
        if let (Some(numbers), Some(conn)) = (ended, self.conns.get(index)) {
            (conn.open_ended, conn.ended) = (true, numbers);
        }
    }

    fn refused(&mut self, index: Index, event: &Event, request: Request) {
        let Event { log, number, ref record } = *event;
        let Some(conn) = self.conns.get(index) else { return };
        let db = (conn.db != NO_DATABASE).then_some(conn.db);
        conn.refused = Some(self.blockers.refusals.len() as u32);
        if let Some(db) = db {
            self.databases.all[db as usize].stats(request.lock()).refused += 1;
        }
        let wait = conn.waiting.map_or(0, |waiting| waiting.index);
        let here = self.trace.log(log).names.outside(conn.id.conn, record.start).is_some();
        if here {
            conn.asked = Some((wait, record.start));
        }
        let asked = conn.asked.filter(|asked| asked.0 == wait).map(|(_, start)| Asked { start, here });
        let refusal = Refusal {
            who: conn.id,
            db,
            request,
            number,
            tid: record.tid,
            sql: record.sql,
            rc: record.rc,
            start: self.times.start(log, record),
            end: self.times.end(log, record),
            closing: false,
            wait,
            holders: Vec::new(),
            more_holders: 0,
            in_process: record.arg == REFUSED_HERE,
            asked,
            forgotten: false,
        };
        self.blockers.refused(&mut self.conns, index, refusal);
    }

    /// Joins the record to the connection's run of attempts, or ends it, or begins one.
    fn waited(&mut self, index: Index, event: &Event) {
        let Event { log, ref record, .. } = *event;
        let Some(conn) = self.conns.get(index) else { return };
        let end = self.times.end(log, record);
        if let Some(waiting) = &mut conn.waiting {
            match waiting.meaning(record) {
                Meaning::Waits => {
                    if record.kind == Kind::SLEEP {
                        waiting.wait.sleeps += 1;
                        waiting.wait.slept_us = waiting.wait.slept_us.saturating_add(record.arg);
                    }
                    return;
                }
                Meaning::Refused => {
                    waiting.wait.attempts += 1;
                    waiting.wait.until = end;
                    return;
                }
                Meaning::Granted => {
                    waiting.wait.until = end;
                    self.end_wait(index, Outcome::Acquired);
                    return;
                }
                Meaning::Over => self.end_wait(index, Outcome::GaveUp),
            }
        }
        let (Some(request), Some(conn)) = (Request::of(record).filter(|_| record.rc.is_busy()), self.conns.get(index)) else {
            return;
        };
        let wait = Wait {
            who: conn.id,
            db: (conn.db != NO_DATABASE).then_some(conn.db),
            request,
            tid: record.tid,
            sql: record.sql,
            from: self.times.start(log, record),
            until: end,
            attempts: 1,
            sleeps: 0,
            slept_us: 0,
            outcome: Outcome::TraceEnd,
        };
        conn.waiting = Some(Waiting { wait, index: self.waits.len() as u32 });
        self.waits.push(wait);
    }

    fn end_wait(&mut self, index: Index, outcome: Outcome) {
        let Some(waiting) = self.conns.get(index).and_then(|conn| conn.waiting.take()) else { return };
        let wait = Wait { outcome, ..waiting.wait };
        self.waits[waiting.index as usize] = wait;
        let Some(db) = wait.db else { return };
        let ns = self.times.ns(wait.who.log, wait.from, wait.until);
        let stats = self.databases.all[db as usize].stats(wait.request.lock());
        match outcome {
            Outcome::Acquired => {
                if let Some(ns) = ns {
                    stats.waited.add(ns);
                }
            }
            Outcome::GaveUp | Outcome::TraceEnd => {
                stats.gave_up += u64::from(outcome == Outcome::GaveUp);
                if let Some(ns) = ns {
                    stats.tried.add(ns);
                }
            }
        }
    }

    pub(super) fn finish(mut self, summary: Summary) -> Analysis<'t> {
        // Holds that the trace ends with, and what is left of the waits.
        let open: Vec<Index> = self.conns.all().map(|(index, _)| index).collect();
        let gaps = self.gaps(&summary);
        for index in open {
            self.end_wait(index, Outcome::TraceEnd);
            let Some(conn) = self.conns.get(index) else { continue };
            let (who, last, lifetime) = (conn.id, conn.locks.last, conn.lifetime);
            let held: Vec<_> = conn.locks.held().collect();
            let db = conn.db;
            let (_, lossy) = gaps[who.log.0 as usize];
            let seen = self.seen[who.log.0 as usize].latest;
            // Up to here its process lived, and held what it had not given up.
            let alive = if lossy { last } else { seen.max(self.times.last_anchor(who.log)) };
            for (lock, taken) in held {
                self.blockers.doubt(who, lock, taken.refused, alive);
                if db == NO_DATABASE || (lifetime && lock == LockId::file(Level::SHARED)) {
                    continue;
                }
                let known = taken.seen && taken.from != NEVER;
                let ns = if known { self.times.ns(who.log, taken.from, alive.max(taken.from)) } else { None };
                let database = &mut self.databases.all[db as usize];
                database.stats(lock).open += 1;
                if let Some(ns) = ns {
                    database.hold(ns, lock, who, &taken, true);
                }
            }
        }
        for refusal in &mut self.blockers.refusals {
            for holder in &mut refusal.holders {
                // With more than one record lost between others, a release and the next acquisition can be among them.
                holder.certain &= !gaps[holder.who.log.0 as usize].0;
            }
        }
        let mut span: Option<(u64, u64)> = None;
        for (log, seen) in (0..).map(LogId).zip(&self.seen) {
            let Some((from, to)) = seen.ticks else { continue };
            if let (Some(from), Some(to)) = (self.trace.real_ns(log, from), self.trace.real_ns(log, to)) {
                span = Some(span.map_or((from, to), |all| (all.0.min(from), all.1.max(to))));
            }
        }
        let mut databases = self.databases.all;
        databases.iter_mut().for_each(Database::finish);
        Analysis {
            trace: self.trace,
            summary,
            databases,
            refusals: self.blockers.refusals,
            waits: self.waits,
            records: self.records,
            span,
            times: self.times,
        }
    }

    /// For each log: whether more than one record is lost between others; whether any is lost that could have ended a hold.
    fn gaps(&self, summary: &Summary) -> Vec<(bool, bool)> {
        let gap = |(seen, tally): (&Seen, &crate::trace::Tally)| {
            let inside = if seen.count == 0 { 0 } else { seen.last - seen.first + 1 - seen.count.min(seen.last - seen.first + 1) };
            let bad = tally.lost + tally.empty + tally.torn + tally.missing;
            (inside > 1, inside > 0 || bad > 0 || seen.last + 1 < tally.head)
        };
        self.seen.iter().zip(&summary.tallies).map(gap).collect()
    }
}
