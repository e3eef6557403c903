//! The incidents of a timeline: a slice for each wait, a slice for each blocking hold, and an arrow from the hold to the wait.
//!
//! An arrow goes from the beginning of the hold to the beginning of the wait. If the hold began during the wait, the arrow ends at that point of the
//! wait. So every arrow goes forward in time, as the viewers draw them.
#![forbid(unsafe_code)]

use super::canvas::Canvas;
use super::format::{Args, Arrow, RowId, RowKind, Slice, TimelineFormat};
use crate::analysis::{Analysis, Blocker, BlockingHold, HoldEnd, Incident, IncidentEnd, Instant};
use crate::export::{incidents, labels};
use crate::report::words;
use std::collections::BTreeMap;
use std::io;

/// The waits that a hold blocked.
#[derive(Default)]
struct BlockedWaits {
    arrows: Vec<Arrow>,
    until: Instant,
    db: Option<u32>,
}

/// Draws all incidents. The holds come first, so that at one nanosecond the hold precedes the wait.
pub(super) fn draw<F: TimelineFormat>(canvas: &mut Canvas<'_, F>, analysis: &Analysis<'_>) -> io::Result<()> {
    let mut holds: BTreeMap<u32, BlockedWaits> = BTreeMap::new();
    for (id, incident) in incidents::listed(analysis) {
        if analysis.real_ns(incident.who.log, incident.first).is_none() {
            continue;
        }
        for (index, blocker) in (0..).zip(&incident.blockers) {
            let hold = holds.entry(blocker.hold).or_default();
            hold.arrows.push(Arrow { id: arrow(id, index), ends: false });
            hold.until = hold.until.max(incident.until);
            hold.db = incident.db;
        }
    }
    for (index, hold) in holds {
        if let Some(holding) = analysis.blocking_holds.get(index as usize) {
            blocking_hold(canvas, analysis, holding, &hold)?;
        }
    }
    for (id, incident) in incidents::listed(analysis) {
        victim(canvas, analysis, id, incident)?;
    }
    Ok(())
}

/// The number of the arrow from this blocker of this incident.
fn arrow(incident: u64, blocker: u64) -> u64 {
    incident << 8 | blocker
}

/// Draws a wait, the blockers that began during it, and its end.
fn victim<F: TimelineFormat>(canvas: &mut Canvas<'_, F>, analysis: &Analysis<'_>, id: u64, incident: &Incident) -> io::Result<()> {
    let Some((from, to)) = canvas.real(incident.who.log, incident.first, incident.until) else { return Ok(()) };
    let Some(row) = canvas.place(incident.who, incident.db, RowKind::Waits, (from, to))? else { return Ok(()) };
    let mut begin = Vec::new();
    let mut later = Vec::new();
    for (index, blocker) in (0..).zip(&incident.blockers) {
        let Some(holding) = incidents::holding(analysis, blocker) else { continue };
        let Some(since) = analysis.real_ns(holding.who.log, holding.since) else { continue };
        let end = Arrow { id: arrow(id, index), ends: true };
        if since <= from { begin.push(end) } else { later.push((since, end, blocker, holding)) }
    }
    wait(canvas, analysis, (id, incident), (row, from, to), &begin)?;
    for (at, arrow, blocker, holding) in later {
        let name = format!("now refused by {}", blamed(analysis, blocker, holding));
        canvas.format.slice(&Slice { row, from: at, to: at, instant: true, name: &name, args: &[], arrows: &[arrow] })?;
    }
    if incident.end == IncidentEnd::GaveUp {
        let name = format!("gave up: {}", incident.cause.id());
        canvas.format.slice(&Slice { row, from: to, to, instant: true, name: &name, args: &[], arrows: &[] })?;
    }
    Ok(())
}

