//! Incidents: runs of refused attempts that mattered, each with who was in the way, why, and the proof.
//!
//! In comes everything the pass over the records found (`Found`); out go [`Incident`]s in time order. A refusal that no application sees is no
//! incident (`harmless` says which those are); an upgrade from a stale snapshot is one, though no call failed. Called when the pass ends.
#![forbid(unsafe_code)]

use super::blockers::Refusal;
use super::cause::{self, Case, Cause, Contributing, Evidence, Role, Suspect, contributing};
use super::database::Database;
use super::gaps::Gaps;
use super::holding::{Ending, Holding, Holdings};
use super::lock::{LockId, Request};
use super::snapshot::Stale;
use super::timeline::ConnId;
use super::times::{Instant, Times};
use super::waits::{Outcome, PATIENCE_NS, Wait};
use crate::trace::{LogId, Outside, OutsideHolder, Trace};
use locktrace::event::{Level, Slot};
use std::collections::HashMap;

/// Holders kept for one incident; more are counted.
const KEPT: usize = 8;

/// What the holder was doing while the victim was refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum State {
    /// It was at work, as far as its calls tell.
    Running,
    /// It had a transaction open and mostly made no call.
    IdleInTransaction,
    /// Most of the hold went into `xSync`.
    Syncing,
    /// It was copying the WAL into the database.
    Checkpointing,
    /// It waited for another lock.
    Waiting,
    /// Its process was gone, or the hold had ended unseen.
    Gone,
    /// It is not in the trace.
    Untraced,
}

impl State {
    /// Its name in reports.
    pub fn id(self) -> &'static str {
        match self {
            State::Running => "running",
            State::IdleInTransaction => "idle-in-transaction",
            State::Syncing => "syncing",
            State::Checkpointing => "checkpointing",
            State::Waiting => "waiting",
            State::Gone => "gone",
            State::Untraced => "untraced",
        }
    }
}

/// How an incident ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Ended {
    /// The lock was granted in the end.
    SucceededAfterWait,
    /// The application saw an error.
    GaveUp,
    /// The trace ended first.
    Open,
}

impl Ended {
    /// Its name in reports.
    pub fn id(self) -> &'static str {
        match self {
            Ended::SucceededAfterWait => "succeeded-after-wait",
            Ended::GaveUp => "gave-up",
            Ended::Open => "open",
        }
    }
}

/// A connection in the way of a victim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocker {
    /// Its hold, an index into [`super::Analysis::holdings`].
    pub holding: u32,
    /// The thread that took it; 0 where that was not seen.
    pub tid: u32,
    /// It certainly held it throughout one of the attempts.
    pub certain: bool,
    /// Its connection's last call was made by the victim's thread.
    pub same_thread: bool,
    /// Attempts it refused, or may have refused.
    pub attempts: u32,
    /// What it was doing.
    pub state: State,
    /// The incident in which it waits itself, an index into [`super::Analysis::incidents`].
    pub waits_in: Option<u32>,
    /// From its beginning to the first attempt, in nanoseconds; `None` where that is not known.
    pub held_before_ns: Option<u64>,
    /// From the last attempt (or the success) to its end, in nanoseconds; `None` where that is not known.
    pub held_after_ns: Option<u64>,
}

/// One incident.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Incident {
    /// The database, an index into [`super::Analysis::databases`]; `None` where it is not known.
    pub db: Option<u32>,
    /// What was asked for.
    pub request: Request,
    /// The victim.
    pub who: ConnId,
    /// Its thread.
    pub tid: u32,
    /// Its statement; 0 = none, or not known.
    pub sql: u64,
    /// Who was in the way; the one that refused most attempts comes first.
    pub blockers: Vec<Blocker>,
    /// Further ones, not kept.
    pub more_blockers: u32,
    /// Where no traced connection was in the way: the refused attempt, an index into [`super::Analysis::refusals`], about which the kernel named a process
    /// outside the trace ([`super::Analysis::outside`]).
    pub outside: Option<u32>,
    /// When the first attempt began.
    pub first: Instant,
    /// When the lock was granted; otherwise when the last attempt was refused.
    pub until: Instant,
    /// Refused attempts.
    pub attempts: u32,
    /// Sleeps between them through SQLite's `xSleep`.
    pub sleeps: u32,
    /// The time those sleeps asked for, in microseconds.
    pub slept_us: u64,
    /// How it ended.
    pub ended: Ended,
    /// Why.
    pub cause: Cause,
    /// What made it worse.
    pub contributing: Vec<Contributing>,
    /// The records all this rests on.
    pub evidence: Vec<Evidence>,
    /// Its run of attempts, an index into [`super::Analysis::waits`]; `None` where no call failed.
    pub wait: Option<u32>,
}

