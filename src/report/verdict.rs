//! The first screen of the report: what the application saw, the few causes behind it in order of harm, and what removes each.
//!
//! In come an [`Analysis`], a width and a writer. Behind it, for whoever wants more: which statement blocks which, and hazards.
#![forbid(unsafe_code)]

use super::harm::{self, Harm};
use super::human::{count, cut, duration, pad_left};
use super::text::{BOLD, PLAIN, RED, many};
use super::{essence, fix, words};
use crate::analysis::{Analysis, Cause};
use crate::trace::text::Clean;
use std::io::{self, Write};
use unicode_width::UnicodeWidthStr;

/// Pairs of statements that are listed.
const PAIRS: usize = 10;

/// The verdict.
pub(super) fn write(analysis: &Analysis<'_>, width: usize, out: &mut impl Write) -> io::Result<()> {
    let Some((head, failed)) = headline(analysis) else { return Ok(()) };
    let colour = if failed > 0 { RED } else { BOLD };
    writeln!(out, "{colour}{}{PLAIN}", cut(&head, width))?;
    if let Some(text) = unslept(analysis) {
        super::explain::paragraph(out, "  ", &text, width)?;
    }
    for harm in harm::causes(analysis) {
        cause(analysis, &harm, width, out)?;
    }
    let more = analysis.not_listed()[0];
    if more > 0 {
        let text = format!(
            "  ({} incidents are kept one by one, the first and the worst of each kind; {} more are only counted: --incidents N keeps more)",
            count(analysis.incidents.len() as u64),
            count(more)
        );
        writeln!(out, "{}", cut(&text, width))?;
    }
    if !analysis.hazards.is_empty() {
        let mut ids: Vec<&str> = analysis.hazards.iter().map(|hazard| hazard.kind.id()).collect();
        ids.dedup();
        writeln!(out, "{}", cut(&format!("  hazards, without any refusal: {}", ids.join(", ")), width))?;
    }
    writeln!(out)
}

/// What the application saw, in one line, and how many errors that were; `None` where there is no incident.
pub(super) fn headline(analysis: &Analysis<'_>) -> Option<(String, u64)> {
    if analysis.incidents.is_empty() {
        return None;
    }
    let all = analysis.totals.incidents;
    let (failed, waited, open) = (all.errors(), all.count - all.gave_up - all.open, all.open);
    let mut parts = Vec::new();
    if waited > 0 {
        parts.push(format!("{} got the lock after a wait", count(waited)));
    }
    if all.checkpoint_busy > 0 {
        parts.push(format!("{} told busy", many(all.checkpoint_busy, "checkpoint")));
    }
    if open > 0 {
        parts.push(format!("{} open at the end of the trace", count(open)));
    }
    let rest = if parts.is_empty() { String::new() } else { format!("; {}", parts.join("; ")) };
    let head = match failed {
        0 if open > 0 || analysis.incidents.iter().any(|incident| essence::unslept(analysis, incident)) => {
            format!("No refusal that the application certainly saw as an error{rest}")
        }
        0 => format!("No refusal that the application saw as an error{rest}"),
        _ => format!("{} that the application saw as an error{rest}", many(failed, "refusal")),
    };
    Some((head, failed))
}

/// Waits of which nobody can tell whether the application saw errors in them.
pub(super) fn unslept(analysis: &Analysis<'_>) -> Option<String> {
    let all = || analysis.incidents.iter().filter(|incident| essence::unslept(analysis, incident));
    let attempts: u64 = all().map(|incident| u64::from(incident.attempts)).sum();
    let (which, these) = match all().count() {
        0 => return None,
        1 => ("one of these".to_owned(), "it"),
        more => (format!("{} of these", count(more as u64)), "them"),
    };
    Some(format!(
        "In {which} SQLite did not sleep between the attempts, {} in {these}: a busy handler of the application's own called for the next one, or the application tried \
         again by itself, and then saw an error each time.",
        count(attempts)
    ))
}

