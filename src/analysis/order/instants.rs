//! Instants that compare across the logs of a trace, and the nanoseconds between them.
//!
//! If all logs share one clock, an instant is that clock's raw ticks. Otherwise an instant is wall-clock nanoseconds by the anchors. That shows an order
//! but does not prove one. [`Times::comparable`] says between which logs a comparison is a proof.
#![forbid(unsafe_code)]

use crate::trace::{Clock, Event, LogId, Trace};
use shim::format::record::Record;

/// An instant. Its unit depends on the trace: [`crate::analysis::Analysis::ns`] and [`crate::analysis::Analysis::real_ns`] convert it.
pub type Instant = u64;

/// A record with the instants of its call.
#[derive(Clone, Copy)]
pub(crate) struct Call<'e> {
    pub event: &'e Event,
    /// When the call began, and when it had returned.
    pub start: Instant,
    pub end: Instant,
}

/// The conversion of ticks to instants, and of instants to nanoseconds.
#[derive(Clone, Copy)]
pub(crate) struct Times<'t> {
    trace: &'t Trace,
    /// The clock that all logs share, if there is only one.
    shared: Option<&'t Clock>,
}

impl<'t> Times<'t> {
    pub(crate) fn new(trace: &'t Trace) -> Times<'t> {
        let shared = match trace.clocks() {
            [only] => Some(only),
            _ => None,
        };
        Times { trace, shared }
    }

    #[inline]
    fn at(&self, log: LogId, ticks: u64) -> Instant {
        if self.shared.is_some() { ticks } else { self.trace.real_ns(log, ticks).unwrap_or(self.trace.log(log).first.real_ns) }
    }

    /// When the call began.
    #[inline]
    pub(crate) fn start(&self, log: LogId, record: &Record) -> Instant {
        self.at(log, record.start)
    }

    /// When the call had returned.
    #[inline]
    pub(crate) fn end(&self, log: LogId, record: &Record) -> Instant {
        self.at(log, record.end())
    }

    /// A record with its instants.
    #[inline]
    pub(crate) fn call<'e>(&self, event: &'e Event) -> Call<'e> {
        let Event { log, ref record, .. } = *event;
        Call { event, start: self.start(log, record), end: self.end(log, record) }
    }

    /// The latest instant at which the log's own anchors show that its process was alive.
    pub(crate) fn last_anchor(&self, log: LogId) -> Instant {
        let log_ = self.trace.log(log);
        self.at(log, log_.last.unwrap_or(log_.first).ticks)
    }

    /// Nanoseconds from one instant to a later one of the same log; `None` where the length of a tick is unknown.
    #[inline]
    pub(crate) fn ns(&self, log: LogId, from: Instant, to: Instant) -> Option<u64> {
        let span = to.saturating_sub(from);
        match self.shared {
            Some(clock) => clock.to_ns(span),
            None => self.trace.clock(log).ns_per_tick().map(|_| span),
        }
    }

    /// The wall-clock time of an instant, in nanoseconds since 1970; `None` where the length of a tick is unknown.
    pub(crate) fn real_ns(&self, log: LogId, at: Instant) -> Option<u64> {
        if self.shared.is_some() { self.trace.real_ns(log, at) } else { self.trace.clock(log).ns_per_tick().map(|_| at) }
    }

    /// The difference of two instants that are this many nanoseconds apart.
    pub(crate) fn distance(&self, log: LogId, ns: u64) -> u64 {
        if self.shared.is_some() { self.trace.clock(log).ticks_in(ns) } else { ns }
    }

    /// Whether comparing instants of these two logs proves which came first.
    pub(crate) fn comparable(&self, a: LogId, b: LogId) -> bool {
        if a == b {
            return true;
        }
        let clock = self.trace.clock(a);
        self.trace.log(a).clock == self.trace.log(b).clock
            && !clock.boot_unknown()
            && (self.shared.is_some() || clock.ns_per_tick().is_some())
    }

    /// The least difference of two instants whose order is certain. Conversion to nanoseconds rounds.
    pub(crate) fn slack(&self) -> u64 {
        if self.shared.is_some() { 0 } else { 2 }
    }
}
