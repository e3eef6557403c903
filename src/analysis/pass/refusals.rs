//! The refused attempts of a pass: their candidates, and the waits that they begin, continue or end.
#![forbid(unsafe_code)]

use super::connections::{Earlier, Lookup, NO_DATABASE};
use super::tables::Tables;
use crate::analysis::causes::sql;
use crate::analysis::locks::blocking_holds::BlockingHolds;
use crate::analysis::locks::commits::Commits;
use crate::analysis::locks::lock::{LockId, Request};
use crate::analysis::locks::reading::Reading;
use crate::analysis::locks::state::Index;
use crate::analysis::order::instants::{Call, Times};
use crate::analysis::waits::busy_handler::{UnownedSleeps, is_cut};
use crate::analysis::waits::conflicts::Conflicts;
use crate::analysis::waits::follow::{Meaning, OpenWait};
use crate::analysis::waits::pending::PendingWaits;
use crate::analysis::waits::refusal::{KernelQuery, Refusal};
use crate::analysis::waits::wait::{Before, Wait, WaitEnd};
use crate::trace::Event;
use shim::event::{Kind, Level, REFUSED_HERE, Slot};

/// Refused attempts and waits during the pass.
pub(super) struct Refusals<'t> {
    pub conflicts: Conflicts<'t>,
    pub pending: PendingWaits,
    pub unowned: UnownedSleeps,
    /// A wait that ended after its turn. It must be decided now.
    pub late: Option<u32>,
}

/// What a record means for the wait of its connection.
enum Joined {
    /// The record belongs to the wait with this number, or ended it with success and begins none.
    Wait(u32),
    /// The record is an attempt for another lock during the connection's wait.
    Beside,
    /// The connection does not wait, or no longer waits.
    None,
}