fn cause(analysis: &Analysis<'_>, harm: &Harm, width: usize, out: &mut impl Write) -> io::Result<()> {
    let incident = &analysis.incidents[harm.worst as usize];
    let also: Vec<&str> = incident.contributing.iter().map(|item| item.id()).collect();
    let errors = if harm.errors > 0 { format!(", {}", many(harm.errors, "error")) } else { String::new() };
    let sums = format!("{}{errors}, {} waited in all", many(harm.count, "time"), duration(harm.waited_ns));
    let head = format!("  {}: {sums}", [&[harm.cause.id()], &also[..]].concat().join(" + "));
    // The numbers are not to be cut off.
    if head.width() <= width {
        writeln!(out, "{BOLD}{head}{PLAIN}")?;
    } else {
        writeln!(out, "{BOLD}{}{PLAIN}", cut(&format!("  {}: {sums}", harm.cause.id()), width))?;
        super::explain::paragraph(out, "    with     ", &also.join(" + "), width)?;
    }
    let mut line = |text: String| writeln!(out, "{}", cut(&text, width).trim_end());
    let statement = |who, hash| words::sql(analysis, who, hash).unwrap_or_else(|| "no statement known".to_owned());
    line(format!("    refused  {}", statement(incident.who, incident.sql)))?;
    if let Some(blocker) = incident.blockers.first() {
        let holding = &analysis.blocking_holds[blocker.hold as usize];
        let who = words::who(analysis, holding.who, blocker.tid);
        line(format!("    by       {}", statement(holding.who, holding.sql)))?;
        let did = match incident.cause {
            Cause::StaleSnapshot => "committed in between".to_owned(),
            _ => format!("holding {}, {}", holding.lock, blocker.state.id()),
        };
        line(format!("             {who}, {did}"))?;
    }
    for stranger in essence::strangers(analysis, incident) {
        line(format!("    by       {stranger}, outside the trace, holding {}", stranger.lock()))?;
    }
    super::explain::paragraph(out, "    fix      ", &harm.fix, width)?;
    writeln!(out, "{}", cut(&format!("    proof    {}", words::explain(analysis, harm.worst)), width))
}

/// Which statement is in the way of which.
pub(super) fn statements(analysis: &Analysis<'_>, width: usize, out: &mut impl Write) -> io::Result<()> {
    let pairs = harm::statements(analysis);
    if pairs.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    writeln!(out, "{BOLD}Who blocks whom{PLAIN}")?;
    writeln!(out, "     times  errors     waited  refused <- in the way")?;
    let room = width.saturating_sub(34) / 2;
    for pair in pairs.iter().take(PAIRS) {
        let text = |text: &Option<String>| cut(text.as_deref().unwrap_or("(not known)"), room);
        let line = format!(
            "  {}{}{}  {} <- {}",
            pad_left(&count(pair.count), 8),
            pad_left(&count(pair.errors), 8),
            pad_left(&duration(pair.waited_ns), 11),
            text(&pair.victim),
            text(&pair.blocker)
        );
        writeln!(out, "{}", cut(&line, width))?;
    }
    if pairs.len() > PAIRS {
        writeln!(out, "  … and {} more: --json lists them", count((pairs.len() - PAIRS) as u64))?;
    }
    let other = analysis.totals.other_pairs;
    if other.count > 0 {
        let text = format!(
            "  … and other statements, not told apart: {}, {}, {} waited in all",
            many(other.count, "time"),
            many(other.errors(), "error"),
            duration(other.waited_ns)
        );
        writeln!(out, "{}", cut(&text, width))?;
    }
    Ok(())
}

/// What can go wrong.
pub(super) fn hazards(analysis: &Analysis<'_>, width: usize, out: &mut impl Write) -> io::Result<()> {
    if analysis.hazards.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    writeln!(out, "{BOLD}Hazards{PLAIN}")?;
    for hazard in &analysis.hazards {
        let path = analysis.databases.get(hazard.db as usize).and_then(|db| db.paths.first()).map_or("", String::as_str);
        super::explain::paragraph(out, "  ", &format!("{}: {}", hazard.kind.id(), Clean(&hazard.what)), width)?;
        writeln!(out, "{}", cut(&format!("    {path}"), width).trim_end())?;
        super::explain::paragraph(out, "    fix      ", fix::of_hazard(hazard.kind), width)?;
    }
    Ok(())
}
