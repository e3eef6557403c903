//! The `tracing` bridge: lock calls as `tracing` events, emitted on the locking thread and so under the application's current span.
//!
//! Their target is `locktrace`:
//!
//! | level | what | when |
//! | --- | --- | --- |
//! | WARN | a lock was refused: database, lock, SQL, and the connection of this process that holds it, if one does | at the first refusal of a wait |
//! | DEBUG | a wait that ended with the lock: its length and the number of refusals | when the lock is granted |
//! | TRACE | every lock that is taken, refused or released | always |
//!
//! A wait is that of the analysis ([`crate::analysis::waits::wait`]). Two kinds of refusal emit no warning, because no statement fails by them:
//! locks that SQLite requests opportunistically ([`Request::is_optional`]), and the EXCLUSIVE lock that a closing connection requests. Only the
//! next call shows that a connection is closing. So the warning for an EXCLUSIVE refused straight from SHARED comes one call later.
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

/// The target for filters, as in `RUST_LOG=locktrace=debug`.
const TARGET: &str = "locktrace";

/// A wait of a connection, on the thread that makes the attempts.
#[derive(Clone, Copy)]
struct ThreadWait {
    open: OpenWait,
    /// The log of its records.
    log: u32,
    /// A refusal whose warning depends on the next call.
    unreported: Option<Event>,
}

thread_local! {
    static WAIT: Cell<Option<ThreadWait>> = const { Cell::new(None) };
}

/// Emits the events of this call, on the locking thread.
pub(super) fn emit(event: &Event) {
    if enabled!(target: TARGET, Level::TRACE) && is_transition(event) {
        let ns = event.duration().map(|duration| duration.as_nanos() as u64);
        let (database, sql) = (event.database(), event.sql_text());
        let database = database.as_ref().map(|path| display(path.display()));
        trace!(target: TARGET, database, connection = event.connection(), duration_ns = ns, sql, "{event}");
    }
    let wait = WAIT.get();
    if wait.is_none() && !event.result().is_busy() {
        return;
    }
    if enabled!(target: TARGET, Level::WARN) {
        WAIT.set(after(wait, event));
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

/// The thread's wait after this event. Emits the events of a wait that begins or ends with it.
fn after(wait: Option<ThreadWait>, event: &Event) -> Option<ThreadWait> {
    let record = event.record();
    let log = event.call.log.serial();
    if let Some(mut wait) = wait {
        if wait.open.wait.who.conn != record.conn || wait.log != log {
            // A call of another connection while this one waits, perhaps from its busy handler.
            return Some(wait);
        }
        if let Some(unreported) = wait.unreported.take()
            && !matches!(record.kind, Kind::SHM_UNMAP | Kind::CLOSE)
        {
            refused(&unreported);
        }
        match wait.open.meaning(record) {
            Meaning::Waits => {
                wait.open.wait.sleeps += u32::from(record.kind == Kind::SLEEP);
                return Some(wait);
            }
            Meaning::Refused => {
                wait.open.wait.attempts += 1;
                return Some(wait);
            }
            Meaning::Granted => {
                granted(event, &wait.open.wait);
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
    Some(ThreadWait { open: OpenWait::new(wait, 0), log, unreported: perhaps_closing.then_some(*event) })
}

fn refused(event: &Event) {
    let Some(request) = event.request() else { return };
    if enabled!(target: TARGET, Level::WARN) {
        let (database, sql) = (event.database(), event.sql_text());
        let holder = holders::blockers(event);
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
