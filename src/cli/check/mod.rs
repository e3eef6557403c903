//! `locktrace check`: compares a trace with limits and exits with a code for CI.
#![forbid(unsafe_code)]

mod doubt;

use crate::analysis::{Analysis, Cause, Incident, IncidentEnd, Options};
use crate::cli::io::{Failure, Reopenable, output};
use crate::report::human::{cut, duration};
use crate::report::words;
use crate::trace::losses::{self, Loss};
use crate::trace::{Log, LogId, Trace};
use doubt::Doubts;
use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Check a trace against limits (exit code 0: pass, 1: fail, 2: cannot decide).
///
/// Each breach is one line, with its culprit. Without any limit, --no-gave-up applies: no application may have seen `database is locked`.
#[derive(clap::Args)]
#[command(after_long_help = "\
Missing records:
  If records are missing, a breach may be among them. `check` then cannot decide and exits
  with 2. A loss does not matter if it is too short to hide a breach, if it belongs to another
  database than --database, or if its call had not returned when the process died.

  A log is a ring: a long run overwrites its first records (LOCKTRACE_LIMIT sets how much is
  kept for each process). A test that passes because its errors were overwritten is worse than
  none, so `check` exits with 2 here, too. For a program that never ends, use --kept: `check`
  then starts at the oldest record of each log, and a notice gives its time.

Examples:
  locktrace run -o trace -- pytest && locktrace check trace
  locktrace check trace --max-hold 100ms --max-wait 1s --no-hazards
  locktrace check trace --no-refusals --allow hold-exceeds-timeout --allow wal-recovery
  locktrace check --kept --database app.db      a running program, and one of its databases
  zcat trace.jsonl.gz | locktrace check -

Exit codes:
  0  Within all limits.
  1  Beyond a limit.
  2  No breach was found, but missing records may hide one; the trace cannot be read; wrong usage.")]
pub(super) struct Check {
    /// A trace directory, a file of JSON lines, or - for JSON lines on standard input
    ///
    /// Without it: the directory in LOCKTRACE_DIR, or ./locktrace-trace.
    trace: Option<PathBuf>,
    /// Longest allowed hold (100ms, 1s …). Ignores the SHARED lock that every WAL connection keeps
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    max_hold: Option<Duration>,
    /// Longest allowed wait for a lock
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    max_wait: Option<Duration>,
    /// Fail if any lock was refused and the application could see it
    #[arg(long)]
    no_refusals: bool,
    /// Fail if the application saw an error for a refused lock (a PRAGMA wal_checkpoint that returns busy is no error)
    #[arg(long)]
    no_gave_up: bool,
    /// Accept incidents of this cause. Repeat for more causes
    #[arg(long, value_name = "CAUSE", value_parser = cause)]
    allow: Vec<Cause>,
    /// Fail if there is any hazard
    #[arg(long)]
    no_hazards: bool,
    /// Check only this database, by its path or the end of its path. Repeat for more databases
    #[arg(long, value_name = "PATH")]
    database: Vec<PathBuf>,
    /// Check what the logs still hold, even if earlier records were overwritten
    #[arg(long)]
    kept: bool,
}

fn cause(id: &str) -> Result<Cause, String> {
    let known = Cause::ALL.iter().copied().find(|cause| cause.id() == id);
    let all = || Cause::ALL.iter().map(|cause| cause.id()).collect::<Vec<_>>().join(", ");
    known.ok_or_else(|| format!("there is no such cause; the causes are: {}", all()))
}

/// Longest line, in columns.
const LONGEST_LINE: usize = 400;

/// How many of the longest holds of each database are checked one by one.
const LISTED: usize = 100;

