//! The summary at the end of `locktrace run`: what the application saw, the worst cause, and the blocking statement.
//!
//! It has one line if no application could see a refusal, otherwise three, and one more if records are missing. Each line begins with the command's name,
//! because it appears in the output of the program.
#![forbid(unsafe_code)]

use super::human::{count, cut, duration};
use super::{ranking, words};
use crate::analysis::{Analysis, Incident};
use std::io::{self, Write};

/// The columns of a statement.
const STATEMENT: usize = 60;

/// Writes the summary. `read_on` says where the trace is, and what to type next.
///
/// # Errors
/// The errors of `out`.
pub fn write(analysis: &Analysis<'_>, read_on: &ReadOn<'_>, out: &mut impl Write) -> io::Result<()> {
    let ReadOn { dir, word } = read_on;
    let size = format!(
        "{} from {}",
        many(analysis.records, "record", "records"),
        many(analysis.trace.logs().len() as u64, "process", "processes")
    );
    let (since, lost) = (words::since(analysis), words::missing(analysis));
    let Some(worst) = ranking::causes(analysis).into_iter().next() else {
        let lost = lost.map_or_else(String::new, |lost| format!("; {lost} (a larger LOCKTRACE_LIMIT keeps more)"));
        return writeln!(
            out,
            "locktrace: no lock was refused that an application could see{since}: {size}{lost}; the trace is in {dir}"
        );
    };
    let all = analysis.totals.incidents;
    let (errors, waited, open) = (all.errors(), all.count - all.gave_up - all.open, all.open);
    let mut parts = Vec::new();
    if errors > 0 {
        let least = if lost.is_some() { "at least " } else { "" };
        parts.push(format!("the application saw `database is locked` {least}{}", many(errors, "time", "times")));
    } else {
        let perhaps = open > 0 || analysis.incidents.iter().any(|incident| words::unslept(analysis, incident));
        parts.push(if perhaps {
            format!("the application may have seen `database is locked`{since} (see the report)")
        } else {
            format!("the application did not see `database is locked`{since}")
        });
    }
    if waited > 0 {
        parts.push(format!("{} and got the lock", many(waited, "waited", "waited")));
    }
    if all.checkpoint_busy > 0 {
        parts.push(format!("{} busy", many(all.checkpoint_busy, "checkpoint returned", "checkpoints returned")));
    }
    if open > 0 {
        parts.push(format!("{} waiting at the end", many(open, "was still", "were still")));
    }
    writeln!(out, "locktrace: {} ({size})", parts.join(", "))?;
    if let Some(lost) = lost {
        writeln!(out, "locktrace: {lost} (a larger LOCKTRACE_LIMIT keeps more)")?;
    }
    let mut what = many(worst.count, "time", "times");
    if worst.errors > 0 {
        what += &format!(", {}", many(worst.errors, "error", "errors"));
    }
    if worst.waited_ns > 0 {
        what += &format!(", {} waited", duration(worst.waited_ns));
    }
    let incident = &analysis.incidents[worst.worst as usize];
    writeln!(out, "locktrace: worst: {} ({what}): blocked by {}", worst.cause.id(), blocker(analysis, incident))?;
    writeln!(
        out,
        "locktrace: the trace is in {dir}; its proof: locktrace explain {word} --incident {}; everything: locktrace report {word}",
        worst.worst + 1
    )
}

/// Where the trace is, for people and for a shell.
pub struct ReadOn<'a> {
    /// The directory, and a remark about it.
    pub dir: &'a str,
    /// The directory as a shell takes it.
    pub word: &'a str,
}

fn many(number: u64, one: &str, more: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { more })
}

/// The blocker of an incident, with its statement.
fn blocker(analysis: &Analysis<'_>, incident: &Incident) -> String {
    if let Some(blocker) = incident.blockers.first() {
        let holding = &analysis.blocking_holds[blocker.hold as usize];
        let possibly = if blocker.certain { "" } else { "possibly " };
        let sql =
            words::sql(analysis, holding.who, holding.sql).map_or_else(String::new, |sql| format!(": {}", cut(&sql, STATEMENT)));
        let who = words::who(analysis, holding.who, blocker.tid);
        return format!("{possibly}{who}, {}, with {}{sql}", blocker.state.id(), holding.lock);
    }
    match words::untraced_holders(analysis, incident).next() {
        Some(outsider) => format!("{}, outside the trace, with {}", cut(&outsider.to_string(), 80), cut(&outsider.lock(), 40)),
        None => "nobody in the trace".to_owned(),
    }
}
