//! The rows of a timeline: where a slice is drawn, when it began and ended, and what is left out.
#![forbid(unsafe_code)]

use super::format::{RowId, RowKind, TimelineFormat};
use super::lanes::Lanes;
use crate::analysis::order::instants::Times;
use crate::analysis::{ConnId, Instant};
use crate::export::labels;
use crate::report::human;
use crate::trace::{LogId, Trace};
use std::collections::HashMap;
use std::io;

/// The rows of an open connection.
#[derive(Default)]
struct ConnectionRows {
    lanes: [Lanes; RowKind::ALL.len()],
    /// How many lanes of each kind the format has been given.
    declared: [u8; RowKind::ALL.len()],
}

/// How many slices were left out, by reason.
#[derive(Default)]
pub(super) struct LeftOut {
    /// The length of a tick is unknown.
    pub untimed: u64,
    /// Shorter than the shortest hold to draw.
    pub short: u64,
    /// It would cross another slice on every row.
    pub crossing: u64,
}

impl LeftOut {
    /// A sentence for each reason.
    pub(super) fn sentences(&self, shortest: u64) -> Vec<String> {
        let reasons = [
            (
                self.untimed,
                "holds, stretches of work and waits: their times are not known (a log without a usable pair of clock anchors)"
                    .to_owned(),
            ),
            (self.short, format!("holds shorter than {}", human::duration(shortest))),
            (self.crossing, "slices whose times contradict those of too many others".to_owned()),
        ];
        reasons
            .into_iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| format!("{} {what}", human::count(number)))
            .collect()
    }
}

/// See the module.
pub(super) struct Canvas<'t, F> {
    pub trace: &'t Trace,
    pub times: Times<'t>,
    pub format: F,
    pub paths: labels::DatabasePaths,
    pub left_out: LeftOut,
    rows: HashMap<ConnId, ConnectionRows>,
}

impl<'t, F: TimelineFormat> Canvas<'t, F> {
    /// An empty canvas, on which every process is declared.
    pub(super) fn new(trace: &'t Trace, mut format: F) -> io::Result<Canvas<'t, F>> {
        for log in 0..trace.logs().len() {
            format.process(trace, LogId(log as u32))?;
        }
        let times = Times::new(trace);
        Ok(Canvas {
            trace,
            times,
            format,
            paths: labels::DatabasePaths::default(),
            left_out: LeftOut::default(),
            rows: HashMap::new(),
        })
    }

    /// Forgets the rows of a connection that has closed.
    pub(super) fn forget(&mut self, who: &ConnId) {
        self.rows.remove(who);
    }

    /// Two instants in nanoseconds since 1970.
    pub(super) fn real(&mut self, log: LogId, from: Instant, to: Instant) -> Option<(u64, u64)> {
        let (Some(from), Some(to)) = (self.times.real_ns(log, from), self.times.real_ns(log, to)) else {
            self.left_out.untimed += 1;
            return None;
        };
        Some((from, to.max(from)))
    }

    /// The row to draw on, which the format has been given; `None` if the slice crosses others on every row.
    pub(super) fn place(
        &mut self,
        who: ConnId,
        db: Option<u32>,
        kind: RowKind,
        (from, to): (u64, u64),
    ) -> io::Result<Option<RowId>> {
        let rows = self.rows.entry(who).or_default();
        let of_kind = kind as usize;
        let Some(lane) = rows.lanes[of_kind].place(from, to) else {
            self.left_out.crossing += 1;
            return Ok(None);
        };
        let life = RowKind::Life as usize;
        let database = db.and_then(|db| self.paths.get(db));
        if rows.declared[life] == 0 {
            rows.declared[life] = 1;
            self.format.row(self.trace, RowId { who, kind: RowKind::Life, lane: 0 }, database)?;
        }
        let row = RowId { who, kind, lane };
        while rows.declared[of_kind] <= lane {
            self.format.row(self.trace, RowId { lane: rows.declared[of_kind], ..row }, database)?;
            rows.declared[of_kind] += 1;
        }
        Ok(Some(row))
    }
}
