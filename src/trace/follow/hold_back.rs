//! The queue that holds records back for a moment, so that the records of several logs come in time order.
//!
//! A record is returned as soon as no earlier one is expected. The documentation of [`super`] describes the limits of that order.
#![forbid(unsafe_code)]

use crate::trace::{Event, LogId};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long records are held back to be sorted.
pub const DELAY: Duration = Duration::from_millis(100);

/// Most records that are held back. Beyond this, they are returned sooner.
const MOST_HELD: usize = 1 << 19;

/// A record that is held back: its key, log and number.
type HeldBack = ((u64, u32, u64), Event);

/// See the module.
#[derive(Default)]
pub(super) struct HoldBack {
    held: Vec<HeldBack>,
    /// The latest key that was known at each poll of the last [`DELAY`].
    frontiers: VecDeque<(Instant, u64)>,
    latest: u64,
    given: u64,
    late: u64,
}

impl HoldBack {
    /// Holds a record back.
    #[inline]
    pub(super) fn put(&mut self, key: u64, event: Event) {
        self.latest = self.latest.max(key);
        self.held.push(((key, event.log.0, event.number), event));
    }

    /// Returns everything that is held back, in the order of the numbers. Later records are sorted on their own.
    pub(super) fn take_all(&mut self) -> Vec<Event> {
        let mut events: Vec<Event> = self.held.drain(..).map(|(_, event)| event).collect();
        events.sort_unstable_by_key(|event| (event.log, event.number));
        self.given = self.latest;
        events
    }

    /// The key up to which no more records are expected, after a poll has read all logs. `at_once`: the kind of keys has changed, so everything is
    /// returned.
    pub(super) fn polled(&mut self, now: Instant, at_once: bool) -> Option<u64> {
        self.frontiers.push_back((now, self.latest));
        let mut up_to = None;
        while self.frontiers.front().is_some_and(|(at, _)| now.duration_since(*at) >= DELAY) {
            up_to = self.frontiers.pop_front().map(|(_, key)| key);
        }
        if at_once || self.held.len() > MOST_HELD { Some(u64::MAX) } else { up_to }
    }

    /// Returns the records up to this key. Late ones are returned at once.
    pub(super) fn give(&mut self, up_to: Option<u64>, events: &mut Vec<Event>) {
        let up_to = up_to.unwrap_or(0).max(self.given);
        // The records are few and nearly sorted, so sorting them costs less than a heap.
        self.held.sort_unstable_by_key(|(place, _)| *place);
        let count = self.held.partition_point(|(place, _)| place.0 <= up_to);
        for ((key, ..), event) in self.held.drain(..count) {
            if key < self.given {
                self.late += 1;
            } else {
                self.given = key;
            }
            events.push(event);
        }
    }

    /// Whether a record of this log is held back.
    pub(super) fn has(&self, log: LogId) -> bool {
        self.held.iter().any(|(_, event)| event.log == log)
    }

    /// Records that came too late to be sorted.
    pub(super) fn late(&self) -> u64 {
        self.late
    }
}