/// What the pass over the records found.
pub(crate) struct Found<'a> {
    pub trace: &'a Trace,
    pub times: Times<'a>,
    pub databases: &'a [Database],
    pub refusals: &'a [Refusal],
    pub waits: &'a [Wait],
    pub holdings: &'a Holdings,
    pub stale: &'a [Stale],
    /// Missing record numbers, by log.
    pub gaps: &'a [Gaps],
    /// Records are missing that could have named a holder.
    pub losses: bool,
    /// The latest sign of life of each log.
    pub alive: Vec<Instant>,
}

/// Why a run of refused attempts is no incident.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Harmless {
    /// A closing connection asked whether it is the last one.
    Closing,
    /// A reader's slot that SQLite does without: to move a read mark, to restart the log, or for the moment in which another one does that.
    ReaderSlot,
    /// A passive checkpoint copied what it could, and left the rest to the next one.
    PassiveCheckpoint,
    /// An automatic checkpoint found another one at work.
    AutomaticCheckpoint,
    /// A reader met the wal-index while a writer was changing its header, looked again without a sleep, and read. (SQLite sleeps from the
    /// sixth look on; wal.c: `walTryBeginRead`.) Or it wanted to make the index anew, and met such a reader, which looks whether
    /// somebody does.
    HeaderChanging,
}

impl Harmless {
    /// Its name in reports.
    pub fn id(self) -> &'static str {
        match self {
            Harmless::Closing => "closing",
            Harmless::ReaderSlot => "reader-slot",
            Harmless::PassiveCheckpoint => "passive-checkpoint",
            Harmless::AutomaticCheckpoint => "automatic-checkpoint",
            Harmless::HeaderChanging => "header-changing",
        }
    }
}

/// Whether no application sees this, and why.
pub fn harmless(wait: &Wait) -> Option<Harmless> {
    let held = |slot: Slot| wait.before.exclusive & (1 << slot.0) != 0;
    match wait.request {
        Request::File(Level::EXCLUSIVE) if wait.closing && wait.before.level <= Level::SHARED => Some(Harmless::Closing),
        Request::Shm { mask, exclusive: true } if mask != 0 && mask & 0b111 == 0 => match (held(Slot::CKPT), held(Slot::WRITE)) {
            (false, _) => Some(Harmless::ReaderSlot),
            (true, false) => Some(Harmless::PassiveCheckpoint),
            (true, true) => None,
        },
        Request::Shm { mask, exclusive: false } if mask != 0 && mask & 0b111 == 0 => Some(Harmless::ReaderSlot),
        Request::Shm { mask, exclusive: true } if mask == 1 << Slot::CKPT.0 && wait.sql == 0 => Some(Harmless::AutomaticCheckpoint),
        Request::Shm { mask: 0b110, exclusive: true } if wait.before.exclusive == 1 << Slot::WRITE.0 => {
            Some(Harmless::HeaderChanging)
        }
        // RECOVER was free: nobody was making the index anew.
        _ if wait.is_recovery() && wait.outcome == Outcome::Acquired && wait.sleeps == 0 && matches!(wait.recovery, (0, 1..)) => {
            Some(Harmless::HeaderChanging)
        }
        _ => None,
    }
}

/// All incidents, in time order.
pub(crate) fn all(found: &Found<'_>) -> Vec<Incident> {
    let by_wait = by_wait(found);
    let waits_of = waits_by_connection(found);
    let mut incidents: Vec<Incident> = Vec::new();
    for (index, wait) in (0..).zip(found.waits) {
        if harmless(wait).is_none() {
            incidents.push(of_wait(found, index, &by_wait[index as usize], &waits_of));
        }
    }
    incidents.extend(super::starved::all(found, &by_wait));
    incidents.extend(found.stale.iter().map(|stale| of_stale(found, stale)));
    incidents.sort_by_key(|incident| (incident.first, incident.who, incident.wait));
    chains(found, &mut incidents, &waits_of);
    incidents
}

/// The refusals of each wait.
fn by_wait(found: &Found<'_>) -> Vec<Vec<u32>> {
    let mut by_wait = vec![Vec::new(); found.waits.len()];
    for (index, refusal) in (0..).zip(found.refusals) {
        if let Some(list) = by_wait.get_mut(refusal.wait as usize) {
            list.push(index);
        }
    }
    by_wait
}

/// The waits of each connection, in time order.
fn waits_by_connection(found: &Found<'_>) -> HashMap<ConnId, Vec<u32>> {
    let mut waits: HashMap<ConnId, Vec<u32>> = HashMap::new();
    for (index, wait) in (0..).zip(found.waits) {
        if harmless(wait).is_none() {
            waits.entry(wait.who).or_default().push(index);
        }
    }
    waits
}

