//! The clocks of a trace, one for each clock kind and boot: which logs can be compared, and how long a tick is.
//!
//! Ticks of one clock compare directly, and that order is the authority. Nanoseconds are for display, and unknown without usable anchors.
#![forbid(unsafe_code)]

use super::Log;
use shim::format::header::{Anchor, ClockKind};

/// An index into a trace's clocks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ClockId(pub u32);

/// The shortest span between anchors that gives a useful frequency. In a shorter one, reading the clocks takes a large part.
const SHORTEST_SPAN_NS: u64 = 100_000;

/// One clock of one boot of one host.
#[derive(Clone, Debug)]
pub struct Clock {
    /// The kind of clock.
    pub kind: ClockKind,
    /// Its boot; all 0 if unknown.
    pub boot_id: [u8; 16],
    ns_per_tick: Option<f64>,
}

impl Clock {
    /// A clock of this kind on this boot, with the rate between two readings.
    pub(crate) fn between(kind: ClockKind, first: &Anchor, last: &Anchor) -> Clock {
        let ns_per_tick = if kind == ClockKind::Monotonic { Some(1.0) } else { rate(&[*first, *last]) };
        Clock { kind, boot_id: [0; 16], ns_per_tick }
    }

    /// Nanoseconds in a tick; `None` without usable anchors.
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
        // The same as `round`, which would be a function call on processors without an instruction for it.
        let ns = ticks as f64 * rate;
        let whole = ns as u64;
        Some(whole.saturating_add(u64::from(ns - whole as f64 >= 0.5)))
    }

    /// Ticks in this many nanoseconds. If the length of a tick is unknown, that of the fastest clock is used (6 GHz).
    pub fn ticks_in(&self, ns: u64) -> u64 {
        (ns as f64 / self.ns_per_tick.unwrap_or(1.0 / 6.0)) as u64
    }

    /// Whether the boot is unknown. Two logs with this clock are then treated as of one boot, without proof.
    pub fn boot_unknown(&self) -> bool {
        self.boot_id == [0; 16]
    }
}

/// Computes the clocks of these logs, and assigns each log its clock. `here` is one more anchor of the clock of this kind and boot.
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

/// Nanoseconds in a tick, over the widest span of these anchors.
fn rate(anchors: &[Anchor]) -> Option<f64> {
    let first = anchors.iter().min_by_key(|anchor| anchor.ticks)?;
    let last = anchors.iter().max_by_key(|anchor| anchor.ticks)?;
    let ns = last.monotonic_ns.checked_sub(first.monotonic_ns).filter(|&ns| ns >= SHORTEST_SPAN_NS)?;
    let rate = ns as f64 / (last.ticks - first.ticks) as f64;
    // From 20 GHz to 100 kHz. Other rates mean bad anchors.
    (0.05..=10_000.0).contains(&rate).then_some(rate)
}

/// `CLOCK_REALTIME` at these ticks of a log, in nanoseconds since 1970; `None` if the length of a tick is unknown.
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
