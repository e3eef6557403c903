//! Times and locks in words, for SQL.
#![forbid(unsafe_code)]

use crate::event::{Level, Slot};

/// Nanoseconds since 1970 as SQLite's date functions read it: `2025-01-31 12:34:56.123456`, in UTC.
pub(super) fn time(real_ns: u64) -> String {
    let (seconds, micros) = (real_ns / 1_000_000_000, real_ns % 1_000_000_000 / 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02}.{micros:06}", second % 60)
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

/// `S` or `X` and the slots, as in `X READ1..READ4`; `None` for none of them.
pub(super) fn slots(mask: u8, how: &str) -> Option<String> {
    let mut parts = Vec::new();
    let mut slot = 0;
    while slot < Slot::COUNT {
        let first = slot;
        while slot < Slot::COUNT && mask & (1 << slot) != 0 {
            slot += 1;
        }
        match slot - first {
            0 => slot += 1,
            1 => parts.push(format!("{how} {}", Slot(first))),
            _ => parts.push(format!("{how} {}..{}", Slot(first), Slot(slot - 1))),
        }
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Everything held of a wal-index.
pub(super) fn held_slots(shared: u8, exclusive: u8) -> Option<String> {
    let parts: Vec<String> = [slots(shared, "S"), slots(exclusive, "X")].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// A level and slots together; `NONE` where nothing is held.
pub(super) fn state(level: Level, shared: u8, exclusive: u8) -> String {
    match held_slots(shared, exclusive) {
        None => level.to_string(),
        Some(slots) if level == Level::NONE => slots,
        Some(slots) => format!("{level}, {slots}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_calendar_times() {
        assert_eq!(time(0), "1970-01-01 00:00:00.000000");
        assert_eq!(time(951_782_400_000_000_000), "2000-02-29 00:00:00.000000");
        assert_eq!(time(1_735_689_599_999_999_999), "2024-12-31 23:59:59.999999");
        assert_eq!(time(4_107_542_400_123_456_000), "2100-03-01 00:00:00.123456");
    }

    #[test]
    fn slots_in_words() {
        assert_eq!(held_slots(0, 0), None);
        assert_eq!(held_slots(0b1_0000, 0b1).unwrap(), "S READ1, X WRITE");
        assert_eq!(slots(0b1111_0110, "X").unwrap(), "X CKPT..RECOVER, X READ1..READ4");
        assert_eq!(state(Level::SHARED, 0b1000, 0), "SHARED, S READ0");
        assert_eq!(state(Level::NONE, 0, 0), "NONE");
    }
}
