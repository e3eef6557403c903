//! The page's time axis: nanoseconds since 1970, or ticks if the length of a tick is unknown.
#![forbid(unsafe_code)]

use crate::analysis::Instant;
use crate::analysis::order::instants::Times;
use crate::trace::{LogId, Trace};
use shim::format::record::Record;

/// The unit of the axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    /// Nanoseconds since 1970. A log whose ticks have no known length has no place on the axis.
    Nanoseconds,
    /// Ticks of the one clock that all logs share. Their order and proportions are right, their length is unknown.
    Ticks,
}

/// The conversion of instants to places on the axis.
#[derive(Clone, Copy)]
pub(super) struct Timebase<'t> {
    times: Times<'t>,
    /// The unit of the axis.
    pub(super) unit: Unit,
}

impl<'t> Timebase<'t> {
    pub(super) fn new(trace: &'t Trace) -> Timebase<'t> {
        let known = trace.clocks().iter().all(|clock| clock.ns_per_tick().is_some());
        let unit = if known || trace.clocks().len() > 1 { Unit::Nanoseconds } else { Unit::Ticks };
        Timebase { times: Times::new(trace), unit }
    }

    /// The place of the beginning of this call.
    #[inline]
    pub(super) fn start(&self, log: LogId, record: &Record) -> Option<u64> {
        self.at(log, self.times.start(log, record))
    }

    /// The place of this log's instant; `None` if it is unknown.
    #[inline]
    pub(super) fn at(&self, log: LogId, instant: Instant) -> Option<u64> {
        match self.unit {
            Unit::Nanoseconds => self.times.real_ns(log, instant),
            Unit::Ticks => Some(instant),
        }
    }
}
