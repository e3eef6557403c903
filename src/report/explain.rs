//! The explanation of one incident for `locktrace explain`: who, why, and the records that prove it, in the order in which they happened.
//!
//! The records come from a second pass over the events of the same trace.
#![forbid(unsafe_code)]

use super::human::{count, cut, duration, known, pad_left};
use super::record::call;
use super::style::paragraph;
use super::{fix, words};
use crate::analysis::framework::Frameworks;
use crate::analysis::incidents::incident::chain;
use crate::analysis::{Analysis, Cause, IncidentEnd};
use crate::trace::{Event, LogId};
use std::collections::HashMap;
use std::io::{self, Write};
use unicode_width::UnicodeWidthStr;

/// For each of these incidents, the records that it rests on, in time order. `events` are all events of the trace.
pub fn proofs(analysis: &Analysis<'_>, indices: &[u32], events: impl Iterator<Item = Event>) -> Vec<Vec<Event>> {
    let mut wanted: HashMap<(LogId, u64), Vec<usize>> = HashMap::new();
    for (place, incident) in indices.iter().filter_map(|&index| analysis.incidents.get(index as usize)).enumerate() {
        for evidence in &incident.evidence {
            wanted.entry((evidence.log, evidence.number)).or_default().push(place);
        }
    }
    let mut found = vec![Vec::new(); indices.len()];
    for event in events {
        if let Some(places) = wanted.remove(&(event.log, event.number)) {
            places.into_iter().for_each(|place| found[place].push(event));
            if wanted.is_empty() {
                break;
            }
        }
    }
    found
}

/// Writes one line for each incident.
///
/// # Errors
/// The errors of `out`.
pub fn list(analysis: &Analysis<'_>, width: usize, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "number        from    waited  ended   cause, refused <- blocked by")?;
    for (number, incident) in (1..).zip(&analysis.incidents) {
        let waited = known(analysis.ns(incident.who.log, incident.first, incident.until));
        let statement = |who, hash| words::sql(analysis, who, hash).unwrap_or_else(|| "(not known)".to_owned());
        let blocker = incident.blockers.first().map(|blocker| {
            let holding = &analysis.blocking_holds[blocker.hold as usize];
            statement(holding.who, holding.sql)
        });
        let blocker = blocker.or_else(|| words::untraced_holders(analysis, incident).next().map(ToString::to_string));
        let about = format!(
            "{number:>6}  {:>10}  {}  {:<6}  {}",
            words::at(analysis, incident.who.log, incident.first),
            pad_left(&waited, 8),
            match incident.end {
                IncidentEnd::SucceededAfterWait => "got it",
                IncidentEnd::GaveUp if incident.checkpoint_busy => "busy",
                IncidentEnd::GaveUp => "error",
                IncidentEnd::Open => "open",
            },
            incident.cause.id(),
        );
        let blocker = blocker.unwrap_or_else(|| "nobody in the trace".to_owned());
        let refused = statement(incident.who, incident.sql);
        // Each statement gets half of the room, and the room that the other does not need.
        let room = width.saturating_sub(about.chars().count() + 6);
        let refused = cut(&refused, (room / 2).max(room.saturating_sub(blocker.chars().count())));
        writeln!(out, "{}", cut(&format!("{about}  {refused} <- {blocker}"), width))?;
    }
    Ok(())
}

