//! One incident, told so that a person can follow it: who, why, and the records that prove it, in the order in which they happened.
//!
//! Input: an [`Analysis`], the number of an incident, and a second pass over the events of the same trace. Output: text. Called by
//! `locktrace explain`.
#![forbid(unsafe_code)]

use super::host::Hosts;
use super::human::{count, cut, duration, known, pad_left};
use super::record::call;
use super::{essence, fix, words};
use crate::analysis::incidents::incident::chain;
use crate::analysis::{Analysis, Cause, IncidentEnd};
use crate::trace::{Event, LogId};
use std::collections::HashMap;
use std::io::{self, Write};
use unicode_width::UnicodeWidthStr;

/// The records that these incidents (indices) rest on, out of all events of their trace: a list for each, in time order.
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

/// Every incident, a line each.
///
/// # Errors
/// Those of `out`.
pub fn list(analysis: &Analysis<'_>, width: usize, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "number        from    waited  ended   cause, refused <- blocked by")?;
    for (number, incident) in (1..).zip(&analysis.incidents) {
        let waited = known(analysis.ns(incident.who.log, incident.first, incident.until));
        let statement = |who, hash| words::sql(analysis, who, hash).unwrap_or_else(|| "(not known)".to_owned());
        let blocker = incident.blockers.first().map(|blocker| {
            let holding = &analysis.blocking_holds[blocker.hold as usize];
            statement(holding.who, holding.sql)
        });
        let blocker = blocker.or_else(|| essence::strangers(analysis, incident).next().map(ToString::to_string));
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
        // Half of what is left for each, and what one does not need for the other.
        let room = width.saturating_sub(about.chars().count() + 6);
        let refused = cut(&refused, (room / 2).max(room.saturating_sub(blocker.chars().count())));
        writeln!(out, "{}", cut(&format!("{about}  {refused} <- {blocker}"), width))?;
    }
    Ok(())
}

/// Writes one incident; `events` are those of [`proofs`].
///
/// # Errors
/// Those of `out`.
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
        (n, 0) => format!(", {} attempts without a sleep of SQLite's", count(n.into())),
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
    if essence::unslept(analysis, incident) {
        line("            a busy handler of its own called for each; or the application did, and then it")?;
        line("            saw an error each time")?;
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
        // What it was doing is not to be cut off.
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
    for stranger in essence::strangers(analysis, incident) {
        line(&format!("  holder    {stranger}, outside the trace, holding {}", stranger.lock()))?;
    }
    if incident.more_blockers > 0 {
        line(&format!("            and {} more", count(incident.more_blockers.into())))?;
    }
    for &next in chain(&analysis.incidents, index).iter().skip(1) {
        let next_ = &analysis.incidents[next as usize];
        line(&format!("  which waits itself, in incident {}: {}", next + 1, next_.cause.id()))?;
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
    paragraph(out, "Why: ", meaning(incident.cause), width)?;
    paragraph(out, "Fix: ", &fix::of(analysis, &Hosts::of(analysis), incident), width)
}

/// Text in lines of this width.
pub(super) fn paragraph(out: &mut impl Write, head: &str, text: &str, width: usize) -> io::Result<()> {
    let mut line = head.to_owned();
    for word in text.split_whitespace() {
        if line.len() > head.len() && line.chars().count() + word.chars().count() >= width {
            writeln!(out, "{}", cut(line.trim_end(), width))?;
            line = " ".repeat(head.len());
        }
        line.push_str(word);
        line.push(' ');
    }
    writeln!(out, "{}", cut(line.trim_end(), width))
}

/// What a cause means, for somebody who has not read SQLite's source.
pub fn meaning(cause: Cause) -> &'static str {
    match cause {
        Cause::UpgradeRefused => {
            "The victim's transaction was reading already (it held a read lock) when it wanted to write, and another connection was the writer. In \
             that state SQLite refuses at once and does not call the busy handler, because the two could wait for each other for ever."
        }
        Cause::StaleSnapshot => {
            "The victim's transaction reads the database as it was when its first SELECT ran. Another connection has committed since, so that writing on \
             top of the old state would lose that commit: SQLite took the write lock, saw this, and gave it up again."
        }
        Cause::HoldExceedsTimeout => {
            "There is one writer at a time. The victim asked for the write lock at the start of its transaction, was refused, gave its read lock back, \
             waited and tried again, while the holder kept the lock."
        }
        Cause::NoBusyTimeout => {
            "The victim asked for the write lock at the start of its transaction, was refused, and did not try again: no busy timeout was in effect on its \
             connection."
        }
        Cause::ReaderBlocksCommit => {
            "Without a WAL, a commit has to write into the database file itself, and can do so only when nobody reads. The victim had prepared its \
             transaction (RESERVED) and wanted the file to itself (EXCLUSIVE), while the holder was reading (SHARED). So does BEGIN EXCLUSIVE; and a \
             transaction that outgrows its page cache, which goes on in memory where it is refused."
        }
        Cause::CommitBlocksReader => {
            "Without a WAL, nobody can begin to read while a commit writes into the database file, or waits for the last readers to leave. BEGIN EXCLUSIVE keeps \
             readers out from its beginning, and a large transaction from the moment at which it outgrows its page cache."
        }
        Cause::CheckpointStarved => {
            "A checkpoint copies the WAL into the database, but never past what somebody still reads. The holder's read transaction stood in its way, and \
             the WAL could not be reset."
        }
        Cause::CheckpointConvoy => {
            "This checkpoint took the write lock and then waited for a reader: as long as it waited, nobody could write."
        }
        Cause::CheckpointContended => "One checkpoint runs at a time. SQLite does not wait for another one: it answers busy.",
        Cause::WalRecovery => {
            "The holder was rebuilding the wal-index, as the first connection after a crash does. Nobody can read or write until that is done."
        }
        Cause::WalProtocolRetry => {
            "The wal-index was out of order, and whoever finds it so wants the write lock to rebuild it; but the holder kept that. SQLite tries about a \
             hundred times and then answers SQLITE_PROTOCOL."
        }
        Cause::LastClose => {
            "The last connection to close copies the WAL into the database and deletes it, with the database to itself (EXCLUSIVE). The victim came in that \
             moment."
        }
        Cause::HotJournal => {
            "A crash had left a journal behind, and the holder was playing it back, with the database to itself (EXCLUSIVE)."
        }
        Cause::ExclusiveMode => {
            "With locking_mode=EXCLUSIVE a connection keeps its locks when its transaction is over, until it closes. Nobody else gets in."
        }
        Cause::JournalModeSwitch => {
            "To change between WAL and a rollback journal, a connection needs the database to itself. Any other connection is in the way; of some locks \
             SQLite asks only once."
        }
        Cause::UntracedHolder => {
            "No traced connection held what the victim asked for. A moment later the system's lock table named a process that is not traced."
        }
        Cause::Unexplained => {
            "None of the known causes is proven by these records. The holder may be outside the trace, or a record that tells was lost."
        }
    }
}
