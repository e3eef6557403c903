//! The progress of reading a trace, shown on a terminal.
//!
//! [`ProgressMeter`] counts records. After the first second it shows their number on stderr a few times a second, if that is a terminal. [`Progress`] wraps an
//! [`Export`] and counts for it.
#![forbid(unsafe_code)]

use crate::analysis::observer::{ObservedHold, Worked};
use crate::analysis::{Analysis, ConnId, Instant, Observer};
use crate::export::Export;
use crate::report::human::count;
use crate::trace::{Event, Trace, total};
use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::rc::Rc;
use std::time::{Duration, Instant as Now};

/// Records between two looks at the clock.
const BATCH: u64 = 1 << 16;

const PATIENCE: Duration = Duration::from_secs(1);
const BETWEEN: Duration = Duration::from_millis(250);

/// Counts records and shows the number.
pub(super) struct ProgressMeter {
    records: Rc<Cell<u64>>,
    /// The expected number of records.
    total: u64,
    terminal: bool,
    began: Now,
    shown: Cell<Option<Now>>,
}

impl ProgressMeter {
    /// A meter for one pass over this trace, or for several in a row.
    pub(super) fn over(trace: &Trace) -> ProgressMeter {
        let total = total(trace.logs().iter().map(|log| log.head.min(log.capacity.max(1))));
        let terminal = io::stderr().is_terminal();
        ProgressMeter { records: Rc::default(), total, terminal, began: Now::now(), shown: Cell::new(None) }
    }

    /// Counts one more record.
    #[inline]
    pub(super) fn step(&self) {
        let records = self.records.get() + 1;
        self.records.set(records);
        if self.terminal && records.is_multiple_of(BATCH) {
            self.show();
        }
    }

    /// Starts again from 0, for another pass.
    pub(super) fn again(&self) {
        self.records.set(0);
    }

    #[cold]
    fn show(&self) {
        let now = Now::now();
        if now - self.began < PATIENCE || self.shown.get().is_some_and(|shown| now - shown < BETWEEN) {
            return;
        }
        self.shown.set(Some(now));
        let done = self.records.get();
        let part = if self.total > 0 {
            format!(" of {} ({}%)", count(self.total), (done * 100 / self.total).min(100))
        } else {
            String::new()
        };
        let _ = write!(io::stderr(), "\r\x1b[K{} records{part}", count(done));
    }

    fn clear(&self) {
        if self.shown.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for ProgressMeter {
    fn drop(&mut self) {
        self.clear();
    }
}

/// See the module.
pub(super) struct Progress<'t> {
    inner: Box<dyn Export + 't>,
    meter: ProgressMeter,
    holds: Rc<Cell<u64>>,
}

impl<'t> Progress<'t> {
    pub(super) fn over(trace: &Trace, inner: Box<dyn Export + 't>) -> Progress<'t> {
        Progress { inner, meter: ProgressMeter::over(trace), holds: Rc::default() }
    }

    /// The counts of records and holds. They stay readable after this is dropped.
    pub(super) fn counts(&self) -> (Rc<Cell<u64>>, Rc<Cell<u64>>) {
        (Rc::clone(&self.meter.records), Rc::clone(&self.holds))
    }
}

impl Observer for Progress<'_> {
    #[inline]
    fn event(&mut self, event: &Event, db: Option<u32>) {
        self.meter.step();
        self.inner.event(event, db);
    }

    fn hold(&mut self, span: &ObservedHold) {
        self.holds.set(self.holds.get() + 1);
        self.inner.hold(span);
    }

    fn work(&mut self, work: &Worked) {
        self.inner.work(work);
    }

    fn wal(&mut self, who: ConnId, db: u32, at: Instant, bytes: u64) {
        self.inner.wal(who, db, at, bytes);
    }

    fn enough(&self) -> bool {
        self.inner.enough()
    }
}

impl Export for Progress<'_> {
    fn finish(self: Box<Self>, analysis: &Analysis<'_>) -> io::Result<Vec<String>> {
        self.meter.clear();
        self.inner.finish(analysis)
    }
}
