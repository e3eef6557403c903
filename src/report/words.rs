//! The phrases that all reports for people share: who, what and when, in words. They are not cut to a width.
#![forbid(unsafe_code)]

use super::human::{count, cut};
use crate::analysis::causes::entry::Unslept;
use crate::analysis::causes::sql::is_end;
use crate::analysis::incidents::incident;
use crate::analysis::{Analysis, ConnId, Incident, IncidentEnd, Instant, Options, Refusal};
use crate::trace::{LogId, OutsideHolder, Trace, total};

/// `pid 7 thread 101 web-1 c2`.
pub fn who(analysis: &Analysis<'_>, who: ConnId, tid: u32) -> String {
    let log = analysis.trace.log(who.log);
    // Threads often share the program's name, and only the number distinguishes them.
    let number = if tid == 0 || tid == log.pid { String::new() } else { format!(" thread {tid}") };
    let name = thread(analysis.trace, who, tid).map_or_else(String::new, |name| format!(" {}", cut(name, 16)));
    let thread = number + &name;
    format!("pid {}{thread} c{}{}", log.pid, who.conn, if who.forked { " (forked)" } else { "" })
}

/// A statement's text, or its hash if the text is unknown; `None` if no statement was running.
pub fn sql(analysis: &Analysis<'_>, who: ConnId, hash: u64) -> Option<String> {
    if hash == 0 {
        return None;
    }
    Some(sql_text(analysis.trace, who, hash).map_or_else(|| format!("sql {hash:016x}"), str::to_owned))
}

/// An instant in seconds since the beginning of the trace.
pub fn at(analysis: &Analysis<'_>, log: LogId, at: Instant) -> String {
    analysis.real_ns(log, at).map_or_else(|| "at ?".to_owned(), |now| at_real(analysis, now))
}

