//! What keeps a clean result from being one: places in the trace where a breach of these limits may hide.
//!
//! Input: the limits, the analysis and the losses. Output: sentences: what cannot be told, and from when on a log is judged. A loss that cannot hide a breach is
//! none of them: one of another database, one that is too short for a length that has a limit, a record that was being written when its process died (its
//! call never returned to SQLite).
#![forbid(unsafe_code)]

use super::{Check, nanoseconds};
use crate::analysis::framework::Frameworks;
use crate::analysis::{Analysis, Incident, IncidentEnd};
use crate::report::human::{count, duration};
use crate::report::{losses, words};
use crate::trace::losses::Loss;
use crate::trace::{Log, LogId, Severity, Tally};
use std::collections::HashSet;
use std::path::Path;

/// Logs that are named one by one.
const NAMED: usize = 5;

/// Two attempts of one wait can be this far apart (SQLite's own sleeps last 100 ms at most).
const BETWEEN_ATTEMPTS_NS: u64 = 200_000_000;

/// What there is to say beside the breaches.
#[derive(Default)]
pub(super) struct Doubts {
    /// Where a breach may hide.
    pub(super) unknown: Vec<String>,
    /// What to know about a result that is one.
    pub(super) notices: Vec<String>,
}

impl Doubts {
    /// `grown`: logs that were being written to while they were read.
    pub(super) fn of(check: &Check, analysis: &Analysis<'_>, missing: &[Loss], grown: &HashSet<LogId>) -> Doubts {
        let mut doubts = Doubts::default();
        if analysis.records == 0 {
            doubts.unknown.push("the trace has no records".to_owned());
        }
        doubts.lost(check, analysis, missing, grown);
        doubts.unreadable(analysis);
        if analysis.summary.late > 0 {
            let late = count(analysis.summary.late);
            doubts.unknown.push(format!("records out of order, so late that they cannot be sorted: {late}"));
        }
        let timed = check.max_hold.is_some() || check.max_wait.is_some();
        if timed && analysis.trace.clocks().iter().any(|clock| clock.ns_per_tick().is_none()) && analysis.records > 0 {
            doubts.unknown.push("a log has no usable pair of clock anchors: how long things took is not known".to_owned());
        }
        let counts = analysis.totals.by_database.iter();
        let counts = counts.filter(|((cause, db), _)| !check.allow.contains(cause) && check.is_about(analysis, *db));
        let open: u64 = counts.map(|(_, count)| count.open).sum();
        if check.no_gave_up {
            doubts.unslept(check, analysis);
        }
        if check.no_gave_up && open > 0 {
            let who = if open == 1 { "a connection waits" } else { "connections wait" };
            doubts.unknown.push(format!("the trace ends while {who} for a lock ({open})"));
        }
        doubts
    }

    /// Waits without a sleep of SQLite's: an application that tries again by itself has seen an error each time, a busy handler of its own none.
    fn unslept(&mut self, check: &Check, analysis: &Analysis<'_>) {
        let (mut unknown, mut notices) = (Vec::new(), Vec::new());
        let frameworks = Frameworks::of(analysis.trace);
        let asked = |incident: &Incident| !check.allow.contains(&incident.cause) && check.is_about(analysis, incident.db);
        for (number, incident) in
            (1..).zip(&analysis.incidents).filter(|(_, incident)| words::unslept(analysis, incident) && asked(incident))
        {
            if incident.end == IncidentEnd::GaveUp {
                continue;
            }
            let who = words::who(analysis, incident.who, incident.tid);
            let said =
                format!("incident {number}: {who} made {} attempts, and SQLite did not sleep between them", incident.attempts);
            if frameworks.framework(incident.who.log).is_some_and(|host| !host.takes_busy_handlers()) {
                unknown.push(format!("{said}: it seems that the application tried again by itself, and saw an error each time"));
            } else {
                notices.push(format!(
                    "{said}: if it was no busy handler of its own, but tried again by itself, it saw an error each time"
                ));
            }
        }
        self.unknown.extend(some_of(unknown));
        self.notices.extend(some_of(notices));
    }

    fn lost(&mut self, check: &Check, analysis: &Analysis<'_>, missing: &[Loss], grown: &HashSet<LogId>) {
        let (mut unknown, mut notices) = (Vec::new(), Vec::new());
        for (id, (log, tally)) in (0..).map(LogId).zip(analysis.trace.logs().iter().zip(&analysis.summary.tallies)) {
            if !check.concerns(log) {
                continue;
            }
            let name = log.names.argv().and_then(|argv| argv.first().copied()).unwrap_or_default();
            let name = format!("log {} (pid {} {})", log.id, log.pid, name.rsplit('/').next().unwrap_or_default());
            if log.names.was_off() {
                unknown.push(format!("{name}: the program stopped the recording for a time (PRAGMA locktrace = off)"));
            }
            if grown.contains(&id) && tally.lost + tally.torn + tally.missing > 0 {
                unknown.push(format!("{name}: {}, and it was being written to: check it again when it is not", losses(tally)));
                continue;
            }
            let (old, new): (Vec<&Loss>, Vec<&Loss>) =
                missing.iter().filter(|loss| loss.log == id && !in_flight(loss, tally)).partition(|loss| loss.overwritten);
            if let Some(loss) = new.iter().find(|loss| check.may_hide(analysis, log, tally, loss)) {
                let more = match new.len() - 1 {
                    0 => String::new(),
                    more => format!(", and some in {} other {}", count(more as u64), if more == 1 { "place" } else { "places" }),
                };
                unknown.push(format!("{name}: {} missing {}{more}", counted(loss.count()), between(analysis, loss)));
            }
            for loss in old {
                let from = loss.after.and_then(|after| analysis.trace.real_ns(id, after)).map_or("its end".to_owned(), time);
                let gone = format!("{name}: judged from {from} on: the {} before were overwritten", counted(loss.count()));
                if check.kept {
                    notices.push(gone);
                } else if check.may_hide(analysis, log, tally, loss) {
                    unknown.push(format!("{gone}; record with a larger LOCKTRACE_LIMIT, or judge only what is kept: --kept"));
                }
            }
        }
        self.unknown.extend(some_of(unknown));
        self.notices.extend(some_of(notices));
    }

