//! The pass over the records of a trace: it finds the connection of each record, and gives the changes of its locks to the parts below.
//!
//! Each part owns its state. All parts look things up in [`tables`]. [`holds`] and [`refusals`] follow the changes, [`finalize`] decides the waits that
//! they collect, and [`observed`] reports to the observer.
#![forbid(unsafe_code)]

mod connections;
mod finalize;
mod holds;
mod logs;
mod observed;
mod read_trace;
mod refusals;
mod tables;

use crate::analysis::findings::{Analysis, Options};
use crate::analysis::locks::commits::Upgrade;
use crate::analysis::locks::databases::Database;
use crate::analysis::locks::lock::{LockId, Request};
use crate::analysis::locks::state::{Change, ConnId, HoldEnd, Index, NEVER, Release};
use crate::analysis::observer::Observer;
use crate::analysis::order::instants::Call;
use crate::analysis::waits::wait::WaitEnd;
use crate::trace::{Event, Summary, Trace};
use connections::{Earlier, Lookup, NO_DATABASE};
use finalize::{Finalizer, Missing, renumber};
use holds::Holds;
use observed::Observed;
use refusals::Refusals;
use shim::event::{FileKind, Flags, Kind, KnownKind as Known, Level};
use tables::Tables;

/// A pass over the records of a trace.
pub(super) struct Pass<'t, 'w> {
    tables: Tables<'t>,
    holds: Holds,
    refusals: Refusals<'t>,
    finalizer: Finalizer<'t>,
    observed: Observed<'w>,
    /// What the present record changed.
    changes: Vec<Change>,
    records: u64,
}

impl<'t, 'w> Pass<'t, 'w> {
    fn new(trace: &'t Trace, options: Options, missing: Missing, observer: Option<&'w mut dyn Observer>) -> Pass<'t, 'w> {
        let tables = Tables::new(trace, options.longest);
        let times = tables.times;
        Pass {
            tables,
            holds: Holds::default(),
            refusals: Refusals::new(times, options.listed),
            finalizer: Finalizer::new(options, missing),
            observed: Observed::by(observer),
            changes: Vec::new(),
            records: 0,
        }
    }

    fn event(&mut self, event: &Event) {
        let Event { log, number, ref record } = *event;
        self.records += 1;
        let call = self.tables.times.call(event);
        self.tables.logs.record(&call);

        let index = match ConnId::of(log, record) {
            None => {
                if record.kind == Kind::SLEEP {
                    self.refusals.unowned.slept(log, record.tid, number);
                }
                None
            }
            Some(id) => match self.tables.conns.find(id) {
                Lookup::Live(index) => Some(index),
                Lookup::New if record.kind != Kind::SLEEP => Some(self.tables.conns.add(id)),
                Lookup::New | Lookup::Closed => None,
            },
        };
        let mut db = if record.file == 0 { None } else { Some(self.tables.databases.find(log, record.file, number)) };
        if let Some(conn) = index.and_then(|index| self.tables.conns.get(index)) {
            match db {
                Some(db) if conn.db == NO_DATABASE => {
                    conn.db = db;
                    self.tables.databases.all[db as usize].connections += 1;
                    if let Some(index) = index {
                        self.refusals.conflicts.join(db, index, conn.locks.held());
                    }
                }
                None if conn.db != NO_DATABASE => db = Some(conn.db),
                _ => {}
            }
        }
        if let Some(db) = db {
            let database = &mut self.tables.databases.all[db as usize];
            database.records += 1;
            database.seen_in(log);
            database.redundant += u64::from(record.flags.has(Flags::REDUNDANT));
            if record.file_kind == FileKind::JOURNAL {
                match record.kind.known() {
                    Some(Known::Delete) => database.modes.journal_deleted |= record.rc.is_ok(),
                    Some(Known::Wrote | Known::Sync) => database.modes.journal_used = true,
                    Some(Known::Open | Known::Close | Known::Lock | Known::Unlock | Known::CheckReserved | Known::ShmLock) => {}
                    Some(Known::ShmMap | Known::ShmUnmap | Known::Sleep | Known::CkptStart | Known::CkptDone | Known::Handle)
                    | None => {}
                }
            }
        }
        self.observed.event(event, db);
        if let Some(index) = index {
            self.connection(index, &call);
        }
    }

