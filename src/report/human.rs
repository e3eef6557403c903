//! Formats of numbers, times and long texts for narrow columns.
#![forbid(unsafe_code)]

use crate::trace::text::Clean;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A duration with three significant digits: `840 ns`, `1.24 ms`, `12.3 s`, `2 h 05 min`.
pub fn duration(ns: u64) -> String {
    let units =
        [(1_000, 1, "ns"), (1_000_000, 1_000, "µs"), (1_000_000_000, 1_000_000, "ms"), (120_000_000_000, 1_000_000_000, "s")];
    for (below, unit, name) in units {
        // A value that rounds up to 1 of the next unit is shown in that unit.
        if ns < below && (unit == 1 || (ns as f64 / unit as f64) < 999.5) {
            return if unit == 1 { format!("{ns} {name}") } else { format!("{} {name}", three_digits(ns as f64 / unit as f64)) };
        }
    }
    let seconds = ns / 1_000_000_000;
    match seconds {
        0..120 => format!("{} s", three_digits(ns as f64 / 1e9)),
        120..7_200 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

fn three_digits(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// A duration that may be unknown.
pub fn known(ns: Option<u64>) -> String {
    ns.map_or_else(|| "unknown".to_owned(), duration)
}

/// A count with its digits in groups of three.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A size: `840 bytes`, `1.24 MB`.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{} bytes", count(bytes)),
        10_000..999_500 => format!("{} kB", three_digits(bytes as f64 / 1e3)),
        999_500..999_500_000 => format!("{} MB", three_digits(bytes as f64 / 1e6)),
        _ => format!("{} GB", three_digits(bytes as f64 / 1e9)),
    }
}

/// A text on one line of at most this many columns. `…` marks a cut.
pub fn cut(text: &str, columns: usize) -> String {
    // Some statements are a megabyte long, so only the part that the columns can show is read.
    let mut end = text.len().min(columns.saturating_mul(8).saturating_add(64));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let clean = Clean(text.get(..end).unwrap_or_default()).to_string();
    if clean.width() <= columns && end == text.len() {
        return clean;
    }
    let mut out = String::new();
    let mut room = columns.saturating_sub(1);
    for c in clean.chars() {
        let wide = c.width().unwrap_or(0);
        if wide > room {
            break;
        }
        room -= wide;
        out.push(c);
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// A text of exactly this many columns, cut or filled with blanks.
pub fn pad(text: &str, columns: usize) -> String {
    let mut out = cut(text, columns);
    for _ in out.width()..columns {
        out.push(' ');
    }
    out
}

/// The same, with the blanks in front.
pub fn pad_left(text: &str, columns: usize) -> String {
    let out = cut(text, columns);
    format!("{}{out}", " ".repeat(columns.saturating_sub(out.width())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        let cases = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (1_240_000, "1.24 ms"),
            (9_996_000, "10.0 ms"),
            (99_960_000, "100 ms"),
            (999_499_999, "999 ms"),
            (999_999_999, "1.00 s"),
            (119_000_000_000, "119 s"),
            (125_000_000_000, "2 min 05 s"),
            (7_500_000_000_000, "2 h 05 min"),
        ];
        for (ns, text) in cases {
            assert_eq!(duration(ns), text, "{ns}");
        }
        assert!(duration(u64::MAX).ends_with("min"));
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!([count(0), count(999), count(1_000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!([bytes(0), bytes(9_999), bytes(10_000), bytes(1_234_567)], ["0 bytes", "9,999 bytes", "10.0 kB", "1.23 MB"]);
        assert_eq!(bytes(12_345_678_901), "12.3 GB");
    }

    #[test]
    fn text_is_cut_by_columns() {
        assert_eq!(cut("SELECT 1", 8), "SELECT 1");
        assert_eq!(cut("SELECT 12", 8), "SELECT …");
        assert_eq!(cut("表表表", 5), "表表…");
        assert_eq!(pad("表", 4), "表  ");
        assert_eq!(pad_left("7", 3), "  7");
        assert_eq!(cut("abc", 0), "");
        assert_eq!(cut(&"é".repeat(1_000_000), 3), "éé…");
    }
}
