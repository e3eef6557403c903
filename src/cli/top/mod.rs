//! `locktrace top`: who holds what and who waits for whom in running programs.
//!
//! It shows a screen that is redrawn a few times a second, or a block of plain text each second if there is no terminal. [`view`] reads the trace
//! directory and puts its state into words, [`screen`] lays that out, and [`terminal`] reads the keyboard.
#![forbid(unsafe_code)]

pub mod screen;
pub mod terminal;
pub mod view;

use super::io::{Failure, output, wait_while_read, width};
use shim::recorder::config::Config;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use view::live::LiveTrace;
use view::plain;

/// Show who holds which lock now and who waits for whom, in running programs.
///
/// Reads the trace directory of running programs, and waits for a directory that does not exist yet. `top` only reads the files of the programs.
/// Its picture is 0.1 to 0.4 s old. Press ? for the keys.
///
/// If the ring has overwritten a connection's latest record, its locks are unknown. If a lock was taken before the oldest record, its age is a lower
/// bound (≥). What began less than 0.4 s ago may be over by now. Processes of other containers are shown from now on, without earlier locks. If
/// programs write faster than `top` reads, it skips to the latest records and shows how many it skipped. Connections whose state is no longer known
/// are marked `?`.
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  locktrace top                          the trace in LOCKTRACE_DIR or ./locktrace-trace
  locktrace top trace
  locktrace top trace --once             the current state, as text
  locktrace top trace --interval 5s | tee log.txt
  locktrace run --top -- ./serve         below the program's own output

`top` writes text instead of a screen if standard output is not a terminal, if TERM is dumb,
and with --plain or --once.

Exit codes:
  0  Quit (q, Ctrl-C, SIGTERM), the reader of the output is gone, or --for is reached.
  2  Wrong usage, or the directory cannot be read.")]
pub(super) struct Top {
    /// A trace directory; without it: LOCKTRACE_DIR, or ./locktrace-trace
    trace: Option<PathBuf>,
    /// Write text even on a terminal
    #[arg(long)]
    plain: bool,
    /// Write the current state as text, then exit
    #[arg(long)]
    once: bool,
    /// How often to write text
    #[arg(long, value_name = "TIME", value_parser = interval, default_value = "1s")]
    interval: Duration,
    /// End after this time, such as 30s or 5m
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time < Duration::from_millis(10) { Err("expected 10ms or more".to_owned()) } else { Ok(time) }
}

/// When `top` ends.
struct Until {
    stop: Arc<AtomicBool>,
    time: Option<Instant>,
}

impl Until {
    fn is_reached(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.time.is_some_and(|time| Instant::now() >= time)
    }

    /// This wait, limited to the remaining time.
    fn at_most(&self, wait: Duration) -> Duration {
        self.time.map_or(wait, |time| wait.min(time.saturating_duration_since(Instant::now())))
    }
}

impl Top {
    pub(super) fn run(self) -> Result<(), Failure> {
        let dir = match self.trace {
            Some(dir) => dir,
            None => Config::from_env().map_err(|error| Failure::Other(error.to_string()))?.dir,
        };
        if dir.metadata().is_ok_and(|meta| !meta.is_dir()) {
            return Err(Failure::Other(format!(
                "{}: not a directory: top shows running programs, and needs their trace directory. `locktrace report` reads files",
                dir.display()
            )));
        }
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // A second signal ends this process at once.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))?;
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
        }
        let until = Until { stop, time: self.time.and_then(|time| Instant::now().checked_add(time)) };
        let mut live = LiveTrace::new(&dir);
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == OsStr::new("dumb"));
        if self.plain || self.once || dumb || !io::stdout().is_terminal() {
            return blocks(&mut live, self.once, self.interval, &until);
        }
        terminal::show(&mut live, &until)
    }
}

/// Writes a block of text in each interval.
fn blocks(live: &mut LiveTrace, once: bool, interval: Duration, until: &Until) -> Result<(), Failure> {
    let mut out = output();
    let mut next = Instant::now();
    let mut first = true;
    loop {
        live.poll()?;
        if once && !live.found() {
            return Err(Failure::Other(format!(
                "{}: there is nothing here. Give the trace directory of a running program (its LOCKTRACE_DIR, ./locktrace-trace by default)",
                live.dir().display()
            )));
        }
        if Instant::now() >= next {
            if !std::mem::replace(&mut first, false) {
                writeln!(out)?;
            }
            let time = humantime::format_rfc3339_seconds(SystemTime::now());
            let waiting = if live.found() { "" } else { " (not there yet)" };
            let title = format!("{time} {}{waiting}", live.dir().display());
            plain::write(&live.snapshot(), live.trace(), &title, width(), &mut out)?;
            if let Some(problem) = live.problem() {
                writeln!(out, "problem: {}", crate::trace::text::Clean(problem))?;
            }
            out.flush()?;
            if once {
                return Ok(());
            }
            // If writing takes longer than the interval, blocks are skipped.
            next = (next + interval).max(Instant::now());
        }
        if until.is_reached() {
            return Ok(());
        }
        let wait = live.interval().min(next.saturating_duration_since(Instant::now()));
        if !wait_while_read(until.at_most(wait)) {
            // Nobody reads the output any more.
            return Ok(());
        }
    }
}
