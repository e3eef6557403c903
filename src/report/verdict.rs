//! The first screen of the report: what the application saw, the causes in order of harm, and the fix for each. Further down: which statement
//! blocks which, and hazards.
#![forbid(unsafe_code)]

use super::fix::Fix;
use super::human::{count, cut, duration, pad_left};
use super::ranking::{self, RankedCause};
use super::style::{BOLD, PLAIN, RED, many, paragraph, wrapped};
use super::words;
use crate::analysis::{Analysis, Cause};
use crate::trace::text::Clean;
use std::io::{self, Write};
use unicode_width::UnicodeWidthStr;

/// How many pairs of statements are listed.
const PAIRS: usize = 10;

/// The most lines of a fix.
const FIX_LINES: usize = 3;

/// Writes the verdict.
pub(super) fn write(analysis: &Analysis<'_>, width: usize, out: &mut impl Write) -> io::Result<()> {
    let Some((head, failed)) = headline(analysis) else { return Ok(()) };
    let colour = if failed > 0 { RED } else { BOLD };
    writeln!(out, "{colour}{}{PLAIN}", cut(&head, width))?;
    if let Some(text) = unslept(analysis) {
        paragraph(out, "  ", &text, width)?;
    }
    for harm in ranking::causes(analysis) {
        cause(analysis, &harm, width, out)?;
    }
    let more = analysis.not_listed()[0];
    if more > 0 {
        let text = format!(
            "  ({} incidents are listed, the first and the worst of each cause; {} more are only counted. --incidents N lists more)",
            count(analysis.incidents.len() as u64),
            count(more)
        );
        writeln!(out, "{}", cut(&text, width))?;
    }
    if !analysis.hazards.is_empty() {
        let mut ids: Vec<&str> = analysis.hazards.iter().map(|hazard| hazard.kind.id()).collect();
        ids.dedup();
        writeln!(out, "{}", cut(&format!("  hazards: {}", ids.join(", ")), width))?;
    }
    writeln!(out)
}

/// What the application saw, in one line, and the number of errors; `None` if there is no incident.
pub(super) fn headline(analysis: &Analysis<'_>) -> Option<(String, u64)> {
    if analysis.incidents.is_empty() {
        return None;
    }
    let all = analysis.totals.incidents;
    let (failed, waited, open) = (all.errors(), all.count - all.gave_up - all.open, all.open);
    let mut parts = Vec::new();
    if waited > 0 {
        parts.push(format!("{} waited and got the lock", count(waited)));
    }
    if all.checkpoint_busy > 0 {
        parts.push(format!("{} returned busy", many(all.checkpoint_busy, "checkpoint")));
    }
    if open > 0 {
        parts.push(format!("{} still waiting when the trace ends", count(open)));
    }
    let (since, missing) = (words::since(analysis), words::missing(analysis));
    let least = if missing.is_some() { "at least " } else { "" };
    parts.extend(missing);
    let rest = if parts.is_empty() { String::new() } else { format!("; {}", parts.join("; ")) };
    let head = match failed {
        0 if open > 0 || analysis.incidents.iter().any(|incident| words::unslept(analysis, incident)) => {
            format!("The application may have seen `database is locked`{since}{rest}")
        }
        0 => format!("The application did not see `database is locked`{since}{rest}"),
        _ => format!("The application saw `database is locked` {least}{}{rest}", many(failed, "time")),
    };
    Some((head, failed))
}

/// A remark about waits in which the application may have seen errors.
pub(super) fn unslept(analysis: &Analysis<'_>) -> Option<String> {
    let all = || analysis.incidents.iter().filter(|incident| words::unslept(analysis, incident));
    let attempts: u64 = all().map(|incident| u64::from(incident.attempts)).sum();
    let which = match all().count() {
        0 => return None,
        1 => "One of these waits has".to_owned(),
        more => format!("{} of these waits have", count(more as u64)),
    };
    Some(format!(
        "{which} {} without SQLite sleeping in between. Either the application has its own busy handler, or it retried by itself and saw `database is \
         locked` each time.",
        many(attempts, "attempt")
    ))
}