/// The same for a wall-clock time in nanoseconds since 1970.
pub fn at_real(analysis: &Analysis<'_>, now: u64) -> String {
    let Some((from, _)) = analysis.span else { return "at ?".to_owned() };
    let us = now.saturating_sub(from) / 1_000;
    format!("+{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// The command that explains this incident.
pub fn explain(analysis: &Analysis<'_>, index: u32) -> String {
    // If not all incidents are kept, their numbers depend on how many are.
    let usual = Options::default().listed;
    let which = match analysis.options.listed {
        listed if listed == usual || analysis.totals.incidents.count <= listed.min(usual) as u64 => String::new(),
        listed => format!(" --incidents {}", (listed as u64).min(analysis.totals.incidents.count)),
    };
    format!("{} --incident {}{which}", explain_command(analysis), index + 1)
}

/// `locktrace explain`, with the trace if the command needs its name.
pub(super) fn explain_command(analysis: &Analysis<'_>) -> String {
    match analysis.trace.word() {
        "" => "locktrace explain".to_owned(),
        word => format!("locktrace explain {word}"),
    }
}

/// What of the trace is missing: `2,049 earlier records were overwritten, 3 records are missing`; nothing if it is whole.
pub fn missing(analysis: &Analysis<'_>) -> Option<String> {
    let lossy = || analysis.summary.tallies.iter().filter(|tally| tally.unread() > 0);
    let unread = total(lossy().map(|tally| tally.unread()));
    let overwritten = total(lossy().map(|tally| tally.overwritten));
    let mut parts = Vec::new();
    match overwritten {
        0 => {}
        1 => parts.push("1 earlier record was overwritten".to_owned()),
        more => parts.push(format!("{} earlier records were overwritten", count(more))),
    }
    match unread - overwritten {
        0 => {}
        1 => parts.push("1 record is missing".to_owned()),
        more => parts.push(format!("{} records are missing", count(more))),
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The time that a statement about the whole trace covers: ` since 2026-12-01T20:15:03Z`; empty if no record was overwritten.
pub fn since(analysis: &Analysis<'_>) -> String {
    let Some(since) = analysis.whole_since else { return String::new() };
    // Rounded up: an earlier instant is not covered.
    let since = std::time::UNIX_EPOCH + std::time::Duration::from_secs(since.div_ceil(1_000_000_000));
    format!(" since {}", humantime::format_rfc3339_seconds(since))
}

/// How an incident ended, for a sentence about the victim.
pub fn ended(incident: &Incident) -> &'static str {
    match incident.end {
        IncidentEnd::SucceededAfterWait if incident.went_on => "went on without the lock",
        IncidentEnd::SucceededAfterWait => "got the lock in the end",
        IncidentEnd::GaveUp if incident.checkpoint_busy => "the checkpoint returned busy",
        IncidentEnd::GaveUp => "the application saw an error",
        IncidentEnd::Open => "the trace ends first",
    }
}

/// The kernel's answer about a refused attempt, in sentences. Empty if a traced holder is certain or the recorder did not ask.
pub fn outside(analysis: &Analysis<'_>, refusal: &Refusal) -> Vec<String> {
    let mut said = Vec::new();
    if refusal.has_certain() {
        return said;
    }
    if refusal.in_process {
        said.push(
            "refused inside its own process: another connection of the process has the lock, and no system call failed".to_owned(),
        );
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
        Some(why) => said.push(format!("{when}the kernel could not be asked who has the lock: {why}")),
        None if answer.holders.is_empty() => {
            said.push(format!("{when}/proc/locks named nobody a moment later: the holder had released the lock, or is in another container or on another host"))
        }
        None => {}
    }
    said
}

/// The processes outside the trace that the kernel named as holders in an incident.
pub fn untraced_holders<'a>(analysis: &'a Analysis<'_>, incident: &Incident) -> impl Iterator<Item = &'a OutsideHolder> {
    let names = &analysis.trace.log(incident.who.log).names;
    let answer = incident.outside.and_then(|start| names.outside(incident.who.conn, start));
    answer.into_iter().flat_map(|answer| incident::untraced_holders(analysis.trace, answer))
}

/// Whether the application may have seen an error at each attempt of this incident. SQLite's own busy handler sleeps between two attempts, and here SQLite
/// did not sleep. So either the application has its own busy handler, or it retried the statement by itself.
pub fn unslept(analysis: &Analysis<'_>, incident: &Incident) -> bool {
    let waits = match incident.cause.entry().unslept {
        Unslept::Nothing => false,
        Unslept::PerhapsErrors => true,
        // A cache spill retries again and again, and makes no statement fail.
        Unslept::PerhapsErrorsAtCommit => sql_text(analysis.trace, incident.who, incident.sql).is_some_and(is_end),
    };
    let again = incident.attempts > 1 || incident.end == IncidentEnd::SucceededAfterWait;
    waits && again && incident.sleeps == 0 && !incident.checkpoint_busy
}

/// Why no holder is named for a refused attempt.
pub fn no_holder(analysis: &Analysis<'_>, refusal: &Refusal) -> &'static str {
    if refusal.in_process {
        "no traced connection had the lock: the holder was opened in this process before recording began, or its record was lost"
    } else if refusal.db.is_none() {
        "the database is not known"
    } else if analysis.has_losses() || refusal.forgotten {
        "no traced connection is known to have had the lock, but records were lost"
    } else {
        "no traced connection had the lock"
    }
}

/// The name of a thread, if the trace has one.
pub fn thread(trace: &Trace, who: ConnId, tid: u32) -> Option<&str> {
    trace.log(who.log).names.thread(tid).map(|name| name.text.as_str())
}

/// The text of a statement, if the trace has it.
pub fn sql_text(trace: &Trace, who: ConnId, hash: u64) -> Option<&str> {
    if hash == 0 { None } else { trace.log(who.log).names.sql(hash).map(|sql| sql.text.text.as_str()) }
}
