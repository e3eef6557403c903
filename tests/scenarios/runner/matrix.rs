//! The confusion matrix: what was expected against what was found, with a numbered column for each identifier that was found.

use super::judge::NOTHING;
use super::{CAUSES, HAZARDS};
use std::collections::BTreeMap;
use std::fmt;

/// Counts of (expected, found).
#[derive(Default)]
pub struct Matrix(BTreeMap<(String, String), u64>);

impl Matrix {
    /// Counts one pair.
    pub fn add(&mut self, pair: &(String, String)) {
        *self.0.entry(pair.clone()).or_default() += 1;
    }

    /// How many are where they belong, and how many are not.
    pub fn sums(&self) -> (u64, u64) {
        let (on, off): (Vec<_>, Vec<_>) = self.0.iter().partition(|((expected, found), _)| expected == found);
        (on.iter().map(|(_, count)| *count).sum(), off.iter().map(|(_, count)| *count).sum())
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = CAUSES.iter().chain(&HAZARDS).copied().chain([NOTHING]).collect();
        // Identifiers of the report that the contract does not have.
        let strange: Vec<&str> = self.0.keys().map(|(_, found)| &**found).filter(|found| !ids.contains(found)).collect();
        let ids: Vec<&str> = ids.into_iter().chain(strange).collect();
        let count = |expected: &str, found: &str| self.0.get(&(expected.to_owned(), found.to_owned())).copied().unwrap_or(0);
        write!(f, "{:>26}  found:", "expected")?;
        for n in 1..=ids.len() {
            write!(f, "{n:>4}")?;
        }
        for (row, expected) in ids.iter().enumerate() {
            write!(f, "\n{expected:>26} {:>6} ", row + 1)?;
            for found in &ids {
                match count(expected, found) {
                    0 => write!(f, "   .")?,
                    count => write!(f, "{count:>4}")?,
                }
            }
        }
        let (on, off) = self.sums();
        write!(f, "\non the diagonal: {on}, off it: {off}")
    }
}