impl<'t> Refusals<'t> {
    /// Keeps the first `keep` refused attempts and the first `keep` waits for the reports.
    pub(super) fn new(times: Times<'t>, keep: usize) -> Refusals<'t> {
        Refusals {
            conflicts: Conflicts::new(times, keep),
            pending: PendingWaits::new(keep),
            unowned: UnownedSleeps::default(),
            late: None,
        }
    }

    /// Adds a refused attempt of this wait.
    #[cold]
    pub(super) fn refused(
        &mut self,
        tables: &mut Tables<'t>,
        blocking: &mut BlockingHolds,
        index: Index,
        call: &Call<'_>,
        request: Request,
        wait: u32,
    ) {
        let Event { log, number, ref record } = *call.event;
        let Some(conn) = tables.conns.get(index) else { return };
        let db = (conn.db != NO_DATABASE).then_some(conn.db);
        let place = self.conflicts.refusals.next();
        conn.refused = Some(place);
        if let Some(db) = db {
            tables.databases.all[db as usize].stats(LockId::of(request)).refused += 1;
        }
        let here = tables.trace.log(log).names.outside(conn.id.conn, record.start).is_some();
        if here {
            conn.kernel_query = Some((wait, record.start));
        }
        let kernel_query = conn.kernel_query.filter(|query| query.0 == wait).map(|(_, start)| KernelQuery { start, here });
        let refusal = Refusal {
            who: conn.id,
            db,
            request,
            number,
            tid: record.tid,
            sql: record.sql,
            rc: record.rc,
            start: call.start,
            end: call.end,
            closing: false,
            wait,
            candidates: Vec::new(),
            more_candidates: 0,
            in_process: record.arg == REFUSED_HERE,
            kernel_query,
            forgotten: false,
            counted: false,
        };
        self.conflicts.refused(&mut tables.conns, index, refusal);
        self.follow_candidates(tables, blocking, place);
        self.pending.refused(wait, place);
    }

    /// Follows the holds that may have refused this attempt.
    fn follow_candidates(&mut self, tables: &mut Tables<'t>, blocking: &mut BlockingHolds, place: u32) {
        let Some(refusal) = self.conflicts.refusals.get_mut(place) else { return };
        for candidate in &mut refusal.candidates {
            let Lookup::Live(index) = tables.conns.find(candidate.who) else { continue };
            let Some(conn) = tables.conns.get(index) else { continue };
            let hold = conn.hold_as_writer(candidate.lock);
            // Holds that have already ended are added from `looked_back` below.
            if !conn.locks.has(candidate.lock) || hold.asked != candidate.since {
                continue;
            }
            candidate.same_thread = candidate.who.log == refusal.who.log && conn.activity.tid == refusal.tid && refusal.tid != 0;
            if blocking.follow(candidate.who, candidate.lock, &hold, &conn.activity) {
                conn.blocking += 1;
            }
        }
        for (who, lock, hold, past) in self.conflicts.looked_back.drain(..) {
            blocking.ended_before(who, lock, &hold, &past);
        }
    }

    /// Follows a record of a connection that waits or is refused: it joins the wait, ends it, or begins one. Returns the wait to which a refused
    /// attempt belongs.
    #[inline(never)]
    pub(super) fn waited(
        &mut self,
        tables: &mut Tables<'t>,
        commits: &Commits,
        index: Index,
        call: &Call<'_>,
        before: Earlier,
    ) -> u32 {
        match self.join(tables, commits, index, call) {
            Joined::Wait(wait) => wait,
            Joined::Beside => self.begin(tables, commits, index, call, before, true),
            Joined::None => self.begin(tables, commits, index, call, before, false),
        }
    }

    /// Joins a record to the wait of its connection, or ends the wait.
    fn join(&mut self, tables: &mut Tables<'t>, commits: &Commits, index: Index, call: &Call<'_>) -> Joined {
        let Event { log, number, ref record } = *call.event;
        let Some(conn) = tables.conns.get(index) else { return Joined::Wait(0) };
        let end = call.end;
        let Some(waiting) = &mut conn.open_wait else { return Joined::None };
        let meaning = waiting.follow(record, number, |until| tables.times.ns(log, until, call.start));
        match meaning {
            Meaning::Waits => {
                if record.kind == Kind::SLEEP {
                    waiting.slept = true;
                    // A connection that finds the header half written pauses by itself: its busy handler does not sleep.
                    if std::mem::take(&mut waiting.header) {
                        waiting.pauses += 1;
                    } else {
                        waiting.wait.last_sleep_cut = is_cut(waiting.handled(), record.arg);
                    }
                    waiting.wait.sleeps += 1;
                    waiting.wait.slept_us = waiting.wait.slept_us.saturating_add(record.arg);
                    self.pending.went_on(waiting);
                } else if record.kind == Kind::SHM_LOCK
                    && Request::of(record).is_some_and(|request| LockId::of(request).slot() == Some(Slot::RECOVER))
                {
                    let (refused, granted) = &mut waiting.wait.recovery;
                    *(if record.rc.is_ok() { granted } else { refused }) += 1;
                    waiting.recovery_refused = !record.rc.is_ok();
                    waiting.header = record.rc.is_ok() && !waiting.wait.is_recovery();
                } else if record.kind == Kind::LOCK && record.rc.is_busy() {
                    // The connection has to start again with SHARED, and was refused that.
                    waiting.again(end, number);
                    self.pending.went_on(waiting);
                } else if record.kind == Kind::LOCK && record.requested == Level::SHARED {
                    waiting.shared = Some((end, number));
                } else {
                    // A reader's slot that SQLite carries on without is a wait of its own.
                    let beside =
                        record.kind == Kind::SHM_LOCK && record.rc.is_busy() && Request::of(record) != Some(waiting.wait.request);
                    if beside {
                        return Joined::Beside;
                    }
                }
                return Joined::Wait(waiting.index);
            }
            Meaning::Refused => {
                waiting.again(end, number);
                self.pending.went_on(waiting);
                return Joined::Wait(waiting.index);
            }
            Meaning::Granted => {
                waiting.wait.until = end;
                waiting.wait.next = Some(number);
                // SQLite calls no busy handler for a reader's slot, except while another connection rebuilds the wal-index.
                let (refused, free) = waiting.wait.recovery;
                let handler = matches!(waiting.wait.request, Request::File(_)) || refused > 0;
                // If the trace does not show that it asked for RECOVER, this is unknown.
                let unknown = !handler && waiting.wait.is_recovery() && waiting.wait.attempts > free;
                (conn.granted, conn.granted_to_any) = ((handler || unknown).then_some(number), unknown);
                self.end_wait(tables, commits, index, WaitEnd::Acquired);
                return Joined::Wait(0);
            }
            Meaning::Reads => {
                if let Some((at, number)) = waiting.shared {
                    (waiting.wait.until, waiting.wait.next) = (at, Some(number));
                    (conn.granted, conn.granted_to_any) = (Some(number), false);
                }
                self.end_wait(tables, commits, index, WaitEnd::Acquired);
            }
            Meaning::Over => {
                // The connection could not play a journal back, and the same statement reads now. The application retried, or its own busy
                // handler did.
                let tried = waiting.wait.request == Request::File(Level::EXCLUSIVE) && !waiting.wait.before.wal;
                if let Some((_, shared)) = waiting.shared.filter(|_| tried) {
                    let known = waiting.wait.before.reading.is_some_and(|reading| reading.sql != 0);
                    (conn.granted, conn.granted_to_any) = (Some(shared), !known);
                }
                let sure = !tables.logs.gaps[log.0 as usize].between(waiting.wait.numbers.1, number);
                waiting.wait.over = Some(number);
                let goes_on = waiting.goes_on(record) && sure;
                self.end_wait(tables, commits, index, if goes_on { WaitEnd::WentOn } else { WaitEnd::GaveUp });
            }
        }
        Joined::None
    }

    /// Begins a wait if this record is a refused attempt. `beside`: the connection is already in another wait. Returns the wait's number.
    fn begin(
        &mut self,
        tables: &mut Tables<'t>,
        commits: &Commits,
        index: Index,
        call: &Call<'_>,
        before: Earlier,
        beside: bool,
    ) -> u32 {
        let Event { log, number, ref record } = *call.event;
        let end = call.end;
        let (Some(request), Some(conn)) = (Request::of(record).filter(|_| record.rc.is_busy()), tables.conns.get(index)) else {
            return 0;
        };
        let default_handler = tables.logs.default_handler(tables.trace, log);
        let db = (conn.db != NO_DATABASE).then_some(conn.db);
        let (writers, wal_bytes) = db.map_or((0, 0), |db| commits.so_far(db));
        let reading = Reading::under(&mut conn.locks, before.lifetime);
        let earlier = if reading.is_some() { conn.activity.before_reading } else { conn.activity.previous() };
        let asleep = |(before, kind)| (before, if self.unowned.since(log, record.tid, before) { Kind::SLEEP } else { kind });
        let earlier = earlier.map(asleep);
        let recover = LockId::of(request).slot() == Some(Slot::RECOVER);
        let span = (call.start, end);
        let mut wait = Wait::new(conn.id, db, request, number, record, span);
        let same = |by: &Reading| (by.tid, by.sql) == (record.tid, record.sql) && by.sql != 0;
        let slot = reading.is_some_and(|reading| reading.lock.slot().is_some());
        // In WAL mode the statement may have waited for the wal-index since it began to read, or for SHARED when it opened the database.
        let since = |granted, number| slot && earlier.is_some_and(|(before, _)| before < granted) && granted <= number;
        let for_this = |reading: Reading| {
            same(&reading) && conn.granted.is_some_and(|granted| granted == reading.number || since(granted, reading.number))
        };
        let opened = Some(LockId::file(Level::SHARED)).filter(|&shared| slot && conn.locks.has(shared));
        let opened = opened.map(|shared| Reading::of(shared, conn.locks.hold(shared)));
        let waited = reading.is_some_and(for_this) || opened.is_some_and(|by| same(&by) && conn.granted == Some(by.number));
        // Which statement had waited may not be known.
        // SQLite's own handler would have left the record of a sleep.
        let may_have_waited =
            !default_handler && ((record.sql != 0 && conn.wrote_nothing == record.sql) || (waited && conn.granted_to_any));
        let waited = waited && !conn.granted_to_any;
        let text = || tables.trace.log(log).names.sql(record.sql).map(|sql| sql.text.text.as_str());
        let early = request == Request::File(Level::EXCLUSIVE)
            && !conn.mode.wal
            && record.before >= Level::RESERVED
            && text().is_some_and(sql::changes);
        wait.before = Before {
            wal: conn.mode.wal,
            checked: before.checked,
            earlier,
            reading,
            waited,
            may_have_waited,
            early,
            default_handler,
            ..wait.before
        };
        wait.recovery = (u32::from(recover), 0);
        (wait.writers, wait.wal_bytes) = ((writers, writers), wal_bytes);
        if beside {
            wait.end = WaitEnd::GaveUp;
            return self.pending.beside(wait);
        }
        let place = self.pending.begin(wait);
        conn.open_wait = Some(OpenWait::new(wait, place));
        place
    }

    /// Ends the connection's wait.
    pub(super) fn end_wait(&mut self, tables: &mut Tables<'t>, commits: &Commits, index: Index, end: WaitEnd) {
        let Some(waiting) = tables.conns.get(index).and_then(|conn| conn.open_wait.take()) else { return };
        let mut wait = Wait { end, ..waiting.wait };
        if let Some(db) = wait.db {
            wait.writers.1 = commits.so_far(db).0;
        }
        if self.pending.end(waiting.index, wait) {
            self.late = Some(waiting.index);
        }
        let Some(db) = wait.db else { return };
        let ns = tables.times.ns(wait.who.log, wait.from, wait.until);
        let stats = tables.databases.all[db as usize].stats(LockId::of(wait.request));
        match end {
            WaitEnd::Acquired | WaitEnd::WentOn => {
                if let Some(ns) = ns {
                    stats.waited.add(ns);
                }
            }
            WaitEnd::GaveUp | WaitEnd::TraceEnd => {
                stats.gave_up += u64::from(end == WaitEnd::GaveUp);
                if let Some(ns) = ns {
                    stats.tried.add(ns);
                }
            }
        }
    }
}
