//! The width and the colours of the report for people.
#![forbid(unsafe_code)]

use super::human::count;

/// How to show it.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Columns of a line.
    pub width: usize,
    /// How many refused attempts to list.
    pub refusals: usize,
}

impl Default for Style {
    fn default() -> Style {
        Style { width: 100, refusals: 20 }
    }
}

pub(super) const BOLD: &str = "\x1b[1m";
pub(super) const RED: &str = "\x1b[1;31m";
pub(super) const PLAIN: &str = "\x1b[0m";

/// `1 time`, `2,000 times`.
pub(super) fn many(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(number), if number == 1 { "" } else { "s" })
}
