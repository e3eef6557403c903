//! The `tracing` bridge: what happens to locks, as events under the application's current span.
//!
//! Input: events on the locking thread, where the span is that the application is in. Output: `tracing` events with the target
//! `locktrace`:
//!
//! | level | what | when |
//! | --- | --- | --- |
//! | WARN | a lock was refused: database, lock, SQL, and the connection of this process that holds it, if one does | at the first refusal of a run of attempts |
//! | DEBUG | a wait: the lock was granted after refusals; how long it took and how many | when it is granted |
//! | TRACE | every lock that is taken, refused or released | always |
//!
//! A run of attempts is what the analysis calls one ([`crate::analysis::waits::wait`]). Two kinds of refusal are no warning, because no
//! statement fails by them: those that SQLite can do without ([`Request::is_optional`]), and that of the EXCLUSIVE a closing connection tries
//! for. The latter is known only by what comes next, so a refused EXCLUSIVE straight from SHARED is told one call later.
#![forbid(unsafe_code)]

use super::event::Event;
use super::{holders, hub};
use crate::analysis::locks::lock::Request;
use crate::analysis::locks::state::ConnId;
use crate::analysis::waits::follow::{Meaning, OpenWait};
use crate::analysis::waits::wait::Wait;
use crate::report::human::duration;
use crate::trace::LogId;
use shim::event::{Flags, Kind, KnownKind as Known, Level as Lock};
use std::cell::Cell;
use tracing::field::display;
use tracing::{Level, debug, enabled, trace, warn};

/// What a filter calls us: `RUST_LOG=locktrace=debug`.
const TARGET: &str = "locktrace";

/// A run of refused attempts of a connection, on the thread that makes them.
#[derive(Clone, Copy)]
struct Run {
    waiting: OpenWait,
    /// The log of its records.
    log: u32,
    /// The refusal that is still to be told, if it turns out to be one.
    untold: Option<Event>,
}

thread_local! {
    static RUN: Cell<Option<Run>> = const { Cell::new(None) };
}

/// On the locking thread: what this call means to somebody who reads logs.
pub(super) fn emit(event: &Event) {
    if enabled!(target: TARGET, Level::TRACE) && is_transition(event) {
        let ns = event.duration().map(|duration| duration.as_nanos() as u64);
        let (database, sql) = (event.database(), event.sql_text());
        let database = database.as_ref().map(|path| display(path.display()));
        trace!(target: TARGET, database, connection = event.connection(), duration_ns = ns, sql, "{event}");
    }
    let run = RUN.get();
    if run.is_none() && !event.result().is_busy() {
        return;
    }
    if enabled!(target: TARGET, Level::WARN) {
        RUN.set(after(run, event));
    }
}

/// Whether a lock was taken, refused or released.
fn is_transition(event: &Event) -> bool {
    let changed = !event.record().flags.has(Flags::REDUNDANT);
    changed
        && match event.call().known() {
            Some(Known::Lock | Known::Unlock | Known::ShmLock | Known::ShmUnmap | Known::Close) => true,
            Some(Known::Open | Known::CheckReserved | Known::ShmMap | Known::Sync | Known::Sleep | Known::Delete) => false,
            Some(Known::CkptStart | Known::CkptDone | Known::Wrote | Known::Handle) | None => false,
        }
}

/// The thread's run of attempts after this event. Tells of those that begin and end with it.
fn after(run: Option<Run>, event: &Event) -> Option<Run> {
    let record = event.record();
    let log = event.seen.log.serial();
    if let Some(mut run) = run {
        let wait = &mut run.waiting.wait;
        if wait.who.conn != record.conn || run.log != log {
            // Another connection's call, while this one waits: its busy handler, perhaps.
            return Some(run);
        }
        if let Some(untold) = run.untold.take()
            && !matches!(record.kind, Kind::SHM_UNMAP | Kind::CLOSE)
        {
            refused(&untold);
        }
        match run.waiting.meaning(record) {
            Meaning::Waits => {
                run.waiting.wait.sleeps += u32::from(record.kind == Kind::SLEEP);
                return Some(run);
            }
            Meaning::Refused => {
                run.waiting.wait.attempts += 1;
                return Some(run);
            }
            Meaning::Granted => {
                granted(event, &run.waiting.wait);
                return None;
            }
            Meaning::Reads | Meaning::Over => {}
        }
    }
    let request = Request::of(record).filter(|request| record.rc.is_busy() && !request.is_optional())?;
    let who = ConnId { log: LogId(0), conn: record.conn, forked: false };
    let wait = Wait::new(who, None, request, 0, record, (record.start, record.end()));
    // The last close, a hot journal, or a change of the journal mode.
    let perhaps_closing = request == Request::File(Lock::EXCLUSIVE) && record.before <= Lock::SHARED;
    if !perhaps_closing {
        refused(event);
    }
    Some(Run { waiting: OpenWait::new(wait, 0), log, untold: perhaps_closing.then_some(*event) })
}

fn refused(event: &Event) {
    let Some(request) = event.request() else { return };
    if enabled!(target: TARGET, Level::WARN) {
        let (database, sql) = (event.database(), event.sql_text());
        let holder = holders::in_the_way(event);
        let database = database.as_ref().map(|path| display(path.display()));
        let (lock, result) = (display(request), display(event.result()));
        warn!(target: TARGET, database, connection = event.connection(), lock, result, sql, holder, "{request} refused");
    }
}

fn granted(event: &Event, wait: &Wait) {
    if enabled!(target: TARGET, Level::DEBUG) {
        let ns = hub().clock.ns(event.record().end().saturating_sub(wait.from));
        let (database, sql) = (event.database(), event.sql_text());
        let database = database.as_ref().map(|path| display(path.display()));
        let (lock, refusals) = (display(wait.request), wait.attempts);
        let connection = event.connection();
        debug!(target: TARGET, database, connection, lock, waited_ns = ns, refusals, sql, "waited {} for {}", duration(ns), wait.request);
    }
}
