//! `locktrace follow`: every record as it is written, as lines of text or as JSON lines.
//!
//! [`crate::trace::follow`] reads the logs. The directory need not exist yet. The verb ends at an interrupt, when the reader of its output is gone, or
//! after the given time.
#![forbid(unsafe_code)]

use super::io::{Failure, output, plain, say, wait_while_read, width};
use crate::report::losses;
use crate::report::record::Lines;
use crate::trace::follow::{Batch, Follow, News, boot_id};
use crate::trace::{LogId, Problem, Severity, Tally, jsonl};
use shim::clock;
use shim::recorder::config::Config;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the logs are polled.
const INTERVAL: Duration = Duration::from_millis(100);

/// Show records as they are written, from now on.
///
/// Follows every process that writes to the directory, including processes that start later, and waits for a directory that does not exist
/// yet. The records of all processes are merged by time. A line appears 0.1 to 0.3 s after its call has returned and looks as in `locktrace
/// cat`. Beginnings and ends of processes, and losses, go to standard error (with --json they are lines, too). `follow` only reads the files of
/// the programs.
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  locktrace follow                              the trace in LOCKTRACE_DIR or ./locktrace-trace
  locktrace follow trace | grep BUSY            every refused lock, as it happens
  locktrace follow trace --from-start --until-end > all.txt
  locktrace follow trace --json --for 1m | jq -r 'select(.result == \"BUSY\") | .text'

The JSON lines are those of `locktrace cat --json`, but appear when their content becomes known: `log` when a process begins to record, `process`, `file`, `thread`, `sql` and so on between the records, `end`
when a process has ended (`skipped`: its records from before).

Exit codes:
  0  Interrupted (Ctrl-C, SIGTERM), nobody reads any more, --for or --until-end is reached.
  2  Wrong usage, or the directory cannot be read.")]
pub(super) struct FollowVerb {
    /// A trace directory; without it: LOCKTRACE_DIR, or ./locktrace-trace
    trace: Option<PathBuf>,
    /// Write JSON lines: one object for each log, name and record
    #[arg(long)]
    json: bool,
    /// Begin with the oldest records instead of now
    #[arg(long)]
    from_start: bool,
    /// End when every process that recorded has ended
    #[arg(long)]
    until_end: bool,
    /// End after this time, such as 30s or 5m
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
}

impl FollowVerb {
    pub(super) fn run(self) -> Result<(), Failure> {
        let dir = match self.trace {
            Some(dir) => dir,
            None => Config::from_env().map_err(|error| Failure::Other(error.to_string()))?.dir,
        };
        if dir.metadata().is_ok_and(|meta| !meta.is_dir()) {
            return Err(Failure::Other(format!("{}: not a directory: only a trace directory can be followed", dir.display())));
        }
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // A second signal ends this process at once.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))?;
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
        }
        let until = self.time.and_then(|time| Instant::now().checked_add(time));
        let mut follow = Follow::new(&dir, self.from_start);
        let (mut shown, mut out): (Box<dyn Show>, Box<dyn Write>) = if self.json {
            (Box::new(Json), Box::new(plain()))
        } else {
            (Box::new(People { lines: Lines::new(width()) }), Box::new(output()))
        };
        let boot = boot_id();
        let mut waiting_reported = false;
        loop {
            let batch = follow.poll(boot.map(|boot| (clock::kind(), boot, clock::anchor())))?;
            shown.show(&follow, &batch, &mut out)?;
            out.flush()?;
            if !follow.found() && !waiting_reported {
                waiting_reported = true;
                note(&format!("waiting for {}", dir.display()));
            }
            let over = until.is_some_and(|until| Instant::now() >= until) || (self.until_end && follow.all_ended());
            if over || stop.load(Ordering::Relaxed) {
                break;
            }
            let wait = if follow.hurries() { Duration::from_millis(2) } else { INTERVAL };
            let wait = until.map_or(wait, |until| wait.min(until.saturating_duration_since(Instant::now())));
            if !wait_while_read(wait) {
                // Nobody reads the output any more.
                return Ok(());
            }
        }
        let batch = follow.finish();
        shown.show(&follow, &batch, &mut out)?;
        if follow.late() > 0 {
            let what = format!("{} records came too late to be sorted into their place", follow.late());
            shown.note(&what, &mut out)?;
        }
        out.flush()?;
        Ok(())
    }
}

