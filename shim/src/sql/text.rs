//! Times and locks in words, for the cells of SQL tables.
#![forbid(unsafe_code)]

use crate::event::{Level, Slot};
use std::fmt::{self, Write as _};

/// The text of a cell, in fixed memory that is as long as the longest one. What does not fit is left out.
#[derive(Debug)]
pub(super) struct Words {
    bytes: [u8; Words::MOST],
    len: usize,
}

impl Words {
    const MOST: usize = 256;

    /// No text.
    pub(super) fn new() -> Words {
        Words { bytes: [0; Words::MOST], len: 0 }
    }

    /// The text so far.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Adds a part, with this separator before every part but the first.
    pub(super) fn part(&mut self, separator: &str, part: fmt::Arguments<'_>) {
        if self.len > 0 {
            self.put(separator.as_bytes());
        }
        let _ = self.write_fmt(part);
    }

    /// Adds bytes as they are.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let n = bytes.len().min(room.len());
        if let (Some(room), Some(bytes)) = (room.get_mut(..n), bytes.get(..n)) {
            room.copy_from_slice(bytes);
            self.len += n;
        }
    }
}

impl fmt::Write for Words {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

/// Nanoseconds since 1970 as SQLite's date functions read it: `2025-01-31 12:34:56.123456`, in UTC.
pub(super) fn time(into: &mut Words, real_ns: u64) {
    let (seconds, micros) = (real_ns / 1_000_000_000, real_ns % 1_000_000_000 / 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let _ = write!(into, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}");
}

/// The date of a day, counted from 1970-01-01, in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut rest = days;
    // 400 years have the same number of days wherever they begin.
    let mut year = 1970 + rest / 146_097 * 400;
    rest %= 146_097;
    while rest >= 365 + u64::from(leap(year)) {
        rest -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for days in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if rest < days {
            break;
        }
        (rest, month) = (rest - days, month + 1);
    }
    (year, month, rest + 1)
}

/// `S` or `X` and the slots, as in `X READ1..READ4`; empty for no slots.
pub(super) fn slots(into: &mut Words, mask: u8, how: &str) {
    let mut slot = 0;
    while slot < Slot::COUNT {
        let first = slot;
        while slot < Slot::COUNT && mask & (1 << slot) != 0 {
            slot += 1;
        }
        match slot - first {
            0 => slot += 1,
            1 => into.part(", ", format_args!("{how} {}", Slot(first))),
            _ => into.part(", ", format_args!("{how} {}..{}", Slot(first), Slot(slot - 1))),
        }
    }
}

/// The slots held of a wal-index; empty where none is held.
pub(super) fn held_slots(into: &mut Words, shared: u8, exclusive: u8) {
    slots(into, shared, "S");
    slots(into, exclusive, "X");
}

/// A level and slots together; `NONE` where no lock is held.
pub(super) fn state(into: &mut Words, level: Level, shared: u8, exclusive: u8) {
    if level != Level::NONE || (shared == 0 && exclusive == 0) {
        into.part(", ", format_args!("{level}"));
    }
    held_slots(into, shared, exclusive);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(fill: impl FnOnce(&mut Words)) -> String {
        let mut words = Words::new();
        fill(&mut words);
        String::from_utf8(words.bytes().to_vec()).unwrap()
    }

    #[test]
    fn times_are_calendar_times() {
        let time = |ns| words(|into| super::time(into, ns));
        assert_eq!(time(0), "1970-01-01 00:00:00.000000");
        assert_eq!(time(951_782_400_000_000_000), "2000-02-29 00:00:00.000000");
        assert_eq!(time(1_735_689_599_999_999_999), "2024-12-31 23:59:59.999999");
        assert_eq!(time(4_107_542_400_123_456_000), "2100-03-01 00:00:00.123456");
        assert_eq!(time(u64::MAX), "2554-07-21 23:34:33.709551");
    }

    #[test]
    fn slots_in_words() {
        assert_eq!(words(|into| held_slots(into, 0, 0)), "");
        assert_eq!(words(|into| held_slots(into, 0b1_0000, 0b1)), "S READ1, X WRITE");
        assert_eq!(words(|into| slots(into, 0b1111_0110, "X")), "X CKPT..RECOVER, X READ1..READ4");
        assert_eq!(words(|into| state(into, Level::SHARED, 0b1000, 0)), "SHARED, S READ0");
        assert_eq!(words(|into| state(into, Level::NONE, 0, 0)), "NONE");
        assert_eq!(words(|into| state(into, Level::NONE, 0, 1)), "X WRITE");
    }

    #[test]
    fn the_longest_fit_and_what_does_not_is_left_out() {
        let longest = words(|into| state(into, Level(200), 0b0101_0101, 0b1010_1010));
        assert_eq!(longest, "lock#200, S WRITE, S RECOVER, S READ1, S READ3, X CKPT, X READ0, X READ2, X READ4");
        assert!(words(|into| (0..100).for_each(|_| into.part(",", format_args!("1234")))).len() == Words::MOST);
    }
}
