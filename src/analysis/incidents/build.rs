//! The incident that a wait becomes: its blockers, its cause, how it ended, and the evidence.
//!
//! An incident is built when enough later waits have begun, or the trace has ended.
#![forbid(unsafe_code)]

use crate::analysis::causes;
use crate::analysis::causes::case::{Case, CaseCandidate};
use crate::analysis::causes::cause::Cause;
use crate::analysis::causes::contributing::{self, Contributing};
use crate::analysis::causes::evidence::{Evidence, Role};
use crate::analysis::causes::sql;
use crate::analysis::incidents::incident::{Blocker, Incident, IncidentEnd, KEPT, State};
use crate::analysis::locks::blocking_holds::{BlockingHold, BlockingHolds};
use crate::analysis::locks::commits::Stale;
use crate::analysis::locks::databases::Database;
use crate::analysis::locks::lock::{LockId, Request};
use crate::analysis::locks::state::HoldEnd;
use crate::analysis::order::gaps::Gaps;
use crate::analysis::order::instants::{Instant, Times};
use crate::analysis::waits::busy_handler::{PATIENCE_NS, RETRIES, RETRY_PATIENCE_NS};
use crate::analysis::waits::pending::{CandidateHold, PendingWait, PendingWaits};
use crate::analysis::waits::wait::{Wait, WaitEnd};
use crate::trace::Trace;
use shim::event::Slot;

/// What the pass knows when it builds an incident.
pub(crate) struct Known<'a> {
    pub trace: &'a Trace,
    pub times: Times<'a>,
    pub databases: &'a [Database],
    pub waits: &'a PendingWaits,
    pub blocking_holds: &'a BlockingHolds,
    /// Missing record numbers, by log.
    pub gaps: &'a [Gaps],
    /// Records that could have shown a candidate are missing.
    pub losses: bool,
    /// The latest sign of life of each log.
    pub alive: &'a [Instant],
}

/// The blockers for these candidates, the one that refused most attempts first, and how many further ones there are.
pub(crate) fn blockers(
    known: &Known<'_>,
    candidates: &[CandidateHold],
    more: u32,
    span: (Instant, Instant),
) -> (Vec<Blocker>, u32) {
    let mut all: Vec<Blocker> = candidates
        .iter()
        .map(|by| Blocker {
            hold: by.hold,
            tid: by.tid,
            certain: by.certain,
            same_thread: by.same_thread,
            attempts: by.attempts,
            state: State::Running,
            waits_in: None,
            held_before_ns: None,
            held_after_ns: None,
        })
        .collect();
    all.sort_by_key(|blocker| (!blocker.certain, std::cmp::Reverse(blocker.attempts)));
    let more = more + all.len().saturating_sub(KEPT) as u32;
    all.truncate(KEPT);
    for blocker in &mut all {
        let hold = &known.blocking_holds.all[blocker.hold as usize];
        let log = hold.who.log;
        blocker.held_before_ns = hold.seen.then(|| known.times.ns(log, hold.since, span.0)).flatten();
        blocker.held_after_ns = match hold.end {
            HoldEnd::Released(at, _) => known.times.ns(log, span.1, at),
            HoldEnd::Open => known.alive.get(log.0 as usize).and_then(|&alive| known.times.ns(log, span.1, alive)),
            HoldEnd::Unseen(..) => None,
        };
    }
    (all, more)
}