/// Writes one line of ours to standard error, without the control characters of a traced program.
fn note(text: &str) {
    say(&crate::trace::text::Clean(text).to_string());
}

/// Shows the result of one poll.
trait Show {
    fn show(&mut self, follow: &Follow, batch: &Batch, out: &mut dyn Write) -> io::Result<()>;
    fn note(&mut self, what: &str, out: &mut dyn Write) -> io::Result<()>;
}

/// Lines of text. Everything but records goes to standard error.
struct People {
    lines: Lines,
}

impl People {
    fn news(follow: &Follow, news: &News) {
        let who = |id: LogId| {
            let log = follow.trace().log(id);
            let argv = log.names.argv().map(|argv| argv.join(" ")).unwrap_or_default();
            format!(
                "pid {}{}",
                log.pid,
                if argv.is_empty() { String::new() } else { format!(" ({})", crate::report::human::cut(&argv, 60)) }
            )
        };
        match news {
            News::Began(id) => note(&format!("{} records", who(*id))),
            News::Named(..) => {}
            News::Ended(id) => {
                let (tally, skipped) = follow.tally(*id);
                let lost = if tally.unread() > 0 {
                    format!(": {}", losses(&Tally { head: tally.head - skipped.min(tally.head), ..tally }))
                } else {
                    String::new()
                };
                note(&format!("{} is no longer followed{lost}", who(*id)));
            }
            News::Problem(problem) if problem.severity == Severity::Notice => note(&format!("notice: {problem}")),
            News::Problem(problem) => note(&format!("problem: {problem}")),
        }
    }
}

impl Show for People {
    fn show(&mut self, follow: &Follow, batch: &Batch, mut out: &mut dyn Write) -> io::Result<()> {
        batch.news.iter().for_each(|news| People::news(follow, news));
        if !batch.news.is_empty() {
            self.lines.names_of(follow.trace());
        }
        for event in &batch.events {
            self.lines.write(follow.trace(), event, &mut out)?;
        }
        if !batch.ended.is_empty() {
            out.flush()?;
        }
        batch.ended.iter().for_each(|news| People::news(follow, news));
        Ok(())
    }

    fn note(&mut self, what: &str, _: &mut dyn Write) -> io::Result<()> {
        note(what);
        Ok(())
    }
}

/// JSON lines, with everything in its place among the records.
struct Json;

impl Json {
    fn news(follow: &Follow, news: &News, mut out: &mut dyn Write) -> io::Result<()> {
        match news {
            News::Began(id) => jsonl::write_log(follow.trace().log(*id), &mut out),
            News::Named(id, line) => jsonl::write_name(follow.trace().log(*id), line, &mut out),
            News::Ended(id) => {
                let (tally, skipped) = follow.tally(*id);
                jsonl::write_end(follow.trace().log(*id), &tally, skipped, &mut out)
            }
            News::Problem(problem) => jsonl::write_problem(problem, &mut out),
        }
    }
}

impl Show for Json {
    fn show(&mut self, follow: &Follow, batch: &Batch, mut out: &mut dyn Write) -> io::Result<()> {
        for news in &batch.news {
            Json::news(follow, news, out)?;
        }
        for event in &batch.events {
            jsonl::write_record(follow.trace(), event, &mut out)?;
        }
        for news in &batch.ended {
            Json::news(follow, news, out)?;
        }
        Ok(())
    }

    fn note(&mut self, what: &str, mut out: &mut dyn Write) -> io::Result<()> {
        jsonl::write_problem(&Problem::general(what), &mut out)
    }
}
