//! Writes a whole trace as JSON lines, in one pass and as it is read.
#![forbid(unsafe_code)]

use super::record;
use crate::trace::names::{Object, object};
use crate::trace::text::to_hex;
use crate::trace::{Events, Log, Place, Problem, Severity, Summary, Tally, Trace};
use serde_json::{Value, json};
use shim::format::header::{Anchor, ClockKind};
use std::io::{self, Write};

/// Writes logs, names, records, ends and problems.
///
/// # Errors
/// Those of `out`.
pub fn write(trace: &Trace, mut events: Events<'_>, out: &mut impl Write) -> io::Result<Summary> {
    write_head(trace, out)?;
    for event in &mut events {
        record::write(trace, &event, out)?;
    }
    let summary = events.finish();
    write_tail(trace, &summary, out)?;
    Ok(summary)
}

/// Writes logs and names: what comes before the records.
fn write_head(trace: &Trace, out: &mut impl Write) -> io::Result<()> {
    for log in trace.logs() {
        write_log(log, out)?;
        for (t, names) in log.names.lines() {
            line(out, t, Some(&log.id), &names)?;
        }
    }
    Ok(())
}

/// Writes ends and problems: what comes after the records.
fn write_tail(trace: &Trace, summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    for (log, tally) in trace.logs().iter().zip(&summary.tallies) {
        write_end(log, tally, 0, out)?;
    }
    for found in &summary.problems {
        write_problem(found, out)?;
    }
    Ok(())
}

/// Writes the `log` line of a log.
///
/// # Errors
/// Those of `out`.
pub fn write_log(log: &Log, out: &mut impl Write) -> io::Result<()> {
    line(out, "log", Some(&log.id), &about(log))
}

/// Writes one line of names, as it is in the names file of this log.
///
/// # Errors
/// Those of `out`.
pub fn write_name(log: &Log, name: &serde_json::Map<String, Value>, out: &mut impl Write) -> io::Result<()> {
    line(out, name.get("t").and_then(Value::as_str).unwrap_or_default(), Some(&log.id), name)
}

/// Writes the `end` line of a log, of whose records this many were not asked for.
///
/// # Errors
/// Those of `out`.
pub fn write_end(log: &Log, tally: &Tally, skipped: u64, out: &mut impl Write) -> io::Result<()> {
    let mut rest = end(tally);
    if skipped > 0 {
        rest.insert("skipped".to_owned(), skipped.into());
    }
    line(out, "end", Some(&log.id), &rest)
}

/// Writes a `problem` line.
///
/// # Errors
/// Those of `out`.
pub fn write_problem(found: &Problem, out: &mut impl Write) -> io::Result<()> {
    line(out, "problem", None, &problem(found))
}

/// One object, its type and log first.
fn line(out: &mut impl Write, t: &str, log: Option<&str>, rest: &Object) -> io::Result<()> {
    write!(out, "{{\"t\":{}", Value::from(t))?;
    if let Some(log) = log {
        write!(out, ",\"log\":{}", Value::from(log))?;
    }
    for (key, value) in rest {
        if key != "t" && key != "log" {
            write!(out, ",{}:{value}", Value::from(key.as_str()))?;
        }
    }
    out.write_all(b"}\n")
}

fn about(log: &Log) -> Object {
    let anchor = |anchor: &Anchor| {
        json!({
            "ticks": anchor.ticks.to_string(),
            "monotonic_ns": anchor.monotonic_ns.to_string(),
            "real_ns": anchor.real_ns.to_string(),
        })
    };
    let clock = match log.clock_kind {
        ClockKind::Tsc => "tsc".to_owned(),
        ClockKind::Cntvct => "cntvct".to_owned(),
        ClockKind::Monotonic => "monotonic".to_owned(),
        ClockKind::Unknown(number) => format!("clock#{number}"),
    };
    object(json!({
        "version": shim::format::VERSION,
        "pid": log.pid,
        "clock": clock,
        "boot_id": to_hex(&log.boot_id),
        "capacity": log.capacity,
        "first": anchor(&log.first),
        "last": log.last.as_ref().map(anchor),
        "head": log.head,
        "lost_space": log.lost_space,
        "lost_names": log.lost_names,
    }))
}

fn end(tally: &Tally) -> Object {
    object(json!({
        "head": tally.head,
        "read": tally.read,
        "overwritten": tally.overwritten,
        "lost": tally.lost,
        "empty": tally.empty,
        "torn": tally.torn,
        "missing": tally.missing,
    }))
}

fn problem(problem: &Problem) -> Object {
    let severity = match problem.severity {
        Severity::Notice => "notice",
        Severity::Problem => "problem",
    };
    let mut line = object(json!({"severity": severity, "path": problem.path, "what": problem.what}));
    match problem.place {
        Place::Whole => {}
        Place::Byte(byte) => drop(line.insert("byte".to_owned(), byte.into())),
        Place::Line(number) => drop(line.insert("line".to_owned(), number.into())),
    }
    line
}