fn wait<F: TimelineFormat>(
    canvas: &mut Canvas<'_, F>,
    analysis: &Analysis<'_>,
    (id, incident): (u64, &Incident),
    (row, from, to): (RowId, u64, u64),
    arrows: &[Arrow],
) -> io::Result<()> {
    let trace = analysis.trace;
    let sql = labels::sql(trace, incident.who, incident.sql);
    let thread = labels::thread(trace, incident.who, incident.tid);
    let contributing: Vec<&str> = incident.contributing.iter().map(|item| item.id()).collect();
    let contributing = contributing.join(" ");
    let blockers =
        incident.blockers.iter().filter_map(|blocker| Some(blamed(analysis, blocker, incidents::holding(analysis, blocker)?)));
    let untraced = words::untraced_holders(analysis, incident).map(|holder| format!("outside the trace: {holder}"));
    let blockers: Vec<String> = blockers.chain(untraced).collect();
    let blockers = blockers.join("; ");
    let evidence: Vec<String> =
        incident.evidence.iter().map(|evidence| format!("{}:{}", trace.log(evidence.log).id, evidence.number)).collect();
    let evidence = evidence.join(" ");
    let mut args = Args::default();
    args.number("incident", Some(id));
    args.word("cause", incident.cause.id());
    if !contributing.is_empty() {
        args.text("contributing", &contributing);
    }
    args.word("outcome", incident.end.id());
    args.sql("SQL", incident.sql, sql.as_deref());
    args.text("thread", &thread);
    args.text("blocked by", if blockers.is_empty() { "nobody in the trace" } else { &blockers });
    args.number("more blockers", Some(incident.more_blockers.into()).filter(|&more| more > 0));
    args.number("attempts", Some(incident.attempts.into()));
    args.number("sleeps", Some(incident.sleeps.into()));
    args.number("slept us", Some(incident.slept_us));
    if !evidence.is_empty() {
        args.text("proof", &evidence);
    }
    let name = format!("waits for {}", incident.request);
    canvas.format.slice(&Slice { row, from, to, instant: false, name: &name, args: &args.0, arrows })
}

/// Draws a blocking hold to its end, or to the end of the last wait for it if its own end is unknown.
fn blocking_hold<F: TimelineFormat>(
    canvas: &mut Canvas<'_, F>,
    analysis: &Analysis<'_>,
    holding: &BlockingHold,
    hold: &BlockedWaits,
) -> io::Result<()> {
    let (until, end) = match holding.end {
        HoldEnd::Released(at, _) => (at, None),
        HoldEnd::Unseen(at, _) => (at, Some("not recorded: it had ended by then")),
        HoldEnd::Open => (hold.until, Some("held to the end of the trace; drawn to the end of the last wait for it")),
    };
    let Some((from, to)) = canvas.real(holding.who.log, holding.since, until) else { return Ok(()) };
    let Some(row) = canvas.place(holding.who, hold.db, RowKind::Blocking, (from, to))? else { return Ok(()) };
    let trace = analysis.trace;
    let (sql, last) = (labels::sql(trace, holding.who, holding.sql), labels::sql(trace, holding.who, holding.last_sql));
    let mut args = Args::default();
    args.sql("SQL", holding.sql, sql.as_deref());
    if holding.last_sql != holding.sql {
        args.sql("last SQL", holding.last_sql, last.as_deref());
    }
    args.number("refused", Some(hold.arrows.len() as u64));
    args.number("record", Some(holding.number));
    args.yes("beginning not recorded", !holding.seen);
    if let Some(end) = end {
        args.word("end", end);
    }
    let name = labels::lock(holding.lock);
    canvas.format.slice(&Slice { row, from, to, instant: false, name, args: &args.0, arrows: &hold.arrows })
}

/// `app 7 c1 (idle-in-transaction): X WRITE by BEGIN IMMEDIATE`.
fn blamed(analysis: &Analysis<'_>, blocker: &Blocker, holding: &BlockingHold) -> String {
    let trace = analysis.trace;
    let sql = labels::sql(trace, holding.who, holding.sql).map_or_else(String::new, |sql| format!(" by {sql}"));
    let possible = if blocker.certain { "" } else { "possibly " };
    let (process, connection) = (labels::process(trace, holding.who.log), labels::connection(holding.who));
    format!("{possible}{process} {connection} ({}): {}{sql}", blocker.state.id(), holding.lock)
}
