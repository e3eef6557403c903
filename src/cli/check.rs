//! `locktrace check`: limits for a test run, as an exit code.
#![forbid(unsafe_code)]

use super::{Failure, open, output};
use crate::analysis::{Analysis, Cause, Ended, Incident, Options};
use crate::report::human::{cut, duration};
use crate::report::{losses, words};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Hold a trace against limits: exit code 0 within them, 1 beyond, 2 where it cannot be told.
///
/// Each breach is one line, with its culprit. Without any limit, --no-gave-up is meant. It cannot be told where records were lost and nothing
/// is seen to be beyond a limit, or where a length is not known.
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  locktrace run -o trace -- pytest && locktrace check trace
  locktrace check trace --max-hold 100ms --max-wait 1s --no-hazards
  locktrace check trace --no-refusals --allow hold-exceeds-timeout --allow wal-recovery")]
pub(super) struct Check {
    /// A trace directory, a file of JSON lines, or - for JSON lines on standard input
    ///
    /// Without it: the directory in LOCKTRACE_DIR, or ./locktrace-trace.
    trace: Option<PathBuf>,
    /// No lock may be held for longer (100ms, 1s …); the lock that every connection in WAL mode keeps is none
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    max_hold: Option<Duration>,
    /// No connection may wait for a lock for longer
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    max_wait: Option<Duration>,
    /// No connection may be refused a lock, but where no application sees it
    #[arg(long)]
    no_refusals: bool,
    /// The application may not see an error for a refused lock
    #[arg(long)]
    no_gave_up: bool,
    /// Incidents of this cause are no breach; several times for several causes
    #[arg(long, value_name = "CAUSE", value_parser = cause)]
    allow: Vec<Cause>,
    /// There may be no hazard
    #[arg(long)]
    no_hazards: bool,
}

fn cause(id: &str) -> Result<Cause, String> {
    let known = Cause::ALL.iter().copied().find(|cause| cause.id() == id);
    let all = || Cause::ALL.iter().map(|cause| cause.id()).collect::<Vec<_>>().join(", ");
    known.ok_or_else(|| format!("there is no such cause; those there are: {}", all()))
}

/// Columns of a line.
const LONGEST_LINE: usize = 400;

/// Holds that are listed of each database.
const LISTED: usize = 100;

impl Check {
    pub(super) fn run(mut self) -> Result<ExitCode, Failure> {
        let limited = self.max_hold.is_some() || self.max_wait.is_some() || self.no_refusals || self.no_hazards;
        self.no_gave_up |= !limited;
        let trace = open(self.trace.as_deref())?;
        let analysis = Analysis::of(&trace, Options { longest: LISTED })?;
        let mut breaches = self.holds(&analysis);
        breaches.extend((1..).zip(&analysis.incidents).filter_map(|(number, item)| self.incident(&analysis, number, item)));
        if self.no_hazards {
            let path = |db: u32| analysis.databases.get(db as usize).and_then(|db| db.paths.first()).cloned().unwrap_or_default();
            breaches
                .extend(analysis.hazards.iter().map(|item| format!("hazard {}: {}: {}", item.kind.id(), path(item.db), item.what)));
        }
        let unknown = self.unknown(&analysis);
        let code = match (breaches.len(), unknown.len()) {
            (0, 0) => 0,
            (0, _) => 2,
            _ => 1,
        };
        let verdict = match code {
            0 => "within all limits".to_owned(),
            1 => format!("{} beyond a limit", breaches.len()),
            _ => "nothing is seen beyond a limit, but not everything is seen".to_owned(),
        };
        let unknown = unknown.iter().map(|what| format!("cannot be told: {what}"));
        let lines = breaches.into_iter().chain(unknown).map(|line| cut(&line, LONGEST_LINE)).chain([verdict]);
        let text: String = lines.map(|line| line + "\n").collect();
        let mut out = output();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // Whoever read it had enough of it; the answer is the exit code.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
            _ => {}
        }
        Ok(ExitCode::from(code))
    }

    fn holds(&self, analysis: &Analysis<'_>) -> Vec<String> {
        let Some(limit) = self.max_hold.map(nanoseconds) else { return Vec::new() };
        let mut out = Vec::new();
        for db in &analysis.databases {
            for hold in db.longest.iter().filter(|hold| hold.ns > limit) {
                let sql = words::sql(analysis, hold.who, hold.sql).map_or_else(String::new, |sql| format!(": {sql}"));
                let who = words::who(analysis, hold.who, hold.tid);
                let path = db.paths.first().map_or("", String::as_str);
                out.push(format!("max-hold: {path}: {who} held {} for {}{sql}", hold.lock, duration(hold.ns)));
            }
        }
        out
    }

    /// Why this incident is a breach.
    fn incident(&self, analysis: &Analysis<'_>, number: usize, incident: &Incident) -> Option<String> {
        if self.allow.contains(&incident.cause) {
            return None;
        }
        let waited = analysis.ns(incident.who.log, incident.first, incident.until);
        let limit = if incident.ended == Ended::GaveUp && self.no_gave_up {
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
                let holding = &analysis.holdings[blocker.holding as usize];
                let who = words::who(analysis, holding.who, blocker.tid);
                format!("{who}{}, {}", statement(holding.who, holding.sql), blocker.state.id())
            },
        );
        Some(format!(
            "{limit}: incident {number}: {}: {}{} wanted {}, {}; in the way: {culprit}",
            incident.cause.id(),
            words::who(analysis, incident.who, incident.tid),
            statement(incident.who, incident.sql),
            incident.request,
            words::ended(incident)
        ))
    }

    /// What keeps a clean result from being one.
    fn unknown(&self, analysis: &Analysis<'_>) -> Vec<String> {
        let logs = analysis.trace.logs().iter().zip(&analysis.summary.tallies);
        let lossy = logs.filter(|(_, tally)| tally.unread() > 0);
        let mut out: Vec<String> = lossy.map(|(log, tally)| format!("log {}: {}", log.id, losses(tally))).collect();
        if analysis.records == 0 {
            out.push("the trace has no records".to_owned());
        }
        let timed = self.max_hold.is_some() || self.max_wait.is_some();
        if timed && analysis.trace.clocks().iter().any(|clock| clock.ns_per_tick().is_none()) && analysis.records > 0 {
            out.push("a log has no usable pair of clock anchors: how long things took is not known".to_owned());
        }
        let open = analysis
            .incidents
            .iter()
            .filter(|incident| incident.ended == Ended::Open && !self.allow.contains(&incident.cause))
            .count();
        if self.no_gave_up && open > 0 {
            out.push(format!("the trace ends while {open} connections wait for a lock"));
        }
        out
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
