//! The trace directory of running programs: [`LiveTrace::poll`] reads new records, and [`LiveTrace::snapshot`] returns the current state.
#![forbid(unsafe_code)]

use crate::analysis::current::{Current, Snapshot, When};
use crate::trace::follow::{Batch, DELAY, Follow, News, boot_id};
use crate::trace::{Error, LogId, Severity, Trace};
use shim::clock;
use shim::format::header::{Anchor, ClockKind};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the logs are polled, and how often if one fills fast.
const INTERVAL: Duration = Duration::from_millis(200);
const BUSY_INTERVAL: Duration = Duration::from_millis(20);

/// New records of a log that are read at one time. There are more only after this process was delayed. Then the current state matters, and not its
/// history.
const MOST: u64 = 1 << 18;

/// See the module.
pub struct LiveTrace {
    dir: PathBuf,
    follow: Follow,
    now: Current,
    boot: [u8; 16],
    caught_up: bool,
    /// For each log, the records that were missing at its first read, and those that have been missing since.
    lost_before: Vec<(u64, u64)>,
    /// Losses that are passed on after the records that were read before them.
    losses: VecDeque<(Instant, LogId, u64, u64)>,
    problem: Option<String>,
}

impl LiveTrace {
    /// The state of this directory, which need not exist yet.
    pub fn new(dir: &Path) -> LiveTrace {
        LiveTrace {
            dir: dir.to_owned(),
            follow: Follow::new(dir, false).at_most(MOST),
            now: Current::default(),
            boot: boot_id().unwrap_or_default(),
            caught_up: false,
            lost_before: Vec::new(),
            losses: VecDeque::new(),
            problem: None,
        }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the directory has existed.
    pub fn found(&self) -> bool {
        self.follow.found()
    }

    /// The trace, for the names in it.
    pub fn trace(&self) -> &Trace {
        self.follow.trace()
    }

    /// The latest problem of a log, or of a line of names.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// How long to wait before the next [`LiveTrace::poll`].
    pub fn interval(&self) -> Duration {
        if self.follow.hurries() { BUSY_INTERVAL } else { INTERVAL }
    }

    /// Reads new records.
    ///
    /// # Errors
    /// If the directory exists and cannot be read.
    pub fn poll(&mut self) -> Result<(), Error> {
        let here = self.here();
        if self.caught_up {
            let batch = self.follow.poll(Some(here))?;
            let when = When { trace: self.follow.trace(), here };
            batch.events.iter().for_each(|event| self.now.event(&when, event));
            self.take_news(&batch);
        } else {
            let now = &mut self.now;
            let batch = self.follow.catch_up(Some(here), &mut |trace, event| now.event(&When { trace, here }, event))?;
            self.take_news(&batch);
            self.now.count();
            self.caught_up = true;
        }
        self.lost();
        Ok(())
    }

    /// The current state.
    pub fn snapshot(&self) -> Snapshot {
        self.now.snapshot(&When { trace: self.follow.trace(), here: self.here() })
    }

    fn here(&self) -> (ClockKind, [u8; 16], Anchor) {
        (clock::kind(), self.boot, clock::anchor())
    }

    fn take_news(&mut self, batch: &Batch) {
        for news in batch.news.iter().chain(&batch.ended) {
            match news {
                News::Ended(log) => self.now.ended(*log),
                News::Problem(problem) if problem.severity != Severity::Notice => self.problem = Some(problem.to_string()),
                News::Began(_) | News::Named(..) | News::Problem(_) => {}
            }
        }
    }

    /// Passes losses on, after the delay in which earlier records are still held back.
    fn lost(&mut self) {
        let now = Instant::now();
        for index in 0..self.follow.trace().logs().len() {
            let log = LogId(index as u32);
            let lost = self.follow.unseen(log);
            if self.lost_before.len() == index {
                self.lost_before.push((lost, 0));
            }
            let (before, known) = &mut self.lost_before[index];
            let lost = lost.saturating_sub(*before);
            if lost > *known {
                *known = lost;
                self.losses.push_back((now, log, lost, self.follow.lost_below(log)));
            }
        }
        while let Some(&(_, log, lost, below)) = self.losses.front().filter(|loss| now.duration_since(loss.0) > DELAY * 2) {
            self.now.lost(log, lost, below);
            self.losses.pop_front();
        }
    }
}
