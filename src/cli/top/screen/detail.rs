//! The details of one connection, and the line of one process, in lines that fit the width.
#![forbid(unsafe_code)]

use super::super::view::lines;
use crate::analysis::current::{HeldLock, ProcessRow, Row, Snapshot};
use crate::report::human::{count, pad, pad_left};
use crate::report::{record, words};
use crate::trace::Trace;
use crate::trace::text::Clean;
use unicode_width::UnicodeWidthChar;

/// Longest part of a statement that is shown, in bytes.
const LONGEST: usize = 20_000;

/// A connection's locks and statements, its blockers, and its latest calls.
pub(super) fn connection(snapshot: &Snapshot, trace: &Trace, row: &Row, width: usize) -> Vec<String> {
    let mut out = Vec::new();
    let say = |out: &mut Vec<String>, name: &str, text: &str| {
        for (number, line) in wrap(text, width.saturating_sub(12)).into_iter().enumerate() {
            out.push(format!("{}{line}", pad(if number == 0 { name } else { "" }, 12)));
        }
    };
    say(&mut out, "connection", &lines::who(trace, row.who, row.tid));
    say(&mut out, "process", &lines::command(trace, row.who.log));
    let thread = words::thread(trace, row.who, row.tid).map_or_else(String::new, |name| format!(" {name}"));
    say(&mut out, "thread", &format!("{}{thread}, last call {} ago", row.tid, lines::ago(row.silent_ns)));
    let database = row.db.and_then(|db| snapshot.databases.get(db as usize));
    say(&mut out, "database", &lines::path(database.and_then(|database| database.path.as_deref())));
    if let Some(want) = row.wants {
        let how = if want.over { "was refused" } else { "wants" };
        let text = format!(
            "{} for {}, refused {}, thread {}",
            want.request,
            lines::lasting(want.age_ns, true),
            times(want.attempts),
            want.tid
        );
        say(&mut out, how, &text);
        say(&mut out, "for", &lines::sql(trace, row.who, want.sql).unwrap_or_else(|| "(no statement)".to_owned()));
        for &blocker in &row.blockers {
            let other = &snapshot.rows[blocker];
            say(
                &mut out,
                "blocked by",
                &format!("{}: {} for {}", lines::who(trace, other.who, other.tid), lines::lock(other), lines::age(other)),
            );
            if let Some(sql) = lines::sql(trace, other.who, other.statement()) {
                say(&mut out, "", &sql);
            }
        }
        if row.blockers.is_empty() && !want.over {
            let who = lines::outside(trace, row).unwrap_or_else(|| "nobody that is known here".to_owned());
            say(&mut out, "blocked by", &who);
        }
    }
    for held in &row.held {
        say(&mut out, "holds", &hold(held, row.doubted));
        if held.sql != 0 {
            say(&mut out, "for", &lines::sql(trace, row.who, held.sql).unwrap_or_default());
        }
    }
    if row.sql != 0 {
        say(&mut out, "ran last", &lines::sql(trace, row.who, row.sql).unwrap_or_default());
    }
    if row.blocks > 0 {
        say(&mut out, "blocks", &format!("{} connection{}", count(row.blocks as u64), if row.blocks == 1 { "" } else { "s" }));
    }
    for (number, call) in row.recent.iter().rev() {
        let ago = trace.clock(row.who.log).to_ns(row.recent.last().map_or(0, |last| last.1.end().saturating_sub(call.end())));
        let text = format!("#{number}  -{}  {}  {}", lines::ago(ago), record::call(call), record::state(call));
        say(&mut out, "call", &text);
    }
    out
}

fn hold(held: &HeldLock, doubted: bool) -> String {
    let doubt = if doubted { "; records of its process are missing since then, it may be free by now" } else { "" };
    format!("{} for {}, thread {}{doubt}", held.lock, lines::lasting(held.age_ns, held.seen), held.tid)
}

fn times(number: u32) -> String {
    if number == 1 { "once".to_owned() } else { format!("{} times", count(u64::from(number))) }
}

/// A text in lines of at most `width` columns.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut out = vec![String::new()];
    let mut used = 0;
    for c in Clean(text.get(..end).unwrap_or_default()).to_string().chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide > width.max(2) {
            out.push(String::new());
            used = 0;
        }
        used += wide;
        if let Some(line) = out.last_mut() {
            line.push(c);
        }
    }
    if end < text.len() {
        out.push(format!("… {} bytes more", text.len() - end));
    }
    out
}

/// The names of the columns of [`process`].
pub(super) fn process_header(width: usize) -> String {
    row(["pid", "conns", "holding", "waiting", "records/s", "unseen", "state", "command"], width)
}

/// One process in columns.
pub(super) fn process(process: &ProcessRow, trace: &Trace, width: usize) -> String {
    let number = |number: usize| count(number as u64);
    let cells = [
        &trace.log(process.log).pid.to_string(),
        &number(process.connections),
        &number(process.holders),
        &number(process.waiters),
        &count(process.records),
        &count(process.lost),
        &lines::state(process),
        &lines::command(trace, process.log),
    ];
    row(cells.map(String::as_str), width)
}

/// The cells in columns. A narrow line leaves out two counts.
fn row(cells: [&str; 8], width: usize) -> String {
    let [pid, connections, holding, waiting, records, lost, state, command] = cells;
    let all = [(pid, 8), (holding, 8), (waiting, 8), (lost, 8), (connections, 7), (records, 11)];
    let numbers = if width < 80 { &all[..4] } else { &all[..] };
    let text: String = numbers.iter().map(|&(cell, columns)| pad_left(cell, columns)).collect();
    format!("{text}  {}  {command}", pad(state, if width < 100 { 12 } else { 24 }))
}