    /// Files and lines of which nothing could be used, so that no tally counts what was in them.
    fn unreadable(&mut self, analysis: &Analysis<'_>) {
        let logs: HashSet<&str> = analysis.trace.logs().iter().map(|log| log.id.as_str()).collect();
        let counted =
            |path: &str| Path::new(path).file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| logs.contains(stem));
        let problems = analysis.summary.problems.iter();
        let bad = problems.filter(|problem| problem.severity == Severity::Problem && !counted(&problem.path));
        self.unknown.extend(some_of(bad.map(ToString::to_string).collect()));
    }
}

impl Check {
    /// Whether records that are lost here can have been a breach, or have hidden one.
    fn may_hide(&self, analysis: &Analysis<'_>, log: &Log, tally: &Tally, loss: &Loss) -> bool {
        // One record is enough for a refusal.
        if self.no_gave_up || self.no_refusals || self.no_hazards {
            return true;
        }
        let real = |ticks| analysis.trace.real_ns(loss.log, ticks);
        // Records from before the log was open are lost without a time; and nobody knows how long a process went on behind the last one.
        let from = loss.before.or((tally.lost == 0).then_some(log.first.ticks));
        let (Some(from), Some(to)) = (from.and_then(real), loss.after.and_then(real)) else { return true };
        // A lock that was taken in there by a connection that is not seen again is held to the end.
        let end = log.last.map_or(to, |last| last.real_ns).max(analysis.span.map_or(to, |(_, end)| end.max(to)));
        let hold = self.max_hold.is_some_and(|limit| end.saturating_sub(from) > nanoseconds(limit));
        hold || self.max_wait.is_some_and(|limit| longest_wait(analysis, loss.log, from, to) > nanoseconds(limit))
    }

    /// Whether a hold that was seen may be several, of which the ends and beginnings are lost.
    pub(super) fn is_doubtful(analysis: &Analysis<'_>, log: LogId, span: (u64, u64), missing: &[Loss]) -> bool {
        let real = |ticks: Option<u64>| ticks.and_then(|ticks| analysis.trace.real_ns(log, ticks));
        missing.iter().filter(|loss| loss.log == log && loss.count() > 1).any(|loss| {
            let (from, to) = (real(loss.before).unwrap_or(0), real(loss.after).unwrap_or(u64::MAX));
            from <= span.1 && to >= span.0
        })
    }
}

/// How long a wait may have been of which a part lies between these instants: with the waits that were seen to reach up to there, and go on from there.
fn longest_wait(analysis: &Analysis<'_>, log: LogId, from: u64, to: u64) -> u64 {
    // Where not every incident is listed, the one that goes on from there may be another. And: a build that waits inside the system call makes one record of a whole wait, at its end.
    if analysis.trace.log(log).names.may_wait_in_the_kernel() || analysis.not_listed()[0] > 0 {
        return u64::MAX;
    }
    let (mut first, mut last) = (from, to);
    for incident in analysis.incidents.iter().filter(|incident| incident.who.log == log) {
        let span = analysis.real_ns(log, incident.first).zip(analysis.real_ns(log, incident.until));
        let Some((begun, until)) = span else { return u64::MAX };
        if begun <= to.saturating_add(BETWEEN_ATTEMPTS_NS) && until.saturating_add(BETWEEN_ATTEMPTS_NS) >= from {
            (first, last) = (first.min(begun), last.max(until));
        }
    }
    last - first
}

/// Whether these are records that were being written when the process died, or when the trace was read. A call is recorded before it returns, so that
/// the application never learned of it.
fn in_flight(loss: &Loss, tally: &Tally) -> bool {
    loss.after.is_none()
        && !loss.overwritten
        && tally.lost == 0
        && tally.missing == 0
        && tally.torn == 0
        && loss.count() <= tally.empty
}

fn counted(number: u64) -> String {
    format!("{} {}", count(number), if number == 1 { "record" } else { "records" })
}

fn between(analysis: &Analysis<'_>, loss: &Loss) -> String {
    let real = |ticks: Option<u64>| ticks.and_then(|ticks| analysis.trace.real_ns(loss.log, ticks));
    match (real(loss.before), real(loss.after)) {
        (Some(from), Some(to)) => {
            format!("at {} within {}", words::at_real(analysis, from), duration(to.saturating_sub(from)))
        }
        (Some(from), None) => format!("at its end, from {} on", words::at_real(analysis, from)),
        (None, Some(to)) => format!("at its beginning, up to {}", words::at_real(analysis, to)),
        (None, None) => format!("(numbers {} to {})", loss.numbers.0, loss.numbers.1),
    }
}

fn time(real_ns: u64) -> String {
    humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(real_ns)).to_string()
}

/// The first few, and how many more there are.
fn some_of(mut all: Vec<String>) -> Vec<String> {
    let more = all.len().saturating_sub(NAMED);
    if more > 0 {
        all.truncate(NAMED);
        all.push(format!("and {} more like that", count(more as u64)));
    }
    all
}
