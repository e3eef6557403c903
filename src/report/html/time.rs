//! Instants as numbers on the page's axis: nanoseconds since 1970, or ticks where nobody knows how long a tick is.
#![forbid(unsafe_code)]

use crate::analysis::Instant;
use crate::analysis::order::instants::Times;
use crate::trace::{LogId, Trace};
use shim::format::record::Record;

/// What the axis counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    /// Nanoseconds, of every log whose clock tells; logs whose clock does not have no place.
    Nanoseconds,
    /// Ticks of the one clock all logs share: their order and proportions are right, their length is not known.
    Ticks,
}

/// Places instants on the axis.
#[derive(Clone, Copy)]
pub(super) struct Timebase<'t> {
    times: Times<'t>,
    /// What it counts.
    pub(super) unit: Unit,
}

impl<'t> Timebase<'t> {
    pub(super) fn new(trace: &'t Trace) -> Timebase<'t> {
        let known = trace.clocks().iter().all(|clock| clock.ns_per_tick().is_some());
        let unit = if known || trace.clocks().len() > 1 { Unit::Nanoseconds } else { Unit::Ticks };
        Timebase { times: Times::new(trace), unit }
    }

    /// Where this call began.
    #[inline]
    pub(super) fn start(&self, log: LogId, record: &Record) -> Option<u64> {
        self.at(log, self.times.start(log, record))
    }

    /// Where this instant of this log lies; `None` where nothing tells.
    #[inline]
    pub(super) fn at(&self, log: LogId, instant: Instant) -> Option<u64> {
        match self.unit {
            Unit::Nanoseconds => self.times.real_ns(log, instant),
            Unit::Ticks => Some(instant),
        }
    }
}