fn cause(analysis: &Analysis<'_>, harm: &RankedCause, width: usize, out: &mut impl Write) -> io::Result<()> {
    let incident = &analysis.incidents[harm.worst as usize];
    let also: Vec<&str> = incident.contributing.iter().map(|item| item.id()).collect();
    let errors = if harm.errors > 0 { format!(", {}", many(harm.errors, "error")) } else { String::new() };
    let sums = format!("{}{errors}, {} waited in all", many(harm.count, "time"), duration(harm.waited_ns));
    let head = format!("  {}: {sums}", [&[harm.cause.id()], &also[..]].concat().join(" + "));
    // The numbers must not be cut off.
    if head.width() <= width {
        writeln!(out, "{BOLD}{head}{PLAIN}")?;
    } else {
        writeln!(out, "{BOLD}{}{PLAIN}", cut(&format!("  {}: {sums}", harm.cause.id()), width))?;
        paragraph(out, "    with       ", &also.join(" + "), width)?;
    }
    let mut line = |text: String| writeln!(out, "{}", cut(&text, width).trim_end());
    let statement = |who, hash| words::sql(analysis, who, hash).unwrap_or_else(|| "no statement known".to_owned());
    line(format!("    refused    {}", statement(incident.who, incident.sql)))?;
    if let Some(blocker) = incident.blockers.first() {
        let holding = &analysis.blocking_holds[blocker.hold as usize];
        let who = words::who(analysis, holding.who, blocker.tid);
        line(format!("    blocked by {}", statement(holding.who, holding.sql)))?;
        let did = match incident.cause {
            Cause::StaleSnapshot => "committed in between".to_owned(),
            _ => format!("holding {}, {}", holding.lock, blocker.state.id()),
        };
        line(format!("               {who}, {did}"))?;
    }
    for outsider in words::untraced_holders(analysis, incident) {
        line(format!("    blocked by {outsider}, outside the trace, holding {}", outsider.lock()))?;
    }
    for line in first_lines(&harm.fix, width) {
        writeln!(out, "{line}")?;
    }
    // A command that is cut does not work.
    writeln!(out, "    proof      {}", words::explain(analysis, harm.worst))
}

/// What to change, and as much of the reason as fits. `explain` has the rest.
fn first_lines(fix: &Fix, width: usize) -> Vec<String> {
    let mut lines = wrapped("    fix        ", &fix.change, width);
    for text in &fix.more {
        let next = wrapped("               ", text, width);
        if lines.len() + next.len() > FIX_LINES {
            break;
        }
        lines.extend(next);
    }
    lines
}

/// Writes which statement blocks which.
pub(super) fn statements(analysis: &Analysis<'_>, width: usize, out: &mut impl Write) -> io::Result<()> {
    let pairs = ranking::statements(analysis);
    if pairs.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    writeln!(out, "{BOLD}Who blocks whom{PLAIN}")?;
    writeln!(out, "     times  errors     waited  refused <- blocked by")?;
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
            "  … and other statements, counted together: {}, {}, {} waited in all",
            many(other.count, "time"),
            many(other.errors(), "error"),
            duration(other.waited_ns)
        );
        writeln!(out, "{}", cut(&text, width))?;
    }
    Ok(())
}

/// Writes the hazards.
pub(super) fn hazards(analysis: &Analysis<'_>, width: usize, out: &mut impl Write) -> io::Result<()> {
    if analysis.hazards.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    writeln!(out, "{BOLD}Hazards{PLAIN}")?;
    for hazard in &analysis.hazards {
        let path = analysis.databases.get(hazard.db as usize).and_then(|db| db.paths.first()).map_or("", String::as_str);
        paragraph(out, "  ", &format!("{}: {}", hazard.kind.id(), Clean(&hazard.what)), width)?;
        writeln!(out, "{}", cut(&format!("    {path}"), width).trim_end())?;
        paragraph(out, "    fix  ", hazard.kind.entry().fix, width)?;
    }
    Ok(())
}
