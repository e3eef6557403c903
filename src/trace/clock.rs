//! What a log's ticks mean: which logs compare, and how long a tick is.
//!
//! Input: the headers' clock kinds, boot ids and anchors. Output: [`Clock`]s, one for each (clock kind, boot). Ticks of one clock
//! compare directly, and that raw order is the authority; nanoseconds are for display, and unknown where no anchors tell.
#![forbid(unsafe_code)]

use super::Log;
use shim::format::header::{Anchor, ClockKind};

/// An index into a trace's clocks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ClockId(pub u32);

/// A span between anchors shorter than this tells no useful frequency: reading the clocks takes a fair part of it.
const SHORTEST_SPAN_NS: u64 = 100_000;

/// One clock of one boot of one host.
#[derive(Clone, Debug)]
pub struct Clock {
    /// What it counts.
    pub kind: ClockKind,
    /// The boot it belongs to; all 0 where unknown.
    pub boot_id: [u8; 16],
    ns_per_tick: Option<f64>,
}

impl Clock {
    /// A clock of this kind that these two readings tell about, on this boot.
    pub(crate) fn between(kind: ClockKind, first: &Anchor, last: &Anchor) -> Clock {
        let ns_per_tick = if kind == ClockKind::Monotonic { Some(1.0) } else { rate(&[*first, *last]) };
        Clock { kind, boot_id: [0; 16], ns_per_tick }
    }

    /// Nanoseconds in a tick; `None` when the anchors do not tell.
    pub fn ns_per_tick(&self) -> Option<f64> {
        self.ns_per_tick
    }

    /// This many ticks in nanoseconds.
    #[inline]
    pub fn to_ns(&self, ticks: u64) -> Option<u64> {
        if matches!(self.kind, ClockKind::Monotonic) {
            return Some(ticks);
        }
        let rate = self.ns_per_tick?;
        // As `round` does, which is a call where the processor's own instruction for it cannot be relied on.
        let ns = ticks as f64 * rate;
        let whole = ns as u64;
        Some(whole.saturating_add(u64::from(ns - whole as f64 >= 0.5)))
    }

    /// Ticks in this many nanoseconds; where the length of a tick is unknown, what the fastest clock would count (6 GHz).
    pub fn ticks_in(&self, ns: u64) -> u64 {
        (ns as f64 / self.ns_per_tick.unwrap_or(1.0 / 6.0)) as u64
    }

    /// Whether the boot is unknown, so that two logs with this clock are taken to be of one boot without proof.
    pub fn boot_unknown(&self) -> bool {
        self.boot_id == [0; 16]
    }
}

/// The clocks of these logs; tells each log its own. `here` is one more anchor of the clock of this kind and boot.
pub(crate) fn assign(logs: &mut [Log], here: Option<(ClockKind, [u8; 16], Anchor)>) -> Vec<Clock> {
    let mut clocks: Vec<(Clock, Vec<Anchor>)> = Vec::new();
    for log in logs {
        let found = clocks.iter().position(|(clock, _)| clock.kind == log.clock_kind && clock.boot_id == log.boot_id);
        let index = found.unwrap_or_else(|| {
            clocks.push((Clock { kind: log.clock_kind, boot_id: log.boot_id, ns_per_tick: None }, Vec::new()));
            clocks.len() - 1
        });
        log.clock = ClockId(index as u32);
        clocks[index].1.push(log.first);
        clocks[index].1.extend(log.last);
    }
    for (clock, anchors) in &mut clocks {
        anchors.extend(here.filter(|(kind, boot, _)| *kind == clock.kind && *boot == clock.boot_id).map(|(_, _, anchor)| anchor));
        clock.ns_per_tick = match clock.kind {
            ClockKind::Monotonic => Some(1.0),
            _ => rate(anchors),
        };
    }
    clocks.into_iter().map(|(clock, _)| clock).collect()
}

/// Nanoseconds in a tick, over the widest span these anchors give.
fn rate(anchors: &[Anchor]) -> Option<f64> {
    let first = anchors.iter().min_by_key(|anchor| anchor.ticks)?;
    let last = anchors.iter().max_by_key(|anchor| anchor.ticks)?;
    let ns = last.monotonic_ns.checked_sub(first.monotonic_ns).filter(|&ns| ns >= SHORTEST_SPAN_NS)?;
    let rate = ns as f64 / (last.ticks - first.ticks) as f64;
    // From 20 GHz to 100 kHz: outside of it, these are no anchors.
    (0.05..=10_000.0).contains(&rate).then_some(rate)
}

/// `CLOCK_REALTIME` at these ticks of a log, in nanoseconds since 1970; `None` when the length of a tick is unknown.
pub(crate) fn real_ns(clock: &Clock, first: &Anchor, ticks: u64) -> Option<u64> {
    let away = clock.to_ns(ticks.abs_diff(first.ticks))?;
    if ticks >= first.ticks { first.real_ns.checked_add(away) } else { first.real_ns.checked_sub(away) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(ticks: u64, monotonic_ns: u64) -> Anchor {
        Anchor { ticks, monotonic_ns, real_ns: monotonic_ns + 7_000_000_000 }
    }

    #[test]
    fn the_widest_span_tells_the_rate() {
        let anchors =
            [anchor(5_000_000_000, 2_000_000_000), anchor(2_000_000_000, 1_000_000_000), anchor(2_000_300_000, 1_000_090_000)];
        assert_eq!(rate(&anchors), Some(1.0 / 3.0));
    }

    #[test]
    fn no_span_no_rate() {
        assert_eq!(rate(&[]), None);
        assert_eq!(rate(&[anchor(1, 1)]), None);
        assert_eq!(rate(&[anchor(0, 0), anchor(3_000, 1_000)]), None, "too short");
        assert_eq!(rate(&[anchor(0, 5_000_000), anchor(3_000_000, 0)]), None, "backwards");
        assert_eq!(rate(&[anchor(0, 0), anchor(1, 5_000_000_000)]), None, "absurd");
    }

    #[test]
    fn real_time_on_both_sides_of_the_anchor() {
        let clock = Clock { kind: ClockKind::Tsc, boot_id: [0; 16], ns_per_tick: Some(0.5) };
        let first = anchor(1_000, 100);
        assert_eq!(real_ns(&clock, &first, 1_010), Some(7_000_000_105));
        assert_eq!(real_ns(&clock, &first, 990), Some(7_000_000_095));
    }
}
