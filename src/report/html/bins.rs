//! Bins of time, always the same number: when the trace outgrows them, their width doubles and two neighbours become one.
//!
//! Stretches of time become shares for each bin, values at instants become peaks. All bins of a page have one [`Scale`]. [`Shares`] and [`Peaks`] take on
//! its width when they are next used.
#![forbid(unsafe_code)]

/// The number of bins.
pub(super) const BINS: usize = 1024;

/// The position of the bins: `BINS` of them from `origin` on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Scale {
    /// The beginning of the first bin.
    pub(super) origin: u64,
    /// The length of each bin.
    pub(super) width: u64,
}

impl Scale {
    /// Bins that begin at this instant and are as short as is worth drawing.
    pub(super) fn new(origin: u64) -> Scale {
        Scale { origin, width: 64 }
    }

    /// Makes the bins wide enough to cover this instant.
    #[inline]
    pub(super) fn cover(&mut self, at: u64) {
        while self.index(at) >= BINS && self.width < u64::MAX / 4 {
            self.width *= 2;
        }
    }

    /// The bin of this instant. An instant before the first bin counts as in it.
    #[inline]
    fn index(&self, at: u64) -> usize {
        (at.saturating_sub(self.origin) / self.width) as usize
    }
}

/// The share of each bin's time in which something was the case.
#[derive(Clone, Debug, Default)]
pub(super) struct Shares {
    width: u64,
    of: Vec<f64>,
}

impl Shares {
    /// Adds the time between two instants. The scale covers both.
    pub(super) fn add(&mut self, scale: &Scale, from: u64, until: u64) {
        self.fit(scale);
        let (first, last) = (scale.index(from).min(BINS - 1), scale.index(until).min(BINS - 1));
        if self.of.len() <= last {
            self.of.resize(last + 1, 0.0);
        }
        if first == last {
            self.of[first] += until.saturating_sub(from) as f64;
            return;
        }
        for (bin, sum) in (first..).zip(&mut self.of[first..=last]) {
            let begins = scale.origin.saturating_add(scale.width.saturating_mul(bin as u64));
            let ends = begins.saturating_add(scale.width);
            *sum += until.min(ends).saturating_sub(from.max(begins)) as f64;
        }
    }

    /// Adds one event at this instant. The scale covers it.
    pub(super) fn happened(&mut self, scale: &Scale, at: u64) {
        self.fit(scale);
        let bin = scale.index(at).min(BINS - 1);
        if self.of.len() <= bin {
            self.of.resize(bin + 1, 0.0);
        }
        self.of[bin] += 1.0;
    }

    /// The sum of each bin, relative to the bin with the largest sum.
    pub(super) fn of_most(&mut self, scale: &Scale) -> Vec<f64> {
        self.fit(scale);
        let most = self.of.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        self.of.iter().map(|sum| sum / most).collect()
    }

    /// Adds other shares.
    pub(super) fn merge(&mut self, scale: &Scale, other: &mut Shares) {
        self.fit(scale);
        other.fit(scale);
        if self.of.len() < other.of.len() {
            self.of.resize(other.of.len(), 0.0);
        }
        self.of.iter_mut().zip(&other.of).for_each(|(sum, more)| *sum += more);
    }

    /// The share of each bin's time, more than 1 if several overlapped. Empty bins at the end are left out.
    pub(super) fn shares(&mut self, scale: &Scale) -> Vec<f64> {
        self.fit(scale);
        self.of.iter().map(|sum| sum / scale.width as f64).collect()
    }

    fn fit(&mut self, scale: &Scale) {
        if self.of.is_empty() {
            self.width = scale.width;
        }
        while self.width < scale.width {
            self.of = self.of.chunks(2).map(|two| two.iter().sum()).collect();
            self.width *= 2;
        }
    }
}

/// The highest value in each bin.
#[derive(Clone, Debug, Default)]
pub(super) struct Peaks {
    width: u64,
    /// The highest value in each bin, and the last one.
    of: Vec<Option<(u64, u64)>>,
    last: u64,
}