/// The wait of this holder, while it held this, that overlaps this span.
fn waiting<'a>(
    found: &'a Found<'_>,
    waits_of: &HashMap<ConnId, Vec<u32>>,
    holding: &Holding,
    span: (Instant, Instant),
) -> Option<(u32, &'a Wait)> {
    let waits = waits_of.get(&holding.who)?;
    let end = match holding.ending {
        Ending::Released(at, _) | Ending::Unseen(at) => at.min(span.1),
        Ending::Open => span.1,
    };
    let at = waits.partition_point(|&wait| found.waits[wait as usize].until < span.0.max(holding.since));
    let overlapping =
        waits[at..].iter().map(|&index| (index, &found.waits[index as usize])).take_while(|(_, wait)| wait.from <= end);
    // One attempt and no sleep is no waiting.
    overlapping.into_iter().find(|(_, wait)| wait.attempts > 1 || wait.sleeps > 0)
}

/// Who was in the way of these attempts, most in the way first.
pub(super) fn blockers(found: &Found<'_>, refusals: &[u32], span: (Instant, Instant)) -> (Vec<Blocker>, u32) {
    let mut all: Vec<Blocker> = Vec::new();
    let mut more = 0;
    for refusal in refusals.iter().map(|&index| &found.refusals[index as usize]) {
        more = more.max(refusal.more_holders);
        for holder in &refusal.holders {
            let Some(holding) = found.holdings.find(holder.who, holder.lock, holder.since) else { continue };
            match all.iter_mut().find(|known| known.holding == holding) {
                Some(known) => {
                    known.attempts += 1;
                    known.certain |= holder.certain;
                    known.same_thread |= holder.same_thread;
                }
                None => all.push(Blocker {
                    holding,
                    tid: holder.tid,
                    certain: holder.certain,
                    same_thread: holder.same_thread,
                    attempts: 1,
                    state: State::Running,
                    waits_in: None,
                    held_before_ns: None,
                    held_after_ns: None,
                }),
            }
        }
    }
    all.sort_by_key(|blocker| (!blocker.certain, std::cmp::Reverse(blocker.attempts)));
    more += all.len().saturating_sub(KEPT) as u32;
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

fn of_wait(found: &Found<'_>, index: u32, refusals: &[u32], waits_of: &HashMap<ConnId, Vec<u32>>) -> Incident {
    let wait = &found.waits[index as usize];
    let span = (wait.from, wait.until);
    let (mut blockers, more_blockers) = blockers(found, refusals, span);
    let names = &found.trace.log(wait.who.log).names;
    let suspects: Vec<Suspect<'_>> = blockers
        .iter()
        .map(|blocker| {
            let holding = &found.holdings.all[blocker.holding as usize];
            let wait = waiting(found, waits_of, holding, span);
            let checkpoint = 1 << Slot::CKPT.0 | 1 << Slot::WRITE.0;
            let convoy = wait.is_some_and(|(_, wait)| {
                wait.before.exclusive & checkpoint == checkpoint && wait.request.lock().slot().is_some_and(Slot::is_read)
            });
            Suspect { holding, certain: blocker.certain, same_thread: blocker.same_thread, waits: wait.is_some(), convoy }
        })
        .collect();
    let outside = if suspects.is_empty() { outside(found, refusals) } else { None };
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
        losses: found.losses,
        alive: &found.alive,
        rollback: wait.db.is_some_and(|db| !found.databases[db as usize].modes.wal),
    };
    let verdict = cause::decide(&case);
    let contributing = contributing::all(&case, verdict.cause);
    for blocker in &mut blockers {
        let holding = &found.holdings.all[blocker.holding as usize];
        let waits = waiting(found, waits_of, holding, span).is_some();
        blocker.state = state(&case, holding, waits);
    }
    let ended = match case.outcome {
        // Refused inside a transaction: the application saw it at once, however it went on.
        _ if verdict.cause == Cause::UpgradeRefused => Ended::GaveUp,
        Outcome::Acquired => Ended::SucceededAfterWait,
        Outcome::GaveUp => Ended::GaveUp,
        Outcome::TraceEnd => Ended::Open,
    };
    let mut evidence = verdict.evidence;
    let own = |number, role| Evidence { log: wait.who.log, number, role };
    evidence.push(own(wait.numbers.0, Role::FirstRefused));
    if wait.numbers.1 != wait.numbers.0 {
        evidence.push(own(wait.numbers.1, Role::LastRefused));
    }
    if let Some(next) = wait.next {
        evidence.push(own(next, if ended == Ended::SucceededAfterWait { Role::Granted } else { Role::Next }));
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
        cause: verdict.cause,
        contributing,
        evidence,
        wait: Some(index),
    };
    add_holds(found, &mut incident);
    incident
}

