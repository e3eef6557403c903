//! Records held back for a moment, so that those of several logs come out in time order.
//!
//! Input: records with the keys that place them, poll by poll. Output: the same records, each once nothing is expected any more that belongs before it. Called by
//! [`super::follow`], whose documentation says what that order is worth.
#![forbid(unsafe_code)]

use crate::trace::{Event, LogId};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long records are held back to be sorted.
pub const DELAY: Duration = Duration::from_millis(100);

/// Records held back at most: then they go out sooner.
const MOST_HELD: usize = 1 << 19;

/// A record that is held back: its key, log and number.
type Held = ((u64, u32, u64), Event);

/// See the module.
#[derive(Default)]
pub(super) struct HoldBack {
    held: Vec<Held>,
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

    /// Everything that is held back, in the order of its numbers; what comes later is put in order again.
    pub(super) fn take_all(&mut self) -> Vec<Event> {
        let mut events: Vec<Event> = self.held.drain(..).map(|(_, event)| event).collect();
        events.sort_unstable_by_key(|event| (event.log, event.number));
        self.given = self.latest;
        events
    }

    /// A poll has read everything there was: up to which key nothing more is expected. `at_once`: the keys themselves have changed, so that everything goes.
    pub(super) fn polled(&mut self, now: Instant, at_once: bool) -> Option<u64> {
        self.frontiers.push_back((now, self.latest));
        let mut up_to = None;
        while self.frontiers.front().is_some_and(|(at, _)| now.duration_since(*at) >= DELAY) {
            up_to = self.frontiers.pop_front().map(|(_, key)| key);
        }
        if at_once || self.held.len() > MOST_HELD { Some(u64::MAX) } else { up_to }
    }

    /// Gives what is held back up to this key, or, where it is late already, at once.
    pub(super) fn give(&mut self, up_to: Option<u64>, events: &mut Vec<Event>) {
        let up_to = up_to.unwrap_or(0).max(self.given);
        // Nearly sorted, and all that is left is small: sorting it anew costs less than a heap.
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

    /// Records that came later than they could be put in their place.
    pub(super) fn late(&self) -> u64 {
        self.late
    }
}
