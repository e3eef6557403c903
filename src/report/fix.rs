//! The fix of an incident: what to change first, then why, then the limits.
//!
//! If the trace proves which framework a process uses, the fix names that framework's settings only.
#![forbid(unsafe_code)]

use super::human::{cut, duration};
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
    /// The reason, further changes and the limits, the most useful first.
    pub more: Vec<String>,
}

impl Fix {
    /// The whole fix as one paragraph.
    pub fn text(&self) -> String {
        let all: Vec<&str> = std::iter::once(&self.change).chain(&self.more).map(String::as_str).collect();
        all.join(" ")
    }
}

/// The fix of an incident.
pub fn of(analysis: &Analysis<'_>, frameworks: &Frameworks, incident: &Incident) -> Fix {
    let entry = incident.cause.entry();
    let framework = frameworks.framework(incident.who.log);
    let holder = incident.blockers.first().map(|blocker| &analysis.blocking_holds[blocker.hold as usize]);
    let same_thread = incident.contributing.contains(&Contributing::SameThreadHolder);
    let remedy = entry.remedy;
    // A thread that waits for itself waits for ever, even at the start of a transaction.
    let in_vain = same_thread && matches!(remedy, Some(Remedy::Timeout | Remedy::Immediate));
    let helps = !(in_vain || incident.own_cursor);
    let waited = analysis.ns(incident.who.log, incident.first, incident.until).unwrap_or(0);
    let in_force = remedy == Some(Remedy::Timeout) && waited >= LONG_TIMEOUT_NS;
    let setting = remedy.filter(|_| helps && !in_force).and_then(|remedy| framework_fixes::of(framework?, remedy));
    let release_by_hand =
        holder.and_then(|holding| frameworks.framework(holding.who.log)).and_then(framework_fixes::release_by_hand);

    let mut all: Vec<String> = Vec::new();
    let mut add = |text: &str| {
        if !text.is_empty() && !all.iter().any(|known| known == text) {
            all.push(text.to_owned());
        }
    };
    // Waits are how SQLite shares a database.
    if incident.end == IncidentEnd::SucceededAfterWait && !incident.went_on && waited < SHORT_WAIT_NS && remedy.is_some() {
        add(&format!("No change is needed: the statement waited for {} and got the lock.", duration(waited)));
    }
    // What to change first. `add` skips what it already has, so the advice below is not repeated.
    if same_thread {
        add(&advice(incident, Contributing::SameThreadHolder).unwrap_or_default());
    }
    if incident.own_cursor {
        let own = words::sql(analysis, incident.who, incident.reading_sql).map(|sql| cut(&sql, 60));
        let own = own.unwrap_or_else(|| "the victim's own earlier statement".to_owned());
        add(&OWN_CURSOR.replace("{statement}", &own));
    }
    let of_victim = |item: &&Contributing| !(incident.own_cursor && **item == Contributing::UnfinishedStatement);
    let advices: Vec<String> = incident.contributing.iter().filter(of_victim).filter_map(|item| advice(incident, *item)).collect();
    if entry.holder_changes {
        add(release_by_hand.unwrap_or_default());
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
        if !in_force {
            add(entry.then);
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
    add(release_by_hand.unwrap_or_default());
    add(remedy.and_then(Remedy::limits).unwrap_or_default());
    if helps && remedy.is_some() && framework.is_none_or(Framework::may_have_another_on_top) {
        add(&format!("For the setting of each framework: locktrace explain --cause {}.", incident.cause.id()));
    }
    let mut all = all.into_iter();
    Fix { change: all.next().unwrap_or_default(), more: all.collect() }
}

/// A wait that ends well and takes less time than this is ordinary contention.
const SHORT_WAIT_NS: u64 = 1_000_000_000;

/// The victim waited for as long as the longest timeout that a fix names: no longer one is recommended.
const LONG_TIMEOUT_NS: u64 = 19_000_000_000;

const OWN_CURSOR: &str = "Read all rows of {statement}, or close its cursor, before BEGIN: the victim's own unfinished statement keeps a read transaction open, \
                          and SQLite refuses the write lock in it at once.";

/// The fix if the wait is the last that the trace has of its process.
const LAST_CALL: [&str; 2] = [
    "Shorten the hold that is named, and set a busy timeout that is longer than it.",
    "The refused process made no call after that: it failed without a busy timeout, or was ended while it waited.",
];

/// Whether the wait for a known writer is the last that the trace has of its process.
fn is_last_call(incident: &Incident) -> bool {
    let writes = matches!(incident.request, Request::File(Level::RESERVED) | Request::Shm { mask: 1, exclusive: true });
    writes && incident.end == IncidentEnd::Open && incident.blockers.first().is_some_and(|blocker| blocker.certain)
}

const SILENT: &str = "The trace does not show what the holder did meanwhile: its statement ran on, or its transaction was left open, without COMMIT or \
                      ROLLBACK.";

/// The least length of a hold that needs an explanation.
const SILENT_NS: u64 = 100_000_000;

/// Whether a writer held the lock for long and the trace does not show why.
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

/// What to do about a contributing cause; `None` if the cause's own fix says it.
fn advice(incident: &Incident, contributing: Contributing) -> Option<String> {
    // The contributing cause was found on one of the proven holders, which may not be the one that the report names.
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
        Role::Granted => "the victim gets the lock",
        Role::GaveUp => "the holder releases the lock",
        Role::Committed => "another connection's commit ends",
        Role::TookWrite => "the victim takes WRITE",
        Role::GaveWriteUp => "the victim releases WRITE and has written nothing",
    }
}