/// The attempt about which the kernel named a process that is not in the trace.
fn outside(found: &Found<'_>, refusals: &[u32]) -> Option<u32> {
    refusals.iter().copied().find(|&index| {
        let refusal = &found.refusals[index as usize];
        let asked = refusal.asked.filter(|asked| asked.here);
        let answer = asked.and_then(|asked| found.trace.log(refusal.who.log).names.outside(refusal.who.conn, asked.start));
        answer.is_some_and(|answer| untraced(found.trace, answer).next().is_some())
    })
}

/// The processes in the kernel's answer that are not in the trace.
pub fn untraced<'a>(trace: &'a Trace, answer: &'a Outside) -> impl Iterator<Item = &'a OutsideHolder> {
    answer.others().filter(|holder| trace.logs().iter().all(|log| i64::from(log.pid) != holder.pid))
}

/// How a run ended; one that the trace ends with had given up, where its process lived on for longer than any pause between two attempts, or where its
/// timeout was used up before the last one.
fn outcome(found: &Found<'_>, wait: &Wait) -> Outcome {
    let slept = wait.sleeps >= wait.attempts;
    let log = wait.who.log.0 as usize;
    let alive = found.alive.get(log).filter(|_| !found.gaps[log].after(wait.numbers.1));
    let alive = alive.and_then(|&alive| found.times.ns(wait.who.log, wait.until, alive));
    match wait.outcome {
        Outcome::TraceEnd if !slept && (wait.last_sleep_cut || alive.is_some_and(|ns| ns > PATIENCE_NS)) => Outcome::GaveUp,
        outcome => outcome,
    }
}

/// The records of the holds, and all records in one order.
pub(super) fn add_holds(found: &Found<'_>, incident: &mut Incident) {
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
    let died =
        holding.ending == Ending::Open && case.alive.get(holding.who.log.0 as usize).is_some_and(|&alive| alive < case.wait.from);
    let met = case.met(holding);
    let copying = holding.lock.slot() == Some(Slot::CKPT) || (met.copies > 0 && met.copies >= met.length / 2);
    match () {
        () if matches!(holding.ending, Ending::Unseen(_)) || died => State::Gone,
        () if waits => State::Waiting,
        () if copying => State::Checkpointing,
        () if contributing::is_slow_sync(case, holding) => State::Syncing,
        () if contributing::is_idle(case, holding) => State::IdleInTransaction,
        () => State::Running,
    }
}

fn of_stale(found: &Found<'_>, stale: &Stale) -> Incident {
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
        blockers: found.holdings.find(peer.who, LockId::shm(Slot::WRITE.0, true), peer.since).map_or_else(Vec::new, |holding| {
            vec![Blocker {
                holding,
                tid: peer.tid,
                certain: true,
                same_thread: peer.who.log == stale.who.log && peer.tid == stale.tid,
                attempts: 1,
                state: State::Running,
                waits_in: None,
                held_before_ns: found.times.ns(peer.who.log, peer.since, peer.at),
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
        cause: Cause::StaleSnapshot,
        contributing: Vec::new(),
        evidence,
        wait: None,
    }
}

/// Tells each waiting blocker in which incident it waits.
fn chains(found: &Found<'_>, incidents: &mut [Incident], waits_of: &HashMap<ConnId, Vec<u32>>) {
    let of_wait: HashMap<u32, u32> =
        (0..).zip(incidents.iter()).filter_map(|(index, incident)| Some((incident.wait?, index))).collect();
    for incident in incidents {
        let span = (incident.first, incident.until);
        for blocker in incident.blockers.iter_mut().filter(|blocker| blocker.state == State::Waiting) {
            let holding = &found.holdings.all[blocker.holding as usize];
            blocker.waits_in = waiting(found, waits_of, holding, span).and_then(|(wait, _)| of_wait.get(&wait).copied());
        }
    }
}

/// Where a chain of waits ends: the incidents passed on the way, from this one on, each the reason for the one before. At most `KEPT` of them.
pub fn chain(incidents: &[Incident], from: u32) -> Vec<u32> {
    let mut passed = vec![from];
    while passed.len() < KEPT {
        let last = passed.last().and_then(|&index| incidents.get(index as usize));
        let next = last.and_then(|incident| incident.blockers.iter().find_map(|blocker| blocker.waits_in));
        match next {
            Some(next) if !passed.contains(&next) => passed.push(next),
            _ => break,
        }
    }
    passed
}

/// The records of an incident's log, for whoever asks which logs it is about.
pub fn logs(incident: &Incident) -> impl Iterator<Item = LogId> + '_ {
    incident.evidence.iter().map(|evidence| evidence.log)
}