    /// Follows a record of an open connection.
    fn connection(&mut self, index: Index, call: &Call<'_>) {
        let Call { event, start, end } = *call;
        let Event { number, ref record, .. } = *event;
        let Some(conn) = self.tables.conns.get(index) else { return };
        let (who, db) = (conn.id, conn.db);
        let checked = conn.activity.checked;
        conn.activity.record(record, number, start, end);
        self.observed.record(conn, call);
        if let Some(hold) = conn.released.take() {
            self.holds.blocking.released_with(hold, record);
        }
        let mut stale = conn.stale.take();
        let upgrade = match &mut stale {
            Some(stale) => {
                let released = stale.released.filter(|_| self.tables.logs.default_handler(self.tables.trace, event.log));
                let slept = released.map(|released| self.refusals.unowned.since(event.log, stale.tid, released));
                let whole = !self.tables.logs.gaps[event.log.0 as usize].between(stale.numbers.0, number);
                if whole || stale.by_another { stale.follow(record, number, start, slept) } else { Upgrade::None }
            }
            None => Upgrade::None,
        };
        if upgrade == Upgrade::Open {
            conn.stale = stale.take();
        }
        if record.flags.0 & (Flags::FORKED.0 | Flags::SHARED_CACHE.0) != 0 || !record.rc.is_ok() {
            self.holds.signs.flagged(db, event);
        }
        if std::mem::take(&mut conn.open_ended) && db != NO_DATABASE {
            self.refusals.conflicts.ended_by(db, conn.ended, start);
        }
        if let Some(number) = conn.refused.take()
            && matches!(record.kind, Kind::SHM_UNMAP | Kind::CLOSE)
            && let Some(refusal) = self.refusals.conflicts.refusals.get_mut(number)
        {
            refusal.closing = refusal.request == Request::File(Level::EXCLUSIVE);
        }
        conn.mode.before(record);
        let wal = conn.mode.wal;
        self.changes.clear();
        conn.locks.apply((start, end), number, record, &mut self.changes);
        let earlier = Earlier { lifetime: conn.mode.lifetime, checked };
        conn.mode.after(record, conn.locks.level.0);
        let waits = conn.open_wait.is_some();
        if db != NO_DATABASE {
            let database = &mut self.tables.databases.all[db as usize];
            if record.kind == Kind::WROTE && record.file_kind == FileKind::WAL {
                self.holds.commits.wrote(db, record.arg);
            }
            database.modes.wal |= wal;
            database.modes.reserved |=
                !wal && record.kind == Kind::LOCK && record.requested == Level::RESERVED && record.rc.is_ok();
            if !self.changes.is_empty() {
                self.changed(index, call, who, db, earlier);
            }
        }
        if waits || record.rc.is_busy() {
            let wait = self.refusals.waited(&mut self.tables, &self.holds.commits, index, call, earlier);
            self.decide_late();
            if let Some(request) = Request::of(record).filter(|_| record.rc.is_busy()) {
                self.refusals.refused(&mut self.tables, &mut self.holds.blocking, index, call, request, wait);
                self.finalizer.make_room(&mut self.tables, &mut self.refusals, &mut self.holds);
            }
        }
        if record.kind == Kind::CLOSE && record.file_kind == FileKind::DATABASE {
            self.closed(index, db);
        }
        if let Some(stale) = stale.filter(|_| upgrade == Upgrade::Failed) {
            let slept = |(number, kind)| kind == Kind::SLEEP || self.refusals.unowned.since(event.log, stale.tid, number);
            let waited = stale.earlier.is_some_and(slept);
            self.finalizer.upgrade_failed(&mut self.tables, &mut self.refusals, &mut self.holds, &stale, waited);
        }
    }

    #[cold]
    fn closed(&mut self, index: Index, db: u32) {
        if db != NO_DATABASE {
            self.refusals.conflicts.leave(db, index);
        }
        self.end_wait(index, WaitEnd::GaveUp);
        self.tables.conns.close(index);
    }

    /// Ends the connection's wait.
    fn end_wait(&mut self, index: Index, end: WaitEnd) {
        self.refusals.end_wait(&mut self.tables, &self.holds.commits, index, end);
        self.decide_late();
    }

    /// Decides a wait that ended after its turn.
    #[inline]
    fn decide_late(&mut self) {
        if let Some(number) = self.refusals.late.take() {
            self.finalizer.decide_late(&mut self.tables, &mut self.refusals, &mut self.holds, number);
        }
    }

