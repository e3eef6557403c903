//! Who, what and when in words, as every report for people says it.
//!
//! Input: ids of an analysis. Output: text, not yet cut to a width.
#![forbid(unsafe_code)]

use super::human::cut;
use crate::analysis::causes::entry::Unslept;
use crate::analysis::causes::sql::is_end;
use crate::analysis::incidents::incident;
use crate::analysis::{Analysis, ConnId, Incident, IncidentEnd, Instant, Options, Refusal};
use crate::trace::{LogId, OutsideHolder, Trace};

/// `pid 7 thread 101 web-1 c2`.
pub fn who(analysis: &Analysis<'_>, who: ConnId, tid: u32) -> String {
    let log = analysis.trace.log(who.log);
    // Threads often share a name (the program's), so that only the number tells them apart.
    let number = if tid == 0 || tid == log.pid { String::new() } else { format!(" thread {tid}") };
    let name = thread(analysis.trace, who, tid).map_or_else(String::new, |name| format!(" {}", cut(name, 16)));
    let thread = number + &name;
    format!("pid {}{thread} c{}{}", log.pid, who.conn, if who.forked { " (forked)" } else { "" })
}

/// A statement's text, or its hash; nothing where none was running.
pub fn sql(analysis: &Analysis<'_>, who: ConnId, hash: u64) -> Option<String> {
    if hash == 0 {
        return None;
    }
    Some(sql_text(analysis.trace, who, hash).map_or_else(|| format!("sql {hash:016x}"), str::to_owned))
}

/// Since the beginning of the trace, in seconds.
pub fn at(analysis: &Analysis<'_>, log: LogId, at: Instant) -> String {
    analysis.real_ns(log, at).map_or_else(|| "at ?".to_owned(), |now| at_real(analysis, now))
}

/// The same for a wall-clock time in nanoseconds since 1970.
pub fn at_real(analysis: &Analysis<'_>, now: u64) -> String {
    let Some((from, _)) = analysis.span else { return "at ?".to_owned() };
    let us = now.saturating_sub(from) / 1_000;
    format!("+{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// The command that tells this incident.
pub fn explain(analysis: &Analysis<'_>, index: u32) -> String {
    // Where not all are kept, the numbers depend on how many are.
    let usual = Options::default().listed;
    let which = match analysis.options.listed {
        listed if listed == usual || analysis.totals.incidents.count <= listed.min(usual) as u64 => String::new(),
        listed => format!(" --incidents {}", (listed as u64).min(analysis.totals.incidents.count)),
    };
    format!("locktrace explain --incident {}{which}", index + 1)
}

/// How an incident ended, for a sentence that began with the victim.
pub fn ended(incident: &Incident) -> &'static str {
    match incident.end {
        IncidentEnd::SucceededAfterWait if incident.went_on => "went on without it",
        IncidentEnd::SucceededAfterWait => "got it in the end",
        IncidentEnd::GaveUp if incident.checkpoint_busy => "its row says busy",
        IncidentEnd::GaveUp => "the application saw an error",
        IncidentEnd::Open => "the trace ends first",
    }
}

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
    let when = if refusal.kernel_query.is_some_and(|query| query.here) { "" } else { "at an earlier attempt: " };
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
pub fn untraced_holders<'a>(analysis: &'a Analysis<'_>, incident: &Incident) -> impl Iterator<Item = &'a OutsideHolder> {
    let names = &analysis.trace.log(incident.who.log).names;
    let answer = incident.outside.and_then(|start| names.outside(incident.who.conn, start));
    answer.into_iter().flat_map(|answer| incident::untraced_holders(analysis.trace, answer))
}

/// Whether its attempts may each have been an error that the application saw: SQLite's own busy handler sleeps between two, and here it did not. So a busy handler of
/// the application's own called for the next one; or the application did, with the same statement again.
pub fn unslept(analysis: &Analysis<'_>, incident: &Incident) -> bool {
    let waits = match incident.cause.entry().unslept {
        Unslept::Nothing => false,
        Unslept::PerhapsErrors => true,
        // A cache spill asks again and again, and fails no statement.
        Unslept::PerhapsErrorsAtCommit => sql_text(analysis.trace, incident.who, incident.sql).is_some_and(is_end),
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
pub fn sql_text(trace: &Trace, who: ConnId, hash: u64) -> Option<&str> {
    if hash == 0 { None } else { trace.log(who.log).names.sql(hash).map(|sql| sql.text.text.as_str()) }
}
