//! The pass over the records: each goes to its connection's timeline, and what that yields to the counts, the blockers and the waits.
//!
//! In come events in merged order; out goes the [`Analysis`]. Called by [`Analysis::of`].
#![forbid(unsafe_code)]

use super::activity::Alone;
use super::asleep::Asleep;
use super::blockers::Blockers;
use super::connections::{self, Connections, Index, NO_DATABASE, id_of};
use super::database::{Database, Databases};
use super::gaps::Gaps;
use super::hazard::Signs;
use super::holding::{Ending, Holdings, Past};
use super::lock::{LockId, Request};
use super::refused::Earlier;
use super::runs::Runs;
use super::seen::Seen;
use super::settle::{Facts, Settled, number_anew};
use super::snapshot::Commits;
use super::timeline::{Change, ConnId, End, NEVER};
use super::times::{Call, Instant, Times};
use super::waits::Outcome;
use super::watch::{self, Span, SpanEnd, WalSizes, Watch};
use super::{Analysis, Options};
use crate::trace::{Event, LogId, Summary, Trace};
use locktrace::event::{FileKind, Flags, Kind, Level};

pub(super) struct Run<'t, 'w> {
    pub(super) trace: &'t Trace,
    pub(super) times: Times<'t>,
    pub(super) databases: Databases<'t>,
    pub(super) conns: Connections,
    pub(super) blockers: Blockers<'t>,
    pub(super) runs: Runs,
    pub(super) asleep: Asleep,
    pub(super) holdings: Holdings,
    pub(super) commits: Commits,
    pub(super) signs: Signs,
    changes: Vec<Change>,
    seen: Vec<Seen>,
    pub(super) gaps: Vec<Gaps>,
    /// The last instant of each log's last record; empty while nobody asked.
    pub(super) ends: Vec<Instant>,
    pub(super) settled: Settled<'t>,
    records: u64,
    /// Whoever wants every hold.
    watch: Option<&'w mut dyn Watch>,
    wal_sizes: WalSizes,
}

