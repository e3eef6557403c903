//! The report for people: first the verdict, then sums over refused attempts, each database, every refused attempt, and what was lost.
//!
//! No line is wider than the [`Style`] says. Everything that comes from a traced program is escaped.
#![forbid(unsafe_code)]

use super::human::{count, cut, duration, known, pad, pad_left};
use super::style::{BOLD, PLAIN, RED, many};
use super::{losses, verdict, words};
use crate::analysis::{Analysis, Candidate, ConnId, Database, Distribution, Instant, LockId, Refusal, WaitEnd};
use crate::trace::{LogId, Severity};
use std::io::{self, Write};

pub use super::style::Style;

/// Writes the report, with colours. A writer such as `anstream`'s removes them if they are not wanted.
///
/// # Errors
/// The errors of `out`.
pub fn write(analysis: &Analysis<'_>, style: Style, out: &mut impl Write) -> io::Result<()> {
    verdict::write(analysis, style.width, out)?;
    let mut text = Text { analysis, style, out };
    text.refused_attempts()?;
    for db in &analysis.databases {
        text.database(db)?;
    }
    verdict::statements(analysis, style.width, text.out)?;
    verdict::hazards(analysis, style.width, text.out)?;
    text.refusals()?;
    text.losses()
}

struct Text<'a, 't, W> {
    analysis: &'a Analysis<'t>,
    style: Style,
    out: &'a mut W,
}

impl<W: Write> Text<'_, '_, W> {
    /// One line, cut to the width.
    fn line(&mut self, text: &str) -> io::Result<()> {
        let text = cut(text, self.style.width);
        writeln!(self.out, "{}", text.trim_end())
    }

    /// A line with a statement after it, or below it if too little of the statement would fit.
    fn with_sql(&mut self, text: &str, indent: usize, sql: Option<String>) -> io::Result<()> {
        let Some(sql) = sql else { return self.line(text) };
        let room = self.style.width.saturating_sub(text.chars().count() + 2);
        if room >= sql.chars().count().min(40) {
            return self.line(&format!("{text}  {sql}"));
        }
        self.line(text)?;
        self.line(&format!("{}{sql}", " ".repeat(indent)))
    }

    fn coloured(&mut self, colour: &str, text: &str) -> io::Result<()> {
        let text = cut(text, self.style.width);
        writeln!(self.out, "{colour}{text}{PLAIN}")
    }