impl Check {
    pub(super) fn run(mut self) -> Result<ExitCode, Failure> {
        let limited = self.max_hold.is_some() || self.max_wait.is_some() || self.no_refusals || self.no_hazards;
        self.no_gave_up |= !limited;
        let given = Reopenable::new(self.trace.as_deref())?;
        let trace = given.open()?;
        self.has_databases(&trace)?;
        let analysis = Analysis::of(&trace, Options { longest: LISTED, ..Options::default() })?;
        let (missing, grown) = if analysis.has_losses() { missing(&analysis, &given.open()?)? } else { Default::default() };
        let mut doubts = Doubts::of(&self, &analysis, &missing, &grown);
        let mut breaches = self.holds(&analysis, &missing, &mut doubts);
        breaches.extend((1..).zip(&analysis.incidents).filter_map(|(number, item)| self.incident(&analysis, number, item)));
        if self.no_hazards {
            let path = |db: u32| analysis.databases.get(db as usize).and_then(|db| db.paths.first()).cloned().unwrap_or_default();
            let hazards = analysis.hazards.iter().filter(|item| self.is_about(&analysis, Some(item.db)));
            breaches.extend(hazards.map(|item| format!("hazard {}: {}: {}", item.kind.id(), path(item.db), item.what)));
        }
        let code = match (breaches.len(), doubts.unknown.len()) {
            (0, 0) => 0,
            (0, _) => 2,
            _ => 1,
        };
        // The worst incident of each cause in each database, and the longest wait, are always kept, so the exit code covers all incidents.
        let more = analysis.not_listed()[0];
        let verdict = match code {
            0 => "within all limits".to_owned(),
            1 if more > 0 => format!("{} beyond a limit; {more} more incidents were not checked one by one", breaches.len()),
            1 => format!("{} beyond a limit", breaches.len()),
            _ => "no breach was found, but missing records may hide one".to_owned(),
        };
        let unknown = doubts.unknown.iter().map(|what| format!("cannot decide: {what}"));
        let notices = doubts.notices.iter().map(|what| format!("notice: {what}"));
        let lines = breaches.into_iter().chain(unknown).chain(notices).map(|line| cut(&line, LONGEST_LINE)).chain([verdict]);
        let text: String = lines.map(|line| line + "\n").collect();
        let mut out = output();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // The reader closed the output. The exit code is still the answer.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
            _ => {}
        }
        Ok(ExitCode::from(code))
    }

    /// Checks that the trace has the databases that were asked for.
    fn has_databases(&self, trace: &Trace) -> Result<(), Failure> {
        let all = || trace.logs().iter().flat_map(|log| log.names.files());
        for wanted in &self.database {
            if !all().any(|file| is_at(wanted, &file.path.text)) {
                let mut there: Vec<&str> = all().map(|file| file.path.text.as_str()).collect();
                there.sort_unstable();
                there.dedup();
                let there = if there.is_empty() {
                    "the trace names no database".to_owned()
                } else {
                    format!("its databases are {}", there.join(", "))
                };
                let what = format!("no database of the trace has the name {}: {there}", wanted.display());
                return Err(Failure::Other(cut(&what, LONGEST_LINE)));
            }
        }
        Ok(())
    }

    /// Whether this database is checked. A database without a name may be any.
    fn is_about(&self, analysis: &Analysis<'_>, db: Option<u32>) -> bool {
        let paths = db.and_then(|db| analysis.databases.get(db as usize)).map_or(&[][..], |db| &db.paths);
        self.database.is_empty()
            || paths.is_empty()
            || paths.iter().any(|path| self.database.iter().any(|wanted| is_at(wanted, path)))
    }

    /// Whether the process of this log may have opened a checked database.
    fn concerns(&self, log: &Log) -> bool {
        let mut files = log.names.files().peekable();
        let unsure = files.peek().is_none() || log.lost_names > 0 || log.names.caps().any(|(what, _)| what == "file");
        self.database.is_empty() || unsure || files.any(|file| self.database.iter().any(|wanted| is_at(wanted, &file.path.text)))
    }

    fn holds(&self, analysis: &Analysis<'_>, missing: &[Loss], doubts: &mut Doubts) -> Vec<String> {
        let Some(limit) = self.max_hold.map(nanoseconds) else { return Vec::new() };
        let mut out = Vec::new();
        for (index, db) in (0..).zip(&analysis.databases) {
            if !self.is_about(analysis, Some(index)) {
                continue;
            }
            for hold in db.longest.iter().filter(|hold| hold.ns > limit) {
                let sql = words::sql(analysis, hold.who, hold.sql).map_or_else(String::new, |sql| format!(": {sql}"));
                let who = words::who(analysis, hold.who, hold.tid);
                let path = db.paths.first().map_or("", String::as_str);
                let line = format!("max-hold: {path}: {who} held {} for {}{sql}", hold.lock, duration(hold.ns));
                let from = analysis.real_ns(hold.who.log, hold.since.0);
                let span = from.map(|from| (from, from.saturating_add(hold.ns)));
                if span.is_some_and(|span| Check::is_doubtful(analysis, hold.who.log, span, missing)) {
                    doubts.unknown.push(format!("{line}; or several shorter holds: records in between are missing"));
                } else {
                    out.push(line);
                }
            }
        }
        out
    }

    /// The line of this incident, if it is a breach.
    fn incident(&self, analysis: &Analysis<'_>, number: usize, incident: &Incident) -> Option<String> {
        if self.allow.contains(&incident.cause) || !self.is_about(analysis, incident.db) {
            return None;
        }
        let waited = analysis.ns(incident.who.log, incident.first, incident.until);
        let limit = if incident.end == IncidentEnd::GaveUp && !incident.checkpoint_busy && self.no_gave_up {
            "no-gave-up"
        } else if self.max_wait.map(nanoseconds).is_some_and(|limit| waited.is_some_and(|ns| ns > limit)) {
            "max-wait"
        } else if self.no_refusals {
            "no-refusals"
        } else {
            return None;
        };
        let statement = |who, hash| words::sql(analysis, who, hash).map_or_else(String::new, |sql| format!(" ({sql})"));
        let culprit = incident.blockers.first().map_or_else(
            || "nobody in the trace".to_owned(),
            |blocker| {
                let holding = &analysis.blocking_holds[blocker.hold as usize];
                let who = words::who(analysis, holding.who, blocker.tid);
                format!("{who}{}, {}", statement(holding.who, holding.sql), blocker.state.id())
            },
        );
        Some(format!(
            "{limit}: incident {number}: {}: {}{} wanted {}, {}; blocked by: {culprit}",
            incident.cause.id(),
            words::who(analysis, incident.who, incident.tid),
            statement(incident.who, incident.sql),
            incident.request,
            words::ended(incident)
        ))
    }
}

/// The places of missing records, from a second pass over the trace, and the logs that have grown in the meantime.
fn missing(analysis: &Analysis<'_>, again: &Trace) -> Result<(Vec<Loss>, HashSet<LogId>), Failure> {
    let logs = || analysis.trace.logs().iter().zip(again.logs());
    // A process that began in the meantime would renumber the logs.
    if analysis.trace.logs().len() != again.logs().len() || logs().any(|(before, now)| before.id != now.id) {
        return Err(Failure::Other("another process began to write to this trace while it was read; check it again".to_owned()));
    }
    let grown = (0..).map(LogId).zip(logs()).filter(|(_, (before, now))| before.head != now.head).map(|(log, _)| log).collect();
    Ok((losses::all(&analysis.summary.tallies, again.events()?), grown))
}

/// Whether a user means this path by `wanted`: the whole path, or its end.
fn is_at(wanted: &Path, path: &str) -> bool {
    let path = Path::new(path);
    path.ends_with(wanted) || std::path::absolute(wanted).is_ok_and(|wanted| path == wanted)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