    /// Counts the holds that began and ended, and reports them to the observer.
    fn changed(&mut self, index: Index, call: &Call<'_>, who: ConnId, db: u32, earlier: Earlier) {
        let event = call.event;
        let mut ended = None;
        let mut moved = false;
        for i in 0..self.changes.len() {
            match self.changes[i] {
                Change::Began(lock, hold) => {
                    if hold.seen {
                        moved = true;
                        self.tables.databases.all[db as usize].stats(lock).acquired += 1;
                    }
                    let named = self.refusals.conflicts.began(&mut self.tables.conns, db, index, who, lock, &hold);
                    self.holds.began(&mut self.tables, index, call, db, lock, &hold, earlier, named);
                }
                Change::Ended(lock, hold, end) => {
                    let past = Holds::past(&mut self.tables, index, &self.changes[i..], event, lock, end);
                    let number = self.refusals.conflicts.ended(db, who, lock, &hold, past, end);
                    if let Release::Seen(_, gone) = end {
                        moved = true;
                        if gone == NEVER {
                            ended = Some((ended.map_or(number, |(first, _): (u64, u64)| first), number));
                        }
                    }
                    self.holds.ended(&mut self.tables, index, event, db, (lock, &hold, end));
                    let lifetime = earlier.lifetime && lock == LockId::file(Level::SHARED);
                    let until = match end {
                        Release::Seen(at, _) => at,
                        Release::Unseen(_, by) => by,
                    };
                    self.observed.hold((who, db, lock), &hold, lifetime, (until, end.by(event.number)));
                    if lifetime {
                        continue;
                    }
                    let ns = match end {
                        Release::Seen(at, _) if hold.seen && hold.from != NEVER => self.tables.times.ns(who.log, hold.from, at),
                        _ => None,
                    };
                    let database = &mut self.tables.databases.all[db as usize];
                    match ns {
                        Some(ns) => {
                            database.stats(lock).held.add(ns);
                            database.hold(ns, lock, who, &hold, false);
                        }
                        None => database.stats(lock).unknown += 1,
                    }
                }
            }
        }
        self.tables.databases.all[db as usize].transitions += u64::from(moved);
        if let (Some(numbers), Some(conn)) = (ended, self.tables.conns.get(index)) {
            (conn.open_ended, conn.ended) = (true, numbers);
        }
    }

    /// Whether the observer wants no more records.
    fn enough(&self) -> bool {
        self.records & 0xffff == 0 && self.observed.enough()
    }

    /// Whether holds seemed to exclude each other: see [`crate::analysis::audit`].
    fn contradiction(&self) -> bool {
        self.refusals.conflicts.contradiction
    }

    /// Completes the analysis when the trace has ended. If earlier decisions rest on a wrong assumption, also returns the right one.
    fn finish(mut self, summary: Summary) -> (Analysis<'t>, Option<Missing>) {
        // The holds and waits that are open when the trace ends.
        let open: Vec<Index> = self.tables.conns.all().map(|(index, _)| index).collect();
        let lost = self.tables.logs.lost(&summary);
        for index in open {
            self.end_wait(index, WaitEnd::TraceEnd);
            let Some(conn) = self.tables.conns.get(index) else { continue };
            let (who, last, lifetime) = (conn.id, conn.locks.last, conn.mode.lifetime);
            let held: Vec<_> = conn.locks.held().collect();
            let (db, activity, blocking) = (conn.db, conn.activity, conn.blocking);
            let (_, lossy) = lost[who.log.0 as usize];
            let seen = self.tables.logs.coverage[who.log.0 as usize].latest;
            // Until this instant its process lived, and held what it had not released.
            let alive = if lossy { last } else { seen.max(self.tables.times.last_anchor(who.log)) };
            for (lock, hold) in held {
                self.refusals.conflicts.doubt(who, lock, hold.refused, alive);
                if blocking > 0 {
                    self.holds.blocking.open(who, lock, &activity);
                }
                if db == NO_DATABASE {
                    continue;
                }
                let lifetime = lifetime && lock == LockId::file(Level::SHARED);
                self.observed.hold((who, db, lock), &hold, lifetime, (alive.max(hold.asked), HoldEnd::Open));
                if lifetime {
                    continue;
                }
                let known = hold.seen && hold.from != NEVER;
                let ns = if known { self.tables.times.ns(who.log, hold.from, alive.max(hold.from)) } else { None };
                let database = &mut self.tables.databases.all[db as usize];
                database.stats(lock).open += 1;
                if let Some(ns) = ns {
                    database.hold(ns, lock, who, &hold, true);
                }
            }
        }
        let trace = self.tables.trace;
        let span = self.tables.logs.span(trace);
        let whole_since = self.tables.logs.whole_since(trace, &summary);
        self.tables.logs.finish(trace);
        let losses = lost.iter().any(|lost| lost.1) || summary.tallies.iter().any(|tally| tally.overwritten > 0);
        let missing = Missing { losses, lossy: lost.iter().map(|lost| lost.0).collect() };
        // Early decisions rest on the assumption.
        let wrong = self.finalizer.early && self.finalizer.missing != missing;
        let alive = self.tables.alive();
        let mut incidents = self.finalizer.finish(&mut self.tables, &mut self.refusals, &mut self.holds, missing.clone(), alive);
        let firsts = std::mem::take(&mut self.tables.databases.firsts);
        let mut databases = self.tables.databases.all;
        databases.iter_mut().for_each(Database::finish);
        let hazards = self.holds.signs.finish(trace, &databases, &firsts);
        let blocking_holds = renumber(&mut incidents, self.holds.blocking);
        let analysis = Analysis {
            incidents,
            hazards,
            blocking_holds,
            trace,
            summary,
            databases,
            refusals: self.refusals.conflicts.refusals.finish(),
            waits: self.refusals.pending.finish(),
            totals: self.finalizer.totals,
            refusal_stats: self.finalizer.stats,
            options: self.finalizer.options,
            records: self.records,
            span,
            whole_since,
            times: self.tables.times,
        };
        (analysis, wrong.then_some(missing))
    }
}
