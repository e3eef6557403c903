//! What a pass over a trace finds, as the values that tables have: wall-clock times, lengths, names of calls.
//!
//! Input: records and holds. Output: integers and texts, nothing where it is not known. Called by the formats that are tables.
#![forbid(unsafe_code)]

use crate::analysis::observer::ObservedHold;
use crate::analysis::order::instants::Times;
use crate::analysis::{HoldEnd, Instant, LockId, Request};
use crate::trace::{Event, LogId, Trace};
use shim::event::{Flags, KnownKind as Known, Slot, slot_mask};
use shim::format::record::Record;

/// Turns instants of a trace into what tables have.
#[derive(Clone, Copy)]
pub(super) struct Facts<'t> {
    pub trace: &'t Trace,
    times: Times<'t>,
}

impl<'t> Facts<'t> {
    pub(super) fn new(trace: &'t Trace) -> Facts<'t> {
        Facts { trace, times: Times::new(trace) }
    }

    /// An instant in nanoseconds since 1970; `None` where that is not known, or is later than the year 2262.
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

    /// How long a lock was held, as the report counts it: from the end of the call that took it to the start of the one that gave it up; of an open hold, as
    /// far as is known. `None` where its beginning or end was not seen.
    pub(super) fn held(&self, span: &ObservedHold) -> Option<i64> {
        let from = span.from.filter(|_| !matches!(span.end, HoldEnd::Unseen(..)))?;
        integer(self.times.ns(span.who.log, from, span.until)?)
    }
}

/// A number of a trace as tables have it; `None` beyond 63 bits.
pub(super) fn integer(number: u64) -> Option<i64> {
    i64::try_from(number).ok()
}

/// How the end of a hold is known, in a word.
pub(super) fn ended(end: HoldEnd) -> &'static str {
    match end {
        HoldEnd::Released(..) => "released",
        HoldEnd::Unseen(..) => "unseen",
        HoldEnd::Open => "open",
    }
}

/// The mode of a lock of the wal-index; empty for the database file.
pub(super) fn mode(lock: LockId) -> &'static str {
    lock.mode().unwrap_or_default()
}

/// Mode and name of a lock outside the trace, from the words `RESERVED`, `X WRITE`, `S READ1+READ2`.
pub(super) fn outside(lock: &str) -> (&'static str, &str) {
    match lock.split_once(' ') {
        Some(("X", slots)) => ("EXCLUSIVE", slots),
        Some(("S", slots)) => ("SHARED", slots),
        _ => ("", lock),
    }
}

/// What a call asked for: `RESERVED`, `X WRITE`, `U READ0`; `None` where it asked for no lock.
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
