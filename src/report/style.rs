//! The width and the colours of the report for people.
#![forbid(unsafe_code)]

use super::human::{count, cut};
use std::io::{self, Write};

/// How to show the report.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// The columns of a line.
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

/// A text in lines of this width. The first line begins with `head`, the others with as many spaces.
pub(super) fn wrapped(head: &str, text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = head.to_owned();
    for word in text.split_whitespace() {
        if line.len() > head.len() && line.chars().count() + word.chars().count() >= width {
            lines.push(cut(line.trim_end(), width));
            line = " ".repeat(head.len());
        }
        line.push_str(word);
        line.push(' ');
    }
    lines.push(cut(line.trim_end(), width));
    lines
}

/// Writes a text in lines of this width.
pub(super) fn paragraph(out: &mut impl Write, head: &str, text: &str, width: usize) -> io::Result<()> {
    wrapped(head, text, width).iter().try_for_each(|line| writeln!(out, "{line}"))
}