    fn refused_attempts(&mut self) -> io::Result<()> {
        let stats = &self.analysis.refusal_stats;
        if self.analysis.incidents.is_empty()
            && let Some(missing) = words::missing(self.analysis)
        {
            let since = words::since(self.analysis);
            self.coloured(BOLD, &format!("No error is known{since}; {missing}"))?;
        }
        if stats.refused == 0 {
            let text = match self.analysis.is_whole() {
                true if self.analysis.incidents.is_empty() => "No attempt to take a lock was refused.",
                // A stale snapshot fails without a refused call.
                true => "No attempt to take a lock was refused, apart from the upgrades that failed.",
                false => "The trace shows no refused attempt to take a lock, but records are missing (see below).",
            };
            self.coloured(BOLD, text)?;
        } else {
            let locks: Vec<String> = stats.by_lock.iter().map(|(lock, n)| format!("{lock} {}", count(*n))).collect();
            self.coloured(RED, &format!("{}: {}", many(stats.refused, "refused attempt"), locks.join(", ")))?;
            let certain = format!(
                "  the holder is certain for {}, possible for {}, not in the trace for {}",
                count(stats.certain),
                count(stats.possible),
                count(stats.untraced)
            );
            self.line(&certain)?;
        }
        if let Some(worst) = stats.top_candidate {
            let holder = worst.candidate;
            let times = match (worst.certain, worst.possible) {
                (certain, 0) => many(certain, "attempt"),
                (0, possible) => format!("{}, possibly", many(possible, "attempt")),
                (certain, possible) => format!("{}, possibly {} more", many(certain, "attempt"), count(possible)),
            };
            let who = self.who(holder.who, holder.tid);
            self.coloured(BOLD, &format!("Main blocker: {who}, holding {}: {times}", holder.lock))?;
            if let Some(sql) = self.sql(holder.who, holder.sql) {
                self.line(&format!("  {sql}"))?;
            }
        }
        if let Some((holder, attempts)) = stats.outside {
            self.coloured(BOLD, &format!("Outside the trace: {holder}, holding {}: {}", holder.lock(), many(attempts, "attempt")))?;
        }
        if stats.closing > 0 {
            let closing = count(stats.closing);
            self.line(&format!("  ({closing} more by closing connections that asked whether they are the last: that is normal)"))?;
        }
        if stats.optional > 0 {
            let optional = count(stats.optional);
            self.line(&format!(
                "  ({optional} more by writers and checkpoints that wanted a reader's slot: no statement fails because of it)"
            ))?;
        }
        let read = format!(
            "{} read from {}",
            many(self.analysis.records, "record"),
            many(self.analysis.trace.logs().len() as u64, "process log")
        );
        match self.analysis.span {
            Some((from, to)) => {
                let start = humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(from));
                self.line(&format!("{read}; {} from {start}", duration(to.saturating_sub(from))))
            }
            None => self.line(&read),
        }
    }

    fn database(&mut self, db: &Database) -> io::Result<()> {
        writeln!(self.out)?;
        let path =
            if db.paths.is_empty() { "(a database whose name was not recorded)".to_owned() } else { db.paths.join(", also ") };
        self.coloured(BOLD, &path)?;
        let about = format!(
            "  journal mode: {}; {}, {}; {}, {}, {} redundant",
            db.modes.names().join(" and "),
            many(db.connections, "connection"),
            if db.logs.len() == 1 { "1 process".to_owned() } else { format!("{} processes", db.logs.len()) },
            many(db.records, "record"),
            many(db.transitions, "transition"),
            count(db.redundant),
        );
        self.line(&about)?;
        let shown: Vec<LockId> = LockId::all().filter(|&lock| db.lock(lock).any()).collect();
        if shown.is_empty() {
            return Ok(());
        }
        let head = ["taken", "refused", "held p50", "p95", "p99", "max", "unknown", "open"];
        self.row("lock", &head.map(str::to_owned))?;
        for &lock in &shown {
            let stats = db.lock(lock);
            let [p50, p95, p99, max] = quantiles(&stats.held);
            let numbers =
                [stats.acquired, stats.refused, stats.unknown, stats.open].map(|n| if n == 0 { "-".to_owned() } else { count(n) });
            let [taken, refused, unknown, open] = numbers;
            self.row(&lock.to_string(), &[taken, refused, p50, p95, p99, max, unknown, open])?;
        }
        let waited: Vec<LockId> = shown.into_iter().filter(|&lock| db.lock(lock).refused > 0).collect();
        if !waited.is_empty() {
            let head = ["waited", "got it p50", "p95", "p99", "max", "gave up", "after p50", "max"];
            self.row("wait for", &head.map(str::to_owned))?;
            for lock in waited {
                let stats = db.lock(lock);
                let [p50, p95, p99, max] = quantiles(&stats.waited);
                let [tried, _, _, longest] = quantiles(&stats.tried);
                let all = count(stats.waited.count + stats.gave_up);
                self.row(&lock.to_string(), &[all, p50, p95, p99, max, count(stats.gave_up), tried, longest])?;
            }
        }
        if !db.longest.is_empty() {
            self.line("  longest holds")?;
        }
        for hold in &db.longest {
            let open = if hold.open { " (still held at the end)" } else { "" };
            let sql = self.sql(hold.who, hold.sql);
            let who = self.who(hold.who, hold.tid);
            let at = self.at(hold.who.log, hold.since.0);
            let time = pad_left(&duration(hold.ns), 9);
            self.with_sql(&format!("  {time}  {}  {who}, from {at}{open}", pad(&hold.lock.to_string(), 9)), 13, sql)?;
        }
        Ok(())
    }

    fn row(&mut self, name: &str, cells: &[String]) -> io::Result<()> {
        let mut line = format!("  {}", pad(name, 10));
        for cell in cells {
            line.push_str(&pad_left(cell, 11));
        }
        self.line(&line)
    }

    fn refusals(&mut self) -> io::Result<()> {
        let analysis = self.analysis;
        let all = analysis.refusal_stats.refused;
        if all == 0 {
            return Ok(());
        }
        let mut shown = 0;
        writeln!(self.out)?;
        self.coloured(BOLD, "Refused attempts")?;
        let listed = analysis.refusals.iter().filter(|refusal| !refusal.closing && !refusal.request.is_optional());
        for refusal in listed.take(self.style.refusals) {
            self.refusal(refusal)?;
            shown += 1;
        }
        let more = all.saturating_sub(shown);
        if more > 0 {
            let json = if analysis.not_listed()[2] == 0 { ", --json too" } else { "" };
            self.line(&format!("  … and {} more: --all lists them{json}", count(more)))?;
        }
        Ok(())
    }

    fn refusal(&mut self, refusal: &Refusal) -> io::Result<()> {
        let at = self.at(refusal.who.log, refusal.start);
        let who = self.who(refusal.who, refusal.tid);
        let sql = self.sql(refusal.who, refusal.sql);
        let wait = self.analysis.waits.get(refusal.wait as usize);
        let ended = wait.map(|wait| {
            let ns = known(self.analysis.ns(wait.who.log, wait.from, wait.until));
            let attempts = if wait.attempts > 1 { format!(" and {} attempts", count(wait.attempts.into())) } else { String::new() };
            match wait.end {
                WaitEnd::Acquired => format!(" (got the lock after {ns}{attempts})"),
                WaitEnd::GaveUp => format!(" (gave up after {ns}{attempts})"),
                WaitEnd::WentOn => format!(" (went on without the lock after {ns}{attempts})"),
                WaitEnd::TraceEnd => format!(" (the trace ends after {ns}{attempts})"),
            }
        });
        let request = refusal.request;
        self.with_sql(&format!("  {at}  {request} refused to {who}{}", ended.unwrap_or_default()), 4, sql)?;
        let outside = words::outside(self.analysis, refusal);
        if refusal.candidates.is_empty() && outside.is_empty() {
            let why = words::no_holder(self.analysis, refusal);
            return self.line(&format!("      {why}"));
        }
        for holder in &refusal.candidates {
            self.holder(refusal, holder)?;
        }
        if refusal.more_candidates > 0 {
            self.line(&format!("      and {} more", count(refusal.more_candidates.into())))?;
        }
        for said in outside {
            self.line(&format!("      {said}"))?;
        }
        Ok(())
    }

    fn holder(&mut self, refusal: &Refusal, holder: &Candidate) -> io::Result<()> {
        let who = self.who(holder.who, holder.tid);
        let held = if holder.certain { "held by" } else { "possibly held by" };
        let since = if !holder.seen {
            ", since before it was recorded".to_owned()
        } else if holder.since >= refusal.start {
            ", taken while it was refused".to_owned()
        } else {
            format!(", for {}", known(self.analysis.ns(holder.who.log, holder.since, refusal.start)))
        };
        let sql = self.sql(holder.who, holder.sql);
        self.with_sql(&format!("      {} {held} {who}{since}", holder.lock), 8, sql)
    }

    fn losses(&mut self) -> io::Result<()> {
        let analysis = self.analysis;
        let lossy = analysis.trace.logs().iter().zip(&analysis.summary.tallies).filter(|(_, tally)| tally.unread() > 0);
        let mut lines: Vec<String> = lossy.map(|(log, tally)| format!("  log {}: {}", log.id, losses(tally))).collect();
        for problem in &analysis.summary.problems {
            let kind = if problem.severity == Severity::Notice { "notice" } else { "problem" };
            lines.push(format!("  {kind}: {problem}"));
        }
        if lines.is_empty() {
            return Ok(());
        }
        writeln!(self.out)?;
        self.coloured(BOLD, "Lost or unusable")?;
        // These lines say where the loss is and what to do, so they are not cut.
        for line in lines {
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    fn who(&self, who: ConnId, tid: u32) -> String {
        words::who(self.analysis, who, tid)
    }

    fn sql(&self, who: ConnId, hash: u64) -> Option<String> {
        words::sql(self.analysis, who, hash).map(|sql| cut(&sql, self.style.width))
    }

    fn at(&self, log: LogId, at: Instant) -> String {
        words::at(self.analysis, log, at)
    }
}

fn quantiles(distribution: &Distribution) -> [String; 4] {
    let show = |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), duration);
    let max = (distribution.count > 0).then_some(distribution.max_ns);
    [show(distribution.quantile(0.5)), show(distribution.quantile(0.95)), show(distribution.quantile(0.99)), show(max)]
}
