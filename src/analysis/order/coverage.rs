//! The part of a log that was read: the number of records, and the first and last record number and instant.
#![forbid(unsafe_code)]

use crate::analysis::order::instants::{Call, Instant};
use crate::trace::{Event, LogId, Tally, Trace};

/// The records of one log, as far as they were read.
#[derive(Clone, Copy)]
pub(crate) struct Coverage {
    count: u64,
    first: u64,
    last: u64,
    /// The end of the call that ended last.
    pub latest: Instant,
    /// The ticks at which the first call started and the last call ended.
    ticks: (u64, u64),
}

impl Coverage {
    pub const NOTHING: Coverage = Coverage { count: 0, first: u64::MAX, last: 0, latest: 0, ticks: (u64::MAX, 0) };

    #[inline]
    pub fn record(&mut self, call: &Call<'_>) {
        let Event { number, ref record, .. } = *call.event;
        self.count += 1;
        (self.first, self.last) = (self.first.min(number), self.last.max(number));
        self.latest = self.latest.max(call.end);
        self.ticks = (self.ticks.0.min(record.start), self.ticks.1.max(record.end()));
    }

    /// Two answers: whether more than one record between the first and the last is lost, and whether any lost record could have ended a hold.
    pub fn lost(&self, tally: &Tally) -> (bool, bool) {
        let inside = if self.count == 0 { 0 } else { (self.last - self.first + 1).saturating_sub(self.count) };
        let bad = tally.lost + tally.empty + tally.torn + tally.missing;
        (inside > 1, inside > 0 || bad > 0 || self.last + 1 < tally.head)
    }

    /// The first and the last instant of the log's records, in nanoseconds since 1970.
    pub fn span(&self, trace: &Trace, log: LogId) -> Option<(u64, u64)> {
        let real = |ticks| trace.real_ns(log, ticks).filter(|_| self.count > 0);
        real(self.ticks.0).zip(real(self.ticks.1))
    }
}