/// The incident that the wait with this number becomes.
pub(crate) fn of_wait(known: &Known<'_>, index: u32, pending: &PendingWait) -> Incident {
    let wait = &pending.wait;
    let span = (wait.from, wait.until);
    let (mut blockers, more_blockers) = blockers(known, &pending.candidates, pending.more, span);
    let names = &known.trace.log(wait.who.log).names;
    let candidates: Vec<CaseCandidate<'_>> = blockers
        .iter()
        .map(|blocker| {
            let hold = &known.blocking_holds.all[blocker.hold as usize];
            let wait = known.waits.wait_of(hold, span);
            let checkpoint = 1 << Slot::CKPT.0 | 1 << Slot::WRITE.0;
            let convoy = wait.is_some_and(|(_, wait)| {
                wait.before.exclusive & checkpoint == checkpoint && LockId::of(wait.request).slot().is_some_and(Slot::is_read)
            });
            CaseCandidate { hold, certain: blocker.certain, same_thread: blocker.same_thread, waits: wait.is_some(), convoy }
        })
        .collect();
    let outside = if candidates.is_empty() { pending.outside } else { None };
    let case = Case {
        outside: outside.is_some(),
        trace: known.trace,
        times: known.times,
        wait,
        wait_end: wait_end(known, wait),
        sql: names.sql(wait.sql).map(|sql| sql.text.text.as_str()),
        candidates: &candidates,
        gaps: &known.gaps[wait.who.log.0 as usize],
        all_gaps: known.gaps,
        losses: known.losses || pending.incomplete,
        alive: known.alive,
        rollback: wait.db.is_some_and(|db| !known.databases[db as usize].modes.wal),
    };
    let verdict = causes::decide::decide(&case);
    let mut contributing = contributing::all(&case, verdict.cause);
    let upgrade = verdict.cause == Cause::UpgradeRefused;
    let own_cursor = upgrade && case.sql.is_some_and(sql::is_begin);
    if own_cursor && !contributing.contains(&Contributing::UnfinishedStatement) {
        contributing.push(Contributing::UnfinishedStatement);
        contributing.sort();
    }
    for blocker in &mut blockers {
        let hold = &known.blocking_holds.all[blocker.hold as usize];
        let waits = known.waits.wait_of(hold, span);
        blocker.state = state(&case, hold, waits.is_some());
        // For now the number of the wait. The number of its incident is known at the end of the pass.
        blocker.waits_in = waits.map(|(number, _)| number).filter(|_| blocker.state == State::Waiting);
    }
    let ended = match case.wait_end {
        // SQLite called no busy handler, so the application saw the error at once, however the wait went on.
        _ if (verdict.cause.entry().fails_at_once)(wait) => IncidentEnd::GaveUp,
        WaitEnd::Acquired | WaitEnd::WentOn => IncidentEnd::SucceededAfterWait,
        WaitEnd::GaveUp => IncidentEnd::GaveUp,
        WaitEnd::TraceEnd => IncidentEnd::Open,
    };
    let mut evidence = verdict.evidence;
    let own = |number, role| Evidence { log: wait.who.log, number, role };
    evidence.push(own(wait.numbers.0, Role::FirstRefused));
    // For a single attempt this is a duplicate, which is removed below.
    evidence.push(own(wait.numbers.1, Role::LastRefused));
    if let Some(next) = wait.next {
        evidence.push(own(next, if case.wait_end == WaitEnd::Acquired { Role::Granted } else { Role::Next }));
    }
    let mut incident = Incident {
        db: wait.db,
        request: wait.request,
        who: wait.who,
        tid: wait.tid,
        sql: wait.sql,
        reading_sql: wait.before.reading.filter(|_| upgrade).map_or(0, |reading| reading.sql),
        own_cursor,
        blockers,
        more_blockers,
        outside,
        first: wait.from,
        until: wait.until,
        attempts: wait.attempts,
        sleeps: wait.sleeps,
        slept_us: wait.slept_us,
        end: ended,
        checkpoint_busy: ended == IncidentEnd::GaveUp && matches!(wait.request, Request::Shm { .. }) && is_checkpoint(&case),
        went_on: case.wait_end == WaitEnd::WentOn,
        cause: verdict.cause,
        contributing,
        evidence,
        wait: Some(index),
    };
    add_holds(known, &mut incident);
    incident
}

/// How a wait ended. A wait that was open when the trace ended was given up if its process lived on for longer than any pause between two
/// attempts. It was also given up if its timeout was used up before the last attempt.
fn wait_end(known: &Known<'_>, wait: &Wait) -> WaitEnd {
    let slept = wait.sleeps >= wait.attempts;
    let log = wait.who.log.0 as usize;
    let alive = known.alive.get(log).filter(|_| !known.gaps[log].after(wait.numbers.1));
    let alive = alive.and_then(|&alive| known.times.ns(wait.who.log, wait.until, alive));
    let lived = |pause| alive.is_some_and(|ns| ns > pause);
    // A connection that finds the wal-index unusable and no other connection repairing it sleeps by other rules, not after each attempt.
    let retries = wait.is_recovery() && wait.recovery.1 > 0;
    match wait.end {
        // A connection that fails to commit releases its locks at once.
        WaitEnd::TraceEnd if wait.before.early => WaitEnd::TraceEnd,
        WaitEnd::TraceEnd if retries && (lived(RETRY_PATIENCE_NS) || wait.attempts >= RETRIES) => WaitEnd::GaveUp,
        WaitEnd::TraceEnd if !retries && !slept && (wait.last_sleep_cut || lived(PATIENCE_NS)) => WaitEnd::GaveUp,
        end => end,
    }
}

