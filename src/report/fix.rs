//! What removes a cause, in one or two sentences, with its limits; in the words of the host where the trace proves which one it is.
//!
//! Input: an incident. Output: text. Called by the reports.
#![forbid(unsafe_code)]

use super::framework::Frameworks;
use super::framework_fixes;
use super::words;
use crate::analysis::causes::remedy::Remedy;
use crate::analysis::{Analysis, Cause, Contributing, HazardKind, Incident, IncidentEnd, Request, Role, State};
use shim::event::Level;
use std::borrow::Cow;

/// What to change.
pub fn of(analysis: &Analysis<'_>, frameworks: &Frameworks, incident: &Incident) -> String {
    let mut text: Vec<Cow<'static, str>> = Vec::new();
    let entry = incident.cause.entry();
    let remedy = entry.remedy;
    let holder = incident.blockers.first().map(|blocker| &analysis.blocking_holds[blocker.hold as usize]);
    let alone = |item: &&Contributing| **item == Contributing::SameThreadHolder;
    let same_thread = incident.contributing.iter().filter(alone).filter_map(|item| worse(incident, *item));
    let worse = || incident.contributing.iter().filter(|item| !alone(item)).filter_map(|item| worse(incident, *item));
    // A thread that waits for itself waits for ever, also for a lock that it asks for at the beginning of a transaction.
    if incident.contributing.contains(&Contributing::SameThreadHolder) {
        text.extend(same_thread.map(Cow::Owned));
        if !matches!(remedy, Some(Remedy::Timeout | Remedy::Immediate)) {
            text.push(general(incident));
        }
        text.extend(worse().map(Cow::Owned));
    } else {
        text.push(general(incident));
        text.extend(worse().map(Cow::Owned));
        text.extend(is_silent(analysis, incident).then_some(Cow::Borrowed(SILENT)));
        let words = remedy.and_then(|remedy| framework_fixes::of(frameworks.framework(incident.who)?, remedy));
        text.extend(words.map(Cow::Borrowed));
    }
    text.extend(remedy.and_then(Remedy::limits).map(Cow::Borrowed));
    if let Some(holding) = holder {
        let taken = words::sql(analysis, holding.who, holding.sql);
        text.extend(taken.and_then(|sql| (entry.holder_advice)(&sql)).map(Cow::Borrowed));
        text.extend(frameworks.framework(holding.who).and_then(framework_fixes::let_go).map(Cow::Borrowed));
    }
    text.join(" ")
}

const LAST_CALL: &str = "The refused process made no call after that: it had no busy timeout and ended with the error, or it was ended while it waited. Nobody can tell which; either \
                         way, shorten the hold that is named, and set a busy timeout (sqlite3_busy_timeout, PRAGMA busy_timeout=5000) that is longer than what is left.";

/// Who was in the way is known, and nothing follows.
fn is_last_call(incident: &Incident) -> bool {
    let writes = matches!(incident.request, Request::File(Level::RESERVED) | Request::Shm { mask: 1, exclusive: true });
    writes && incident.end == IncidentEnd::Open && incident.blockers.first().is_some_and(|blocker| blocker.certain)
}

const SILENT: &str = "What the holder did meanwhile the trace does not tell: its statement ran on, or its transaction was left open, without COMMIT or ROLLBACK (one that \
                      was forgotten, or that an exception passed by).";

/// Shorter holds need no explanation.
const SILENT_NS: u64 = 100_000_000;

/// A writer stood in the way for long, and nothing is known of it but that it held the lock.
fn is_silent(analysis: &Analysis<'_>, incident: &Incident) -> bool {
    let Some(blocker) = incident.blockers.first().filter(|blocker| blocker.certain && blocker.state == State::Running) else {
        return false;
    };
    let waited = analysis.ns(incident.who.log, incident.first, incident.until).unwrap_or(0);
    let long = blocker.held_before_ns.is_some_and(|before| before.saturating_add(waited) >= SILENT_NS);
    incident.cause.entry().waits_for_writer
        && long
        && incident.contributing.is_empty()
        && analysis.blocking_holds[blocker.hold as usize].work.iter().all(|stretch| stretch.1 >= incident.until)
}

/// What is to be done about what made it worse; nothing where the cause's own words say it.
fn worse(incident: &Incident, contributing: Contributing) -> Option<String> {
    // It rests on one of those that were in the way, which need not be the one that is named.
    let several = incident.blockers.len() > 1 || incident.more_blockers > 0;
    let (holder, hold) = if several { ("One holder", "one hold") } else { ("The holder", "the hold") };
    contributing.entry().advice.map(|advice| advice.replace("{holder}", holder).replace("{hold}", hold))
}

/// What removes a hazard.
pub fn of_hazard(kind: HazardKind) -> &'static str {
    kind.entry().fix
}

/// What to do about a cause in general.
fn general(incident: &Incident) -> Cow<'static, str> {
    if incident.cause == Cause::Unexplained && is_last_call(incident) {
        return LAST_CALL.into();
    }
    let entry = incident.cause.entry();
    if entry.why.is_empty() { entry.change.into() } else { format!("{} {}", entry.change, entry.why).into() }
}

/// What a record shows, in words.
pub fn shows(role: Role) -> &'static str {
    match role {
        Role::Reading => "the victim begins to read",
        Role::Took => "the holder takes the lock",
        Role::FirstRefused => "the victim is refused",
        Role::LastRefused => "the victim is refused, for the last time",
        Role::Next => "how the victim goes on",
        Role::Granted => "the victim gets it",
        Role::GaveUp => "the holder gives it up",
        Role::Committed => "another connection's commit ends",
        Role::TookWrite => "the victim takes WRITE",
        Role::GaveWriteUp => "the victim gives WRITE up, unused",
    }
}
