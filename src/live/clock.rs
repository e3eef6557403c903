//! The clock of this process while it runs: converts ticks of its log to nanoseconds and to wall-clock time.
//!
//! It keeps one reading of all clocks from the start and takes another for each conversion. The distance of the two gives the length of a tick.
//! The new reading gives the time of day, also after somebody has set that.
#![forbid(unsafe_code)]

use crate::trace::clock::{Clock, real_ns};
use shim::clock::{anchor, kind};
use shim::format::header::Anchor;

#[derive(Debug)]
pub(super) struct LiveClock {
    first: Anchor,
}

impl LiveClock {
    pub(super) fn start() -> LiveClock {
        LiveClock { first: anchor() }
    }

    /// The clock as known now, and the reading of now. Within 100 µs of the start it waits for their end: the length of a tick needs that span.
    fn now(&self) -> (Clock, Anchor) {
        // Bounded, in case the system's clock stands still.
        for _ in 0..100_000 {
            let now = anchor();
            let clock = Clock::between(kind(), &self.first, &now);
            if clock.ns_per_tick().is_some() {
                return (clock, now);
            }
        }
        (Clock::between(kind(), &self.first, &self.first), self.first)
    }

    /// This many ticks in nanoseconds.
    pub(super) fn ns(&self, ticks: u64) -> u64 {
        self.now().0.to_ns(ticks).unwrap_or(0)
    }

    /// `CLOCK_REALTIME` at these ticks, in nanoseconds since 1970.
    pub(super) fn real_ns(&self, ticks: u64) -> u64 {
        let (clock, now) = self.now();
        real_ns(&clock, &now, ticks).unwrap_or(now.real_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_just_now_are_just_now() {
        let clock = LiveClock::start();
        let before = anchor();
        let (now, after) = (clock.real_ns(shim::clock::now()), anchor());
        let near = before.real_ns - 1_000_000..=after.real_ns + 1_000_000;
        assert!(near.contains(&now), "{now} is not in {near:?}");
        let (ticks, ns) = (after.ticks - before.ticks, after.monotonic_ns - before.monotonic_ns);
        let converted = clock.ns(ticks);
        assert!(converted.abs_diff(ns) < ns / 10 + 1000, "{converted} for {ns}");
    }
}