impl Peaks {
    /// Sets the value from this instant on. The scale covers it.
    pub(super) fn set(&mut self, scale: &Scale, at: u64, value: u64) {
        self.fit(scale);
        let bin = scale.index(at).min(BINS - 1);
        if self.of.len() <= bin {
            self.of.resize(bin + 1, None);
        }
        // The value until now also counts in this bin.
        let high = self.of[bin].map_or(self.last, |(high, _)| high).max(value);
        self.of[bin] = Some((high, value));
        self.last = value;
    }

    /// The highest value in each of this many bins. A bin without a value has the last value before it.
    pub(super) fn peaks(&mut self, scale: &Scale, bins: usize) -> Vec<u64> {
        self.fit(scale);
        let mut now = 0;
        self.of.resize(bins.max(self.of.len()), None);
        self.of
            .iter()
            .map(|bin| {
                let (high, last) = bin.unwrap_or((now, now));
                now = last;
                high
            })
            .collect()
    }

    fn fit(&mut self, scale: &Scale) {
        let joined = |two: &[Option<(u64, u64)>]| {
            let known = two.iter().flatten();
            let high = known.clone().map(|&(high, _)| high).max()?;
            Some((high, known.last()?.1))
        };
        if self.of.is_empty() {
            self.width = scale.width;
        }
        while self.width < scale.width {
            self.of = self.of.chunks(2).map(joined).collect();
            self.width *= 2;
        }
    }
}

/// Shares as one of 64 characters for each bin, which the page's script reads: from `A` for nothing to `_` for the whole bin. The steps are
/// finer for small shares, which would not show otherwise.
pub(super) fn letters(shares: &[f64]) -> String {
    const STEPS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let step = |share: &f64| (share.clamp(0.0, 1.0).sqrt() * 63.0).ceil() as usize;
    shares.iter().map(|share| STEPS[step(share).min(63)] as char).collect::<String>().trim_end_matches('A').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_kept_when_bins_are_joined() {
        let mut scale = Scale::new(1_000);
        let mut shares = Shares::default();
        for i in 0..5_000u64 {
            let from = 1_000 + i * 100;
            scale.cover(from + 25);
            shares.add(&scale, from, from + 25);
        }
        let found = shares.shares(&scale);
        let time: f64 = found.iter().map(|share| share * scale.width as f64).sum();
        assert!((time - 125_000.0).abs() < 1e-3, "{time}");
        assert!(found.len() <= BINS && found[..found.len() - 1].iter().all(|share| (0.2..0.3).contains(share)), "{found:?}");
    }

    #[test]
    fn one_long_hold_fills_its_bins_and_no_other() {
        let mut scale = Scale::new(0);
        scale.cover(100_000);
        let mut shares = Shares::default();
        shares.add(&scale, 10 * scale.width, 20 * scale.width + scale.width / 2);
        let found = shares.shares(&scale);
        assert_eq!(found[..10], [0.0; 10]);
        assert_eq!(found[10..20], [1.0; 10]);
        assert_eq!(found[20..], [0.5]);
        assert_eq!(letters(&found).len(), 21);
        assert_eq!(letters(&[0.0, 0.0001, 1.0, 7.0, 0.0]), "AB__");
    }

    #[test]
    fn peaks_stay_when_bins_are_joined_and_hold_until_the_next() {
        let mut scale = Scale::new(0);
        let mut peaks = Peaks::default();
        peaks.set(&scale, 0, 7);
        peaks.set(&scale, 3 * 64, 1);
        scale.cover(1_000_000);
        peaks.set(&scale, 3 * scale.width, 3);
        assert_eq!(peaks.peaks(&scale, 6), [7, 1, 1, 3, 3, 3]);
    }

    #[test]
    fn the_ends_of_time_are_no_panic() {
        let mut scale = Scale::new(0);
        scale.cover(u64::MAX);
        let (mut shares, mut peaks) = (Shares::default(), Peaks::default());
        shares.add(&scale, 0, u64::MAX);
        peaks.set(&scale, u64::MAX, 1);
        assert!(shares.shares(&scale).len() <= BINS && peaks.peaks(&scale, BINS).len() <= BINS);
        shares.add(&Scale::new(50), 10, 20);
    }
}
