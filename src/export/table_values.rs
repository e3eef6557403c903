//! The values of table columns: wall-clock times, lengths, names of calls. A value that is unknown is `None` or empty.
#![forbid(unsafe_code)]

use crate::analysis::observer::ObservedHold;
use crate::analysis::order::instants::Times;
use crate::analysis::{HoldEnd, Instant, LockId, Request};
use crate::trace::{Event, LogId, Trace};
use shim::event::{Flags, KnownKind as Known, Slot, slot_mask};
use shim::format::record::Record;
use std::fmt::Display;
use std::time::{Duration, UNIX_EPOCH};

/// Converts instants of a trace to the numbers in tables.
#[derive(Clone, Copy)]
pub(super) struct TableValues<'t> {
    pub trace: &'t Trace,
    times: Times<'t>,
}

impl<'t> TableValues<'t> {
    pub(super) fn new(trace: &'t Trace) -> TableValues<'t> {
        TableValues { trace, times: Times::new(trace) }
    }

    /// An instant in nanoseconds since 1970; `None` if it is unknown, or later than the year 2262.
    pub(super) fn at(&self, log: LogId, instant: Instant) -> Option<i64> {
        integer(self.times.real_ns(log, instant)?)
    }

    /// When a call began, in nanoseconds since 1970.
    pub(super) fn began(&self, event: &Event) -> Option<i64> {
        self.at(event.log, self.times.start(event.log, &event.record))
    }

    /// How long a call took, in nanoseconds.
    pub(super) fn took(&self, event: &Event) -> Option<i64> {
        if event.record.flags.has(Flags::ONE_CLOCK) {
            return None;
        }
        integer(self.trace.clock(event.log).to_ns(event.record.duration)?)
    }

    /// How long a lock was held, as the report counts it: from the end of the call that took it to the start of the call that released it. An open hold
    /// ends at its last known instant. `None` if its beginning or end was not recorded.
    pub(super) fn held(&self, span: &ObservedHold) -> Option<i64> {
        let from = span.from.filter(|_| !matches!(span.end, HoldEnd::Unseen(..)))?;
        integer(self.times.ns(span.who.log, from, span.until)?)
    }
}

/// This wall-clock time, in nanoseconds since 1970, as RFC 3339.
pub(super) fn rfc3339(ns: u64) -> impl Display {
    humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(ns))
}

/// A number of a trace as a signed integer; `None` beyond 63 bits.
pub(super) fn integer(number: u64) -> Option<i64> {
    i64::try_from(number).ok()
}

/// How a hold ended, in a word.
pub(super) fn ended(end: HoldEnd) -> &'static str {
    match end {
        HoldEnd::Released(..) => "released",
        HoldEnd::Unseen(..) => "unseen",
        HoldEnd::Open => "open",
    }
}

/// The mode of a wal-index lock; empty for a lock on the database file.
pub(super) fn mode(lock: LockId) -> &'static str {
    lock.mode().unwrap_or_default()
}

/// Mode and name of an untraced lock, from the texts `RESERVED`, `X WRITE`, `S READ1+READ2`.
pub(super) fn outside(lock: &str) -> (&'static str, &str) {
    match lock.split_once(' ') {
        Some(("X", slots)) => ("EXCLUSIVE", slots),
        Some(("S", slots)) => ("SHARED", slots),
        _ => ("", lock),
    }
}

/// The request of a call: `RESERVED`, `X WRITE`, `U READ0`; `None` for a call that requests no lock.
pub(super) fn asked(record: &Record) -> Option<String> {
    if let Some(request) = Request::of(record) {
        return Some(request.to_string());
    }
    match record.kind.known()? {
        Known::Unlock => Some(record.requested.to_string()),
        Known::ShmLock => Some(format!("U {}", slots(slot_mask(record.shm_offset, record.shm_n)))),
        Known::Open | Known::Close | Known::Lock | Known::CheckReserved | Known::ShmMap | Known::ShmUnmap | Known::Sync => None,
        Known::Sleep | Known::Delete | Known::CkptStart | Known::CkptDone | Known::Wrote | Known::Handle => None,
    }
}

/// The names of slots, with blanks between.
pub(super) fn slots(mask: u8) -> String {
    let names = (0..Slot::COUNT).filter(|slot| mask & (1 << slot) != 0).map(|slot| Slot(slot).to_string());
    names.collect::<Vec<_>>().join(" ")
}

/// The names of flags, with blanks between.
pub(super) fn flags(flags: Flags) -> String {
    flags.names().collect::<Vec<_>>().join(" ")
}
