//! The fix of an incident: what to change first, then why, then the limits.
//!
//! Where the trace proves which framework a process uses, the fix is in the words of that framework only.
#![forbid(unsafe_code)]

use super::{framework_fixes, words};
use crate::analysis::causes::remedy::Remedy;
use crate::analysis::framework::{Framework, Frameworks};
use crate::analysis::{Analysis, Cause, Contributing, Incident, IncidentEnd, Request, Role, State};
use shim::event::Level;

/// What to do about an incident.
#[derive(Clone, Debug)]
pub struct Fix {
    /// What to change first, in one line.
    pub change: String,
    /// What else to know, the most useful first: the reason, further changes, the limits.
    pub more: Vec<String>,
}

impl Fix {
    /// All of it, as one paragraph.
    pub fn text(&self) -> String {
        let all: Vec<&str> = std::iter::once(&self.change).chain(&self.more).map(String::as_str).collect();
        all.join(" ")
    }
}

/// What to change.
pub fn of(analysis: &Analysis<'_>, frameworks: &Frameworks, incident: &Incident) -> Fix {
    let entry = incident.cause.entry();
    let framework = frameworks.framework(incident.who.log);
    let holder = incident.blockers.first().map(|blocker| &analysis.blocking_holds[blocker.hold as usize]);
    let same_thread = incident.contributing.contains(&Contributing::SameThreadHolder);
    let remedy = entry.remedy;
    // A thread that waits for itself waits for ever, also for a lock that it asks for at the start of a transaction.
    let helps = !(same_thread && matches!(remedy, Some(Remedy::Timeout | Remedy::Immediate)));
    let setting = remedy.filter(|_| helps).and_then(|remedy| framework_fixes::of(framework?, remedy));
    let let_go = holder.and_then(|holding| frameworks.framework(holding.who.log)).and_then(framework_fixes::let_go);

    let mut all: Vec<String> = Vec::new();
    let mut add = |text: &str| {
        if !text.is_empty() && !all.iter().any(|known| known == text) {
            all.push(text.to_owned());
        }
    };
    // What to change first. Each is skipped below where it was said.
    if same_thread {
        add(&advice(incident, Contributing::SameThreadHolder).unwrap_or_default());
    }
    let advices: Vec<String> = incident.contributing.iter().filter_map(|item| advice(incident, *item)).collect();
    if entry.holder_changes {
        add(let_go.unwrap_or_default());
        advices.iter().for_each(|advice| add(advice));
    } else if let Some(setting) = setting {
        add(setting.change);
    }
    if incident.cause == Cause::Unexplained && is_last_call(incident) {
        LAST_CALL.iter().for_each(|text| add(text));
    } else if helps {
        add(entry.change);
        if is_silent(analysis, incident) {
            add(SILENT);
        }
        add(entry.why);
    }
    advices.iter().for_each(|advice| add(advice));
    if let Some(setting) = setting {
        add(setting.change);
        add(setting.note);
    }
    if let Some(holding) = holder {
        let taken = words::sql(analysis, holding.who, holding.sql);
        add(taken.and_then(|sql| (entry.holder_advice)(&sql)).unwrap_or_default());
    }
    add(let_go.unwrap_or_default());
    add(remedy.and_then(Remedy::limits).unwrap_or_default());
    if helps && remedy.is_some() && framework.is_none_or(Framework::may_have_another_on_top) {
        add(&format!("For the setting of each framework: locktrace explain --cause {}.", incident.cause.id()));
    }
    let mut all = all.into_iter();
    Fix { change: all.next().unwrap_or_default(), more: all.collect() }
}

/// Of a wait that is the last thing the trace has of its process.
const LAST_CALL: [&str; 2] = [
    "Shorten the hold that is named, and set a busy timeout that is longer than it.",
    "The refused process made no call after that: it failed without a busy timeout, or was ended while it waited.",
];

/// The blocker is known, and nothing follows.
fn is_last_call(incident: &Incident) -> bool {
    let writes = matches!(incident.request, Request::File(Level::RESERVED) | Request::Shm { mask: 1, exclusive: true });
    writes && incident.end == IncidentEnd::Open && incident.blockers.first().is_some_and(|blocker| blocker.certain)
}

const SILENT: &str = "The trace does not show what the holder did meanwhile: its statement ran on, or its transaction was left open, without COMMIT or \
                      ROLLBACK.";

/// Shorter holds need no explanation.
const SILENT_NS: u64 = 100_000_000;

/// A writer held the lock for long, and nothing else is known of it.
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

/// What to do about what made it worse; nothing where the cause's own words say it.
fn advice(incident: &Incident, contributing: Contributing) -> Option<String> {
    // It rests on one of the proven holders, which need not be the one that is named.
    let several = incident.blockers.len() > 1 || incident.more_blockers > 0;
    let (holder, hold) = if several { ("one holder", "one hold") } else { ("the holder", "the hold") };
    contributing.entry().advice.map(|advice| advice.replace("{holder}", holder).replace("{hold}", hold))
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
        Role::GaveUp => "the holder releases it",
        Role::Committed => "another connection's commit ends",
        Role::TookWrite => "the victim takes WRITE",
        Role::GaveWriteUp => "the victim releases WRITE, unused",
    }
}