/// Adds the records of the blockers' holds to the evidence, and sorts it.
pub(crate) fn add_holds(known: &Known<'_>, incident: &mut Incident) {
    for blocker in &incident.blockers {
        let hold = &known.blocking_holds.all[blocker.hold as usize];
        let log = hold.who.log;
        incident.evidence.push(Evidence { log, number: hold.number, role: Role::Took });
        if let HoldEnd::Released(_, number) = hold.end {
            incident.evidence.push(Evidence { log, number, role: Role::GaveUp });
        }
    }
    incident.evidence.sort();
    incident.evidence.dedup_by_key(|evidence| (evidence.log, evidence.number));
}

/// What the holder was doing while the victim was refused.
fn state(case: &Case<'_>, hold: &BlockingHold, waits: bool) -> State {
    let met = case.met(hold);
    let copying = hold.lock.slot() == Some(Slot::CKPT) || (met.copies > 0 && met.copies >= met.length / 2);
    match () {
        () if matches!(hold.end, HoldEnd::Unseen(..)) || case.died(hold) => State::Gone,
        () if waits => State::Waiting,
        () if copying => State::Checkpointing,
        () if contributing::is_open(case, hold) => State::Running,
        () if contributing::is_slow_sync(case, hold) => State::Syncing,
        () if contributing::is_idle(case, hold) => State::IdleInTransaction,
        () => State::Running,
    }
}

/// Whether the victim is a `PRAGMA wal_checkpoint`, which answers with a row where it is refused. Without the text of the statement, CKPT shows a
/// checkpoint: an automatic one has no statement, and `sqlite3_wal_checkpoint_v2`, which has none either, is no function of Python's, Node's or the
/// shell's.
fn is_checkpoint(case: &Case<'_>) -> bool {
    const CKPT: u8 = 1 << Slot::CKPT.0;
    let wait = case.wait;
    let checkpoints = wait.before.exclusive & CKPT != 0 || wait.request == Request::Shm { mask: CKPT, exclusive: true };
    case.sql.map_or_else(|| checkpoints && (wait.sql != 0 || wait.before.default_handler), sql::is_checkpoint)
}

/// The incident that an upgrade from a stale snapshot is. `waited`: SQLite slept before the statement began to read, the last time.
pub(crate) fn of_stale(blocking_holds: &BlockingHolds, times: &Times<'_>, stale: &Stale, waited: bool) -> Incident {
    let own = |number, role| Evidence { log: stale.who.log, number, role };
    let peer = &stale.peer;
    let mut evidence = vec![
        own(stale.reading.number, Role::Reading),
        own(stale.numbers.0, Role::TookWrite),
        own(stale.numbers.1, Role::GaveWriteUp),
        Evidence { log: peer.who.log, number: peer.number, role: Role::Committed },
    ];
    evidence.sort();
    Incident {
        db: Some(stale.db),
        request: Request::Shm { mask: 1 << Slot::WRITE.0, exclusive: true },
        who: stale.who,
        tid: stale.tid,
        sql: stale.sql,
        reading_sql: if stale.own { 0 } else { stale.reading.sql },
        own_cursor: false,
        blockers: blocking_holds.find(peer.who, LockId::shm(Slot::WRITE.0, true), peer.since).map_or_else(Vec::new, |hold| {
            vec![Blocker {
                hold,
                tid: peer.tid,
                certain: true,
                same_thread: peer.who.log == stale.who.log && peer.tid == stale.tid,
                attempts: 1,
                state: State::Running,
                waits_in: None,
                held_before_ns: times.ns(peer.who.log, peer.since, peer.at),
                held_after_ns: Some(0),
            }]
        }),
        more_blockers: 0,
        outside: None,
        first: stale.span.0,
        until: stale.span.1,
        attempts: 1,
        sleeps: 0,
        slept_us: 0,
        end: IncidentEnd::GaveUp,
        checkpoint_busy: false,
        went_on: false,
        cause: match stale.own {
            false => Cause::StaleSnapshot,
            // SQLite calls the busy handler for a statement that began to read itself (btree.c: `sqlite3BtreeBeginTrans`).
            true if waited => Cause::HoldExceedsTimeout,
            true => Cause::NoBusyTimeout,
        },
        contributing: Vec::new(),
        evidence,
        wait: None,
    }
}
