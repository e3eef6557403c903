//! The logs of a trace during the pass: which records of each were read, and which are missing.
#![forbid(unsafe_code)]

use crate::analysis::framework::has_default_handler;
use crate::analysis::order::coverage::Coverage;
use crate::analysis::order::gaps::Gaps;
use crate::analysis::order::instants::{Call, Instant, Times};
use crate::trace::{LogId, Summary, Trace};

/// What the pass knows about the logs. Each list is by log.
pub(super) struct Logs {
    pub coverage: Vec<Coverage>,
    pub gaps: Vec<Gaps>,
    /// The end of each log's last record. Empty until it is needed.
    ends: Vec<Instant>,
    /// Whether its process can have no busy handler but SQLite's; `None` until it is needed.
    default_handlers: Vec<Option<bool>>,
}

impl Logs {
    pub(super) fn new(count: usize) -> Logs {
        Logs {
            coverage: vec![Coverage::NOTHING; count],
            gaps: vec![Gaps::default(); count],
            ends: Vec::new(),
            default_handlers: vec![None; count],
        }
    }

    /// Whether the process that wrote a log can have no busy handler but SQLite's.
    pub(super) fn default_handler(&mut self, trace: &Trace, log: LogId) -> bool {
        *self.default_handlers[log.0 as usize].get_or_insert_with(|| has_default_handler(&trace.log(log).names))
    }

    /// Notes that a record was read.
    #[inline]
    pub(super) fn record(&mut self, call: &Call<'_>) {
        let log = call.event.log.0 as usize;
        self.gaps[log].saw(call.event.number);
        self.coverage[log].record(call);
    }

    /// The latest sign of life of each log in the records read so far.
    pub(super) fn alive<'a>(&'a self, times: &'a Times<'_>) -> impl Iterator<Item = Instant> + 'a {
        (0..).map(LogId).zip(&self.coverage).map(|(log, seen)| seen.latest.max(times.last_anchor(log)))
    }

    /// The latest sign of life of each log, including its last record, read or not.
    pub(super) fn alive_at_end(&mut self, trace: &Trace, times: &Times<'_>) -> Vec<Instant> {
        if self.ends.is_empty() {
            let end = |log| trace.last_record(log).map_or(0, |record| times.end(log, &record));
            self.ends = (0..trace.logs().len() as u32).map(|log| end(LogId(log))).collect();
        }
        self.alive(times).zip(&self.ends).map(|(seen, &end)| seen.max(end)).collect()
    }

    /// For each log, whether more than one record between the first and the last is lost, and whether any lost record could have ended a hold.
    pub(super) fn lost(&self, summary: &Summary) -> Vec<(bool, bool)> {
        self.coverage.iter().zip(&summary.tallies).map(|(seen, tally)| seen.lost(tally)).collect()
    }

    /// The wall-clock time of the first and the last instant, in nanoseconds since 1970.
    pub(super) fn span(&self, trace: &Trace) -> Option<(u64, u64)> {
        let mut span: Option<(u64, u64)> = None;
        for (from, to) in (0..).map(LogId).zip(&self.coverage).filter_map(|(log, seen)| seen.span(trace, log)) {
            span = Some(span.map_or((from, to), |all| (all.0.min(from), all.1.max(to))));
        }
        span
    }

    /// From when on no log has lost records that were overwritten, in nanoseconds since 1970; `None` if none were, or if that is unknown.
    pub(super) fn whole_since(&self, trace: &Trace, summary: &Summary) -> Option<u64> {
        let logs = (0..).map(LogId).zip(self.coverage.iter().zip(&summary.tallies));
        logs.filter(|(_, (_, tally))| tally.overwritten > 0).filter_map(|(log, (seen, _))| Some(seen.span(trace, log)?.0)).max()
    }

    /// Notes that every record was read.
    pub(super) fn finish(&mut self, trace: &Trace) {
        for (gaps, log) in self.gaps.iter_mut().zip(trace.logs()) {
            gaps.finish(log.head);
        }
    }
}
