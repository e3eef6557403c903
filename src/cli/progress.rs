//! How far an export is, for whoever waits at a terminal.
//!
//! In comes an [`Export`]; out goes one that counts what passes through, shows it on stderr a few times a second (only where that is a terminal, and only after
//! a second). Called by `locktrace export`.
#![forbid(unsafe_code)]

use crate::analysis::watch::{Span, Worked};
use crate::analysis::{Analysis, ConnId, Instant, Watch};
use crate::export::Export;
use crate::report::human::count;
use crate::trace::{Event, Trace};
use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::rc::Rc;
use std::time::{Duration, Instant as Now};

/// Records between two looks at the clock.
const BATCH: u64 = 1 << 16;

const PATIENCE: Duration = Duration::from_secs(1);
const BETWEEN: Duration = Duration::from_millis(250);

/// See the module.
pub(super) struct Progress<'t> {
    inner: Box<dyn Export + 't>,
    records: Rc<Cell<u64>>,
    holds: Rc<Cell<u64>>,
    /// Records there should be.
    total: u64,
    terminal: bool,
    began: Now,
    shown: Option<Now>,
}

impl<'t> Progress<'t> {
    pub(super) fn over(trace: &Trace, inner: Box<dyn Export + 't>) -> Progress<'t> {
        let total = trace.logs().iter().map(|log| log.head.min(log.capacity.max(1))).sum();
        Progress {
            inner,
            records: Rc::default(),
            holds: Rc::default(),
            total,
            terminal: io::stderr().is_terminal(),
            began: Now::now(),
            shown: None,
        }
    }

    /// Records and holds that passed through, also once it is gone.
    pub(super) fn counts(&self) -> (Rc<Cell<u64>>, Rc<Cell<u64>>) {
        (Rc::clone(&self.records), Rc::clone(&self.holds))
    }

    #[cold]
    fn show(&mut self) {
        let now = Now::now();
        if now - self.began < PATIENCE || self.shown.is_some_and(|shown| now - shown < BETWEEN) {
            return;
        }
        self.shown = Some(now);
        let done = self.records.get();
        let part = if self.total > 0 {
            format!(" of {} ({}%)", count(self.total), (done * 100 / self.total).min(100))
        } else {
            String::new()
        };
        let _ = write!(io::stderr(), "\r\x1b[K{} records{part}", count(done));
    }

    fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Watch for Progress<'_> {
    #[inline]
    fn event(&mut self, event: &Event, db: Option<u32>) {
        let records = self.records.get() + 1;
        self.records.set(records);
        if self.terminal && records.is_multiple_of(BATCH) {
            self.show();
        }
        self.inner.event(event, db);
    }

    fn hold(&mut self, span: &Span) {
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
    fn finish(mut self: Box<Self>, analysis: &Analysis<'_>) -> io::Result<Vec<String>> {
        self.clear();
        self.inner.finish(analysis)
    }
}
