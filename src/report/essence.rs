//! The names that all reports give to things, and what they say of who was in the way where no traced holder is certain.
//!
//! Input: an [`Analysis`] and parts of it. Output: texts.
#![forbid(unsafe_code)]

use crate::analysis::causes::sql::is_end;
use crate::analysis::incidents::incident;
use crate::analysis::{Analysis, Cause, ConnId, Incident, IncidentEnd, Refusal};
use crate::trace::{OutsideHolder, Trace};

/// What the kernel said about a refused attempt, a sentence each; nothing where a traced holder is certain or nobody asked.
pub fn outside(analysis: &Analysis<'_>, refusal: &Refusal) -> Vec<String> {
    let mut said = Vec::new();
    if refusal.has_certain() {
        return said;
    }
    if refusal.in_process {
        said.push("refused inside its own process: another connection there has the lock, and no system call failed".to_owned());
    }
    let Some(answer) = analysis.outside(refusal) else { return said };
    let when = if refusal.asked.is_some_and(|asked| asked.here) { "" } else { "at an earlier attempt: " };
    let logs = analysis.trace.logs();
    for holder in &answer.holders {
        let held = if holder.exact { "held" } else { "possibly held" };
        let place = if holder.own {
            "by its own process,"
        } else if logs.iter().any(|log| i64::from(log.pid) == holder.pid) {
            "by a traced process,"
        } else {
            "outside the trace by"
        };
        said.push(format!("{when}{} {held} {place} {holder}", holder.lock()));
    }
    if answer.more > 0 {
        said.push(format!("and {} more", answer.more));
    }
    match &answer.failed {
        Some(why) => said.push(format!("{when}the kernel could not be asked who has it: {why}")),
        None if answer.holders.is_empty() => {
            said.push(format!("{when}/proc/locks named nobody a moment later: it had let go, or is in another container or host"))
        }
        None => {}
    }
    said
}

/// The processes outside the trace that were in the way of an incident, as the kernel has them.
pub fn strangers<'a>(analysis: &'a Analysis<'_>, incident: &Incident) -> impl Iterator<Item = &'a OutsideHolder> {
    let names = &analysis.trace.log(incident.who.log).names;
    let answer = incident.outside.and_then(|start| names.outside(incident.who.conn, start));
    answer.into_iter().flat_map(|answer| incident::untraced(analysis.trace, answer))
}

/// Whether its attempts may each have been an error that the application saw: SQLite's own busy handler sleeps between two, and here it did not. So a busy handler of
/// the application's own called for the next one; or the application did, with the same statement again.
pub fn unslept(analysis: &Analysis<'_>, incident: &Incident) -> bool {
    let waits = match incident.cause {
        Cause::HoldExceedsTimeout
        | Cause::CommitBlocksReader
        | Cause::ExclusiveMode
        | Cause::HotJournal
        | Cause::LastClose
        | Cause::UntracedHolder => true,
        // What a full page cache asks for again and again fails no statement.
        Cause::ReaderBlocksCommit => sql(analysis.trace, incident.who, incident.sql).is_some_and(is_end),
        _ => false,
    };
    let again = incident.attempts > 1 || incident.end == IncidentEnd::SucceededAfterWait;
    waits && again && incident.sleeps == 0 && !incident.checkpoint_busy
}

/// Why no holder is named for a refused attempt.
pub fn no_holder(analysis: &Analysis<'_>, refusal: &Refusal) -> &'static str {
    if refusal.in_process {
        "no traced connection had it: one of this process that was opened before recording began, or whose record was lost"
    } else if refusal.db.is_none() {
        "the database is not known"
    } else if analysis.has_losses() || refusal.forgotten {
        "no traced connection is known to have had it, but records were lost"
    } else {
        "no traced connection had it"
    }
}

/// The name of a thread, where there is one.
pub fn thread(trace: &Trace, who: ConnId, tid: u32) -> Option<&str> {
    trace.log(who.log).names.thread(tid).map(|name| name.text.as_str())
}

/// The text of a statement, where there is one.
pub fn sql(trace: &Trace, who: ConnId, hash: u64) -> Option<&str> {
    if hash == 0 { None } else { trace.log(who.log).names.sql(hash).map(|sql| sql.text.text.as_str()) }
}