impl<'t, 'w> Run<'t, 'w> {
    pub(super) fn new(trace: &'t Trace, options: Options, facts: Facts, watch: Option<&'w mut dyn Watch>) -> Run<'t, 'w> {
        let times = Times::new(trace);
        Run {
            trace,
            times,
            databases: Databases::new(trace, options.longest),
            conns: Connections::default(),
            blockers: Blockers::new(times, options.listed),
            runs: Runs::new(options.listed),
            asleep: Asleep::default(),
            holdings: Holdings::default(),
            commits: Commits::default(),
            signs: Signs::default(),
            changes: Vec::new(),
            seen: vec![Seen::NOTHING; trace.logs().len()],
            gaps: vec![Gaps::default(); trace.logs().len()],
            ends: Vec::new(),
            settled: Settled::new(options, facts),
            records: 0,
            watch,
            wal_sizes: WalSizes::default(),
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        let Event { log, number, ref record } = *event;
        self.records += 1;
        let call = self.times.call(event);
        self.gaps[log.0 as usize].saw(number);
        self.seen[log.0 as usize].record(&call);

        let index = match id_of(log, record) {
            None => {
                if record.kind == Kind::SLEEP {
                    self.asleep.slept(log, record.tid, number);
                }
                None
            }
            Some(id) => match self.conns.find(id) {
                connections::Found::Live(index) => Some(index),
                connections::Found::New if record.kind != Kind::SLEEP => Some(self.conns.add(id)),
                connections::Found::New | connections::Found::Closed => None,
            },
        };
        let mut db = if record.file == 0 { None } else { Some(self.databases.find(log, record.file, number)) };
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
        if let Some(watch) = &mut self.watch {
            watch.event(event, db);
        }
        if let Some(index) = index {
            self.connection(index, &call);
        }
    }

    /// A record of a live connection.
    fn connection(&mut self, index: Index, call: &Call<'_>) {
        let Call { event, start, end } = *call;
        let Event { number, ref record, .. } = *event;
        let Some(conn) = self.conns.get(index) else { return };
        let (who, db) = (conn.id, conn.db);
        let checked = conn.activity.checked;
        conn.activity.record(record, number, start, end);
        if let Some(watch) = &mut self.watch {
            watch::told(&mut **watch, conn, call, &mut self.wal_sizes);
        }
        if let Some(holding) = conn.released.take() {
            self.holdings.released_with(holding, record);
        }
        let stale = conn.stale.take().and_then(|stale| stale.upgraded(record, number, start));
        if record.flags.0 & (Flags::FORKED.0 | Flags::SHARED_CACHE.0) != 0 || !record.rc.is_ok() {
            self.signs.flagged(db, event);
        }
        if std::mem::take(&mut conn.open_ended) && db != NO_DATABASE {
            self.blockers.ended_by(db, conn.ended, start);
        }
        if let Some(number) = conn.refused.take()
            && matches!(record.kind, Kind::SHM_UNMAP | Kind::CLOSE)
            && let Some(refusal) = self.blockers.refusals.get_mut(number)
        {
            refusal.closing = refusal.request == Request::File(Level::EXCLUSIVE);
        }
        conn.mode.before(record);
        let wal = conn.mode.wal;
        self.changes.clear();
        conn.locks.apply((start, end), number, record, &mut self.changes);
        let earlier = Earlier { lifetime: conn.mode.lifetime, checked };
        conn.mode.after(record, conn.locks.level.0);
        let waits = conn.waiting.is_some();
        if db != NO_DATABASE {
            let database = &mut self.databases.all[db as usize];
            if record.kind == Kind::WROTE && record.file_kind == FileKind::WAL {
                self.commits.wrote(db, record.arg);
            }
            database.modes.wal |= wal;
            database.modes.reserved |=
                !wal && record.kind == Kind::LOCK && record.requested == Level::RESERVED && record.rc.is_ok();
            if !self.changes.is_empty() {
                self.changed(index, call, who, db, earlier);
            }
        }
        if waits || record.rc.is_busy() {
            let wait = self.waited(index, call, earlier);
            if let Some(request) = Request::of(record).filter(|_| record.rc.is_busy()) {
                self.refused(index, call, request, wait);
            }
        }
        if record.kind == Kind::CLOSE && record.file_kind == FileKind::DATABASE {
            self.closed(index, db);
        }
        if let Some(stale) = stale {
            self.upgrade_failed(&stale);
        }
    }

    #[cold]
    fn closed(&mut self, index: Index, db: u32) {
        if db != NO_DATABASE {
            self.blockers.leave(db, index);
        }
        self.end_wait(index, Outcome::GaveUp);
        self.conns.close(index);
    }

    /// Counts the holds that began and ended, and tells whoever wants to know.
    fn changed(&mut self, index: Index, call: &Call<'_>, who: ConnId, db: u32, earlier: Earlier) {
        let event = call.event;
        let mut ended = None;
        let mut moved = false;
        for i in 0..self.changes.len() {
            match self.changes[i] {
                Change::Began(lock, taken) => {
                    if taken.seen {
                        moved = true;
                        self.databases.all[db as usize].stats(lock).acquired += 1;
                    }
                    let named = self.blockers.began(&mut self.conns, db, index, who, lock, &taken);
                    self.began(index, call, db, lock, &taken, earlier, named);
                }
                Change::Ended(lock, taken, end) => {
                    let past = self.past(index, i, event, lock, end);
                    let number = self.blockers.ended(db, who, lock, &taken, past, end);
                    if let End::Released(_, gone) = end {
                        moved = true;
                        if gone == NEVER {
                            ended = Some((ended.map_or(number, |(first, _): (u64, u64)| first), number));
                        }
                    }
                    self.ended(index, event, db, lock, &taken, end);
                    let lifetime = earlier.lifetime && lock == LockId::file(Level::SHARED);
                    if let Some(watch) = &mut self.watch {
                        let (until, end) = match end {
                            End::Released(at, _) => (at, SpanEnd::Released),
                            End::Unseen(_, by) => (by, SpanEnd::Unseen),
                        };
                        watch.hold(&Span::of(who, db, lock, &taken, lifetime, (until, end, Some(event.number))));
                    }
                    if lifetime {
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

    /// Whether whoever watches has had enough.
    pub(super) fn enough(&self) -> bool {
        self.records & 0xffff == 0 && self.watch.as_ref().is_some_and(|watch| watch.enough())
    }

    /// What to remember of a hold that ended with this change. A writer's holds end in one call, from the strongest down.
    fn past(&mut self, index: Index, change: usize, event: &Event, lock: LockId, end: End) -> Past {
        let ending = match end {
            End::Released(at, _) => Ending::Released(at, Some(event.number)),
            End::Unseen(_, by) => Ending::Unseen(by),
        };
        let mut past = Past { writer: 0, alone: Alone::default(), level_after: event.record.after, ending, tid: event.record.tid };
        if lock.level().is_some_and(|level| level > Level::RESERVED) {
            let reserved = |change: &Change| match change {
                Change::Ended(weaker, taken, _) if *weaker == LockId::file(Level::RESERVED) => Some(taken.sql),
                _ => None,
            };
            past.writer = self.changes[change..].iter().find_map(reserved).unwrap_or(0);
            past.alone = self.conns.get(index).map_or_else(Alone::default, |conn| conn.activity.alone);
        }
        past
    }

    /// Whether holds seemed to exclude each other: see [`super::audit`].
    pub(super) fn contradiction(&self) -> bool {
        self.blockers.contradiction
    }

    /// The trace has ended. Where what was decided before that rests on a wrong assumption: what should have been assumed.
    pub(super) fn finish(mut self, summary: Summary) -> (Analysis<'t>, Option<Facts>) {
        // Holds that the trace ends with, and what is left of the waits.
        let open: Vec<Index> = self.conns.all().map(|(index, _)| index).collect();
        let gaps = self.gaps(&summary);
        for index in open {
            self.end_wait(index, Outcome::TraceEnd);
            let Some(conn) = self.conns.get(index) else { continue };
            let (who, last, lifetime) = (conn.id, conn.locks.last, conn.mode.lifetime);
            let held: Vec<_> = conn.locks.held().collect();
            let (db, activity, watched) = (conn.db, conn.activity, conn.watched);
            let (_, lossy) = gaps[who.log.0 as usize];
            let seen = self.seen[who.log.0 as usize].latest;
            // Up to here its process lived, and held what it had not given up.
            let alive = if lossy { last } else { seen.max(self.times.last_anchor(who.log)) };
            for (lock, taken) in held {
                self.blockers.doubt(who, lock, taken.refused, alive);
                if watched > 0 {
                    self.holdings.open(who, lock, &activity);
                }
                if db == NO_DATABASE {
                    continue;
                }
                let lifetime = lifetime && lock == LockId::file(Level::SHARED);
                if let Some(watch) = &mut self.watch {
                    let end = (alive.max(taken.asked), SpanEnd::Open, None);
                    watch.hold(&Span::of(who, db, lock, &taken, lifetime, end));
                }
                if lifetime {
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
        let mut span: Option<(u64, u64)> = None;
        for (from, to) in (0..).map(LogId).zip(&self.seen).filter_map(|(log, seen)| seen.span(self.trace, log)) {
            span = Some(span.map_or((from, to), |all| (all.0.min(from), all.1.max(to))));
        }
        for (gaps, log) in self.gaps.iter_mut().zip(self.trace.logs()) {
            gaps.finish(log.head);
        }
        let losses = gaps.iter().any(|gap| gap.1) || summary.tallies.iter().any(|tally| tally.overwritten > 0);
        let facts = Facts { losses, lossy: gaps.iter().map(|gap| gap.0).collect() };
        // What was decided early rests on what was assumed.
        let wrong = self.settled.early && self.settled.facts != facts;
        let alive = self.alive().collect();
        let mut incidents = self.settle_all(facts.clone(), alive);
        let firsts = std::mem::take(&mut self.databases.firsts);
        let mut databases = self.databases.all;
        databases.iter_mut().for_each(Database::finish);
        let hazards = self.signs.finish(self.trace, &databases, &firsts);
        let holdings = number_anew(&mut incidents, self.holdings);
        let analysis = Analysis {
            incidents,
            hazards,
            holdings,
            trace: self.trace,
            summary,
            databases,
            refusals: self.blockers.refusals.finish(),
            waits: self.runs.finish(),
            totals: self.settled.totals,
            attempts: self.settled.attempts,
            options: self.settled.options,
            records: self.records,
            span,
            times: self.times,
        };
        (analysis, wrong.then_some(facts))
    }

    /// The latest sign of life of each log.
    pub(super) fn alive(&self) -> impl Iterator<Item = Instant> + '_ {
        (0..).map(LogId).zip(&self.seen).map(|(log, seen)| seen.latest.max(self.times.last_anchor(log)))
    }

    /// For each log: whether more than one record is lost between others; whether any is lost that could have ended a hold.
    fn gaps(&self, summary: &Summary) -> Vec<(bool, bool)> {
        self.seen.iter().zip(&summary.tallies).map(|(seen, tally)| seen.lost(tally)).collect()
    }
}
