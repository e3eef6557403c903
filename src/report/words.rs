//! Who, what and when in words, as every report for people says it.
//!
//! Input: ids of an analysis. Output: text, not yet cut to a width.
#![forbid(unsafe_code)]

use super::essence;
use super::human::cut;
use crate::analysis::{Analysis, ConnId, Incident, Instant, Options};
use crate::trace::LogId;

/// `pid 7 thread 101 web-1 c2`.
pub fn who(analysis: &Analysis<'_>, who: ConnId, tid: u32) -> String {
    let log = analysis.trace.log(who.log);
    // Threads often share a name (the program's), so that only the number tells them apart.
    let number = if tid == 0 || tid == log.pid { String::new() } else { format!(" thread {tid}") };
    let name = essence::thread(analysis.trace, who, tid).map_or_else(String::new, |name| format!(" {}", cut(name, 16)));
    let thread = number + &name;
    format!("pid {}{thread} c{}{}", log.pid, who.conn, if who.forked { " (forked)" } else { "" })
}

/// A statement's text, or its hash; nothing where none was running.
pub fn sql(analysis: &Analysis<'_>, who: ConnId, hash: u64) -> Option<String> {
    if hash == 0 {
        return None;
    }
    Some(essence::sql(analysis.trace, who, hash).map_or_else(|| format!("sql {hash:016x}"), str::to_owned))
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
    use crate::analysis::IncidentEnd;
    match incident.end {
        IncidentEnd::SucceededAfterWait if incident.went_on => "went on without it",
        IncidentEnd::SucceededAfterWait => "got it in the end",
        IncidentEnd::GaveUp if incident.checkpoint_busy => "its row says busy",
        IncidentEnd::GaveUp => "the application saw an error",
        IncidentEnd::Open => "the trace ends first",
    }
}