/// Writes one incident. `events` are those of [`proofs`].
///
/// # Errors
/// The errors of `out`.
pub fn write(analysis: &Analysis<'_>, index: u32, events: &[Event], width: usize, out: &mut impl Write) -> io::Result<()> {
    let Some(incident) = analysis.incidents.get(index as usize) else { return Ok(()) };
    let mut line = |text: &str| writeln!(out, "{}", cut(text, width).trim_end());
    let total = analysis.incidents.len();
    let total = match analysis.not_listed()[0] {
        0 => total.to_string(),
        _ => format!("the {total} that are kept, of {} in all", analysis.totals.incidents.count),
    };
    line(&format!("Incident {} of {total}: {}; {}", index + 1, incident.cause.id(), words::ended(incident)))?;
    if let Some(path) = incident.db.and_then(|db| analysis.databases.get(db as usize)?.paths.first()) {
        line(&format!("  database  {path}"))?;
    }
    let waited = known(analysis.ns(incident.who.log, incident.first, incident.until));
    let attempts = match (incident.attempts, incident.sleeps) {
        (1, _) => String::new(),
        (n, 0) => format!(", {} attempts with no sleep in between", count(n.into())),
        (n, _) => format!(", {} attempts", count(n.into())),
    };
    line(&format!(
        "  victim    {} wants {}, for {waited}{attempts}",
        words::who(analysis, incident.who, incident.tid),
        incident.request
    ))?;
    if let Some(sql) = words::sql(analysis, incident.who, incident.sql) {
        line(&format!("            {sql}"))?;
    }
    if let Some(sql) = words::sql(analysis, incident.who, incident.reading_sql) {
        line(&format!("            in the read transaction of {sql}"))?;
    }
    if words::unslept(analysis, incident) {
        line("            SQLite did not sleep in between: either the application has its own busy handler,")?;
        line("            or it retried by itself and saw an error each time")?;
    }
    for blocker in &incident.blockers {
        let holding = &analysis.blocking_holds[blocker.hold as usize];
        let sure = if blocker.certain { "" } else { "possibly " };
        let before = blocker
            .held_before_ns
            .map_or_else(|| "since when is not known".to_owned(), |ns| format!("since {} before the wait", duration(ns)));
        let after = blocker.held_after_ns.map_or_else(String::new, |ns| match ns {
            0 => ", until its end".to_owned(),
            ns => format!(", until {} after it", duration(ns)),
        });
        let name = words::who(analysis, holding.who, blocker.tid);
        let (who, long) = match incident.cause {
            Cause::StaleSnapshot => (format!("  holder    {name},"), "which committed in between".to_owned()),
            _ => {
                (format!("  holder    {name}, {sure}holding {}:", holding.lock), format!("{}, {before}{after}", blocker.state.id()))
            }
        };
        // The holder's state must not be cut off.
        if who.width() + 1 + long.width() <= width {
            line(&format!("{who} {long}"))?;
        } else {
            line(&who)?;
            line(&format!("            {long}"))?;
        }
        if let Some(sql) = words::sql(analysis, holding.who, holding.sql) {
            line(&format!("            {sql}"))?;
        }
        if let Some(last) = words::sql(analysis, holding.who, holding.last_sql).filter(|_| holding.last_sql != holding.sql) {
            line(&format!("            then {last}"))?;
        }
    }
    for outsider in words::untraced_holders(analysis, incident) {
        line(&format!("  holder    {outsider}, outside the trace, holding {}", outsider.lock()))?;
    }
    if incident.more_blockers > 0 {
        line(&format!("            and {} more", count(incident.more_blockers.into())))?;
    }
    for &next in chain(&analysis.incidents, index).iter().skip(1) {
        let next_ = &analysis.incidents[next as usize];
        line(&format!("  the holder itself waits, in incident {}: {}", next + 1, next_.cause.id()))?;
    }
    if !incident.contributing.is_empty() {
        let ids: Vec<&str> = incident.contributing.iter().map(|item| item.id()).collect();
        line(&format!("  also      {}", ids.join(", ")))?;
    }
    writeln!(out)?;
    writeln!(out, "What the trace shows")?;
    for event in events {
        let role = incident.evidence.iter().find(|evidence| (evidence.log, evidence.number) == (event.log, event.number));
        let shows = role.map_or("", |evidence| fix::shows(evidence.role));
        let at = words::at(analysis, event.log, analysis.instant(event));
        let log = analysis.trace.log(event.log);
        let party = format!("pid {} c{}", log.pid, event.record.conn);
        let text = format!("  {at:>11}  {party:<14} {:<26} {shows}", call(&event.record));
        writeln!(out, "{}", cut(&text, width).trim_end())?;
    }
    let missing = incident.evidence.len().saturating_sub(events.len());
    if missing > 0 {
        writeln!(out, "  ({missing} records of the proof could not be read again)")?;
    }
    writeln!(out)?;
    paragraph(out, "Why: ", incident.cause.entry().meaning, width)?;
    let fix = fix::of(analysis, &Frameworks::of(analysis.trace), incident);
    paragraph(out, "Fix: ", &fix.change, width)?;
    for text in &fix.more {
        paragraph(out, "     ", text, width)?;
    }
    let more = format!("locktrace explain --cause {}", incident.cause.id());
    if fix.more.iter().any(|text| text.contains(&more)) {
        return Ok(());
    }
    paragraph(out, "More: ", &more, width)
}
