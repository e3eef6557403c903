//! What becomes of a run of refused attempts: who was in the way, why, how it ended, and the proof.
//!
//! In comes a run that is over, and what is known around it (`Found`); out goes an [`Incident`]. Called when the trace has gone far enough beyond it
//! ([`crate::analysis::pass::finalize`]), or has ended.
#![forbid(unsafe_code)]

use crate::analysis::causes::case::{Case, Suspect};
use crate::analysis::causes::cause::{Cause, Evidence, Role};
use crate::analysis::causes::sql;
use crate::analysis::causes::{self, contributing};
use crate::analysis::incidents::incident::{Blocker, Ended, Incident, KEPT, State};
use crate::analysis::locks::blocking_holds::{Ending, Holding, Holdings};
use crate::analysis::locks::commits::Stale;
use crate::analysis::locks::databases::Database;
use crate::analysis::locks::lock::{LockId, Request};
use crate::analysis::order::gaps::Gaps;
use crate::analysis::order::instants::{Instant, Times};
use crate::analysis::waits::busy_handler::{PATIENCE_NS, RETRIES, RETRY_PATIENCE_NS};
use crate::analysis::waits::pending::{Entry, Named, Runs};
use crate::analysis::waits::wait::{Outcome, Wait};
use crate::trace::Trace;
use locktrace::event::{Level, Slot};

/// What the pass over the records has found so far.
pub(crate) struct Found<'a> {
    pub trace: &'a Trace,
    pub times: Times<'a>,
    pub databases: &'a [Database],
    pub runs: &'a Runs,
    pub holdings: &'a Holdings,
    /// Missing record numbers, by log.
    pub gaps: &'a [Gaps],
    /// Records are missing that could have named a holder.
    pub losses: bool,
    /// The latest sign of life of each log.
    pub alive: &'a [Instant],
}

