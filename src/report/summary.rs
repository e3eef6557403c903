//! The few lines that `locktrace run` ends with: how much was recorded, how much was refused, who was most in the way.
//!
//! In come an [`Analysis`] and a writer. Each line begins with the command's name, because it stands among the output of the program
//! that was run.
#![forbid(unsafe_code)]

use super::essence::{self, Essence};
use super::human::{count, cut};
use super::losses;
use crate::analysis::Analysis;
use std::io::{self, Write};

/// Writes the summary.
///
/// # Errors
/// Those of `out`.
pub fn write(analysis: &Analysis<'_>, out: &mut impl Write) -> io::Result<()> {
    let essence = Essence::of(analysis);
    let many = |number: u64, one: &str, more: &str| format!("{} {}", count(number), if number == 1 { one } else { more });
    writeln!(
        out,
        "locktrace: {} from {}; {}",
        many(analysis.records, "record", "records"),
        many(analysis.trace.logs().len() as u64, "process", "processes"),
        match essence.refused {
            0 => "no attempt to take a lock was refused".to_owned(),
            refused => many(refused, "attempt to take a lock was refused", "attempts to take a lock were refused"),
        },
    )?;
    if let Some(worst) = essence.worst {
        let holder = worst.holder;
        let log = analysis.trace.log(holder.who.log);
        let thread =
            essence::thread(analysis.trace, holder.who, holder.tid).map_or_else(String::new, |name| format!(" {}", cut(name, 16)));
        let times = match (worst.certain, worst.possible) {
            (certain, 0) => count(certain),
            (0, possible) => format!("possibly {}", count(possible)),
            (certain, possible) => format!("{}, possibly {} more", count(certain), count(possible)),
        };
        let sql =
            essence::sql(analysis.trace, holder.who, holder.sql).map_or_else(String::new, |sql| format!(", {}", cut(sql, 60)));
        writeln!(
            out,
            "locktrace: most in the way ({times}): pid {}{thread} c{}, holding {}{sql}",
            log.pid, holder.who.conn, holder.lock
        )?;
    }
    if let Some((holder, attempts)) = essence.outside {
        let who = cut(&holder.to_string(), 80);
        writeln!(out, "locktrace: outside the trace ({}): {who}, holding {}", count(attempts), cut(&holder.lock(), 40))?;
    }
    for (log, tally) in analysis.trace.logs().iter().zip(&analysis.summary.tallies) {
        if tally.unread() > 0 {
            writeln!(out, "locktrace: log {}: {}", log.id, losses(tally))?;
        }
    }
    Ok(())
}