/// Who was in the way of these attempts, most in the way first.
pub(crate) fn blockers(found: &Found<'_>, named: &[Named], more: u32, span: (Instant, Instant)) -> (Vec<Blocker>, u32) {
    let mut all: Vec<Blocker> = named
        .iter()
        .map(|by| Blocker {
            holding: by.holding,
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
        let holding = &found.holdings.all[blocker.holding as usize];
        let log = holding.who.log;
        blocker.held_before_ns = holding.seen.then(|| found.times.ns(log, holding.since, span.0)).flatten();
        blocker.held_after_ns = match holding.ending {
            Ending::Released(at, _) => found.times.ns(log, span.1, at),
            Ending::Open => found.alive.get(log.0 as usize).and_then(|&alive| found.times.ns(log, span.1, alive)),
            Ending::Unseen(_) => None,
        };
    }
    (all, more)
}

/// The incident that this run is, with this number.
pub(crate) fn of_run(found: &Found<'_>, index: u32, run: &Entry) -> Incident {
    let wait = &run.wait;
    let span = (wait.from, wait.until);
    let (mut blockers, more_blockers) = blockers(found, &run.named, run.more, span);
    let names = &found.trace.log(wait.who.log).names;
    let suspects: Vec<Suspect<'_>> = blockers
        .iter()
        .map(|blocker| {
            let holding = &found.holdings.all[blocker.holding as usize];
            let wait = found.runs.waiting(holding, span);
            let checkpoint = 1 << Slot::CKPT.0 | 1 << Slot::WRITE.0;
            let convoy = wait.is_some_and(|(_, wait)| {
                wait.before.exclusive & checkpoint == checkpoint && wait.request.lock().slot().is_some_and(Slot::is_read)
            });
            Suspect { holding, certain: blocker.certain, same_thread: blocker.same_thread, waits: wait.is_some(), convoy }
        })
        .collect();
    let outside = if suspects.is_empty() { run.outside } else { None };
    let case = Case {
        outside: outside.is_some(),
        trace: found.trace,
        times: found.times,
        wait,
        outcome: outcome(found, wait),
        sql: names.sql(wait.sql).map(|sql| sql.text.text.as_str()),
        suspects: &suspects,
        gaps: &found.gaps[wait.who.log.0 as usize],
        all_gaps: found.gaps,
        losses: found.losses || run.incomplete,
        alive: found.alive,
        rollback: wait.db.is_some_and(|db| !found.databases[db as usize].modes.wal),
    };
    let verdict = causes::decide(&case);
    let contributing = contributing::all(&case, verdict.cause);
    for blocker in &mut blockers {
        let holding = &found.holdings.all[blocker.holding as usize];
        let waits = found.runs.waiting(holding, span);
        blocker.state = state(&case, holding, waits.is_some());
        // The number of the run; the incident it becomes is known in the end.
        blocker.waits_in = waits.map(|(number, _)| number).filter(|_| blocker.state == State::Waiting);
    }
    let ended = match case.outcome {
        // Refused inside a transaction, or where no busy handler is called: the application saw it at once, however it went on.
        _ if verdict.cause == Cause::UpgradeRefused || switches_at_once(wait, verdict.cause) => Ended::GaveUp,
        Outcome::Acquired | Outcome::WentOn => Ended::SucceededAfterWait,
        Outcome::GaveUp => Ended::GaveUp,
        Outcome::TraceEnd => Ended::Open,
    };
    let mut evidence = verdict.evidence;
    let own = |number, role| Evidence { log: wait.who.log, number, role };
    evidence.push(own(wait.numbers.0, Role::FirstRefused));
    // (Of one attempt it is the first and the last one: what is told twice is told once, below.)
    evidence.push(own(wait.numbers.1, Role::LastRefused));
    if let Some(next) = wait.next {
        evidence.push(own(next, if case.outcome == Outcome::Acquired { Role::Granted } else { Role::Next }));
    }
    let mut incident = Incident {
        db: wait.db,
        request: wait.request,
        who: wait.who,
        tid: wait.tid,
        sql: wait.sql,
        blockers,
        more_blockers,
        outside,
        first: wait.from,
        until: wait.until,
        attempts: wait.attempts,
        sleeps: wait.sleeps,
        slept_us: wait.slept_us,
        ended,
        told_busy: ended == Ended::GaveUp
            && matches!(wait.request, Request::Shm { .. })
            && case.sql.is_some_and(sql::is_checkpoint),
        went_on: case.outcome == Outcome::WentOn,
        cause: verdict.cause,
        contributing,
        evidence,
        wait: Some(index),
    };
    add_holds(found, &mut incident);
    incident
}

/// How a run ended; one that the trace ends with had given up, where its process lived on for longer than any pause between two attempts, or where its
/// timeout was used up before the last one.
fn outcome(found: &Found<'_>, wait: &Wait) -> Outcome {
    let slept = wait.sleeps >= wait.attempts;
    let log = wait.who.log.0 as usize;
    let alive = found.alive.get(log).filter(|_| !found.gaps[log].after(wait.numbers.1));
    let alive = alive.and_then(|&alive| found.times.ns(wait.who.log, wait.until, alive));
    let lived = |pause| alive.is_some_and(|ns| ns > pause);
    // Who finds the wal-index out of order, and nobody at work on it, sleeps by a measure of its own, and not after each attempt.
    let retries = wait.is_recovery() && wait.recovery.1 > 0;
    match wait.outcome {
        // (Who fails to commit gives its locks up at once.)
        Outcome::TraceEnd if wait.before.early => Outcome::TraceEnd,
        Outcome::TraceEnd if retries && (lived(RETRY_PATIENCE_NS) || wait.attempts >= RETRIES) => Outcome::GaveUp,
        Outcome::TraceEnd if !retries && !slept && (wait.last_sleep_cut || lived(PATIENCE_NS)) => Outcome::GaveUp,
        outcome => outcome,
    }
}

/// It changes the journal mode and was refused what SQLite asks for once: RESERVED, on the way to WAL (the transaction is open by then: vdbe.c,
/// `OP_JournalMode`), or EXCLUSIVE, to have the WAL to itself. Another attempt is another statement.
fn switches_at_once(wait: &Wait, cause: Cause) -> bool {
    let leaves = wait.before.wal && wait.before.level == Level::SHARED && wait.request == Request::File(Level::EXCLUSIVE);
    cause == Cause::JournalModeSwitch && (leaves || wait.request == Request::File(Level::RESERVED))
}

/// The records of the holds, and all records in one order.
pub(crate) fn add_holds(found: &Found<'_>, incident: &mut Incident) {
    for blocker in &incident.blockers {
        let holding = &found.holdings.all[blocker.holding as usize];
        let log = holding.who.log;
        incident.evidence.push(Evidence { log, number: holding.number, role: Role::Took });
        if let Ending::Released(_, Some(number)) = holding.ending {
            incident.evidence.push(Evidence { log, number, role: Role::GaveUp });
        }
    }
    incident.evidence.sort();
    incident.evidence.dedup_by_key(|evidence| (evidence.log, evidence.number));
}

/// What a holder was doing.
fn state(case: &Case<'_>, holding: &Holding, waits: bool) -> State {
    let met = case.met(holding);
    let copying = holding.lock.slot() == Some(Slot::CKPT) || (met.copies > 0 && met.copies >= met.length / 2);
    match () {
        () if matches!(holding.ending, Ending::Unseen(_)) || case.died(holding) => State::Gone,
        () if waits => State::Waiting,
        () if copying => State::Checkpointing,
        () if contributing::is_open(case, holding) => State::Running,
        () if contributing::is_slow_sync(case, holding) => State::Syncing,
        () if contributing::is_idle(case, holding) => State::IdleInTransaction,
        () => State::Running,
    }
}

/// The incident that an upgrade from a stale snapshot is.
pub(crate) fn of_stale(holdings: &Holdings, times: &Times<'_>, stale: &Stale) -> Incident {
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
        blockers: holdings.find(peer.who, LockId::shm(Slot::WRITE.0, true), peer.since).map_or_else(Vec::new, |holding| {
            vec![Blocker {
                holding,
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
        ended: Ended::GaveUp,
        told_busy: false,
        went_on: false,
        cause: Cause::StaleSnapshot,
        contributing: Vec::new(),
        evidence,
        wait: None,
    }
}
