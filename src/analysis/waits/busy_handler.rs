//! The delays of SQLite's busy handler, the number of its attempts, and sleeps that no record assigns to a connection.
//!
//! The delays distinguish a statement that still waits from the application's next one.
//!
//! The recorder assigns a sleep to the connection whose call was refused just before. SQLite can also call the busy handler when no lock call was refused. A
//! statement that begins by writing may find that another connection has committed since it began to read. It takes WRITE, releases it and
//! waits (btree.c: `sqlite3BtreeBeginTrans` takes `SQLITE_BUSY_SNAPSHOT` for `SQLITE_BUSY` there). A thread that slept has a busy handler.
#![forbid(unsafe_code)]

use crate::trace::LogId;
use std::collections::HashMap;

/// The longest time between two attempts of one wait if SQLite did not sleep in between. A later attempt is the application's next try: no
/// busy handler in use waits that long, and SQLite's own sleeps 100 ms at most.
pub(crate) const PATIENCE_NS: u64 = 200_000_000;

/// The longest time between two attempts of a connection that finds the wal-index unusable and no other connection repairing it. It sleeps
/// up to 323 ms between attempts (wal.c: `walTryBeginRead`).
pub(crate) const RETRY_PATIENCE_NS: u64 = 650_000_000;

/// After so many of these attempts SQLite answers `SQLITE_PROTOCOL`.
pub(crate) const RETRIES: u32 = 100;

/// The sleeps of SQLite's own busy handler after the first refusals, in microseconds; the last one repeats (main.c:
/// `sqliteDefaultBusyCallback`). If less is left of the timeout, it sleeps only that, and gives up after the next refusal.
const DELAYS_US: [u64; 12] = [1_000, 2_000, 5_000, 10_000, 15_000, 20_000, 25_000, 25_000, 25_000, 50_000, 50_000, 100_000];

/// Whether the sleep with this number, counted from 0, was cut short by the end of the timeout.
pub(crate) fn is_cut(number: u32, us: u64) -> bool {
    us < DELAYS_US[(number as usize).min(DELAYS_US.len() - 1)]
}

/// How many threads are kept one by one.
const MANY: usize = 4096;

/// The sleeps that no record assigns to a connection.
#[derive(Default)]
pub(crate) struct UnownedSleeps {
    /// The number of the latest such record, by thread.
    of: HashMap<(LogId, u32), u64>,
    /// The number of the latest such record of any thread, by log. Used if there were more than `MANY` threads.
    of_any: HashMap<LogId, u64>,
}

impl UnownedSleeps {
    /// Notes the record of a sleep that names no connection.
    #[cold]
    pub(crate) fn slept(&mut self, log: LogId, tid: u32, number: u64) {
        if self.of.len() >= MANY {
            for ((log, _), number) in self.of.drain() {
                let latest = self.of_any.entry(log).or_default();
                *latest = number.max(*latest);
            }
        }
        self.of.insert((log, tid), number);
    }

    /// Whether this thread may have slept so after the record with this number.
    pub(crate) fn since(&self, log: LogId, tid: u32, number: u64) -> bool {
        let latest = self.of.get(&(log, tid)).max(self.of_any.get(&log));
        latest.is_some_and(|&latest| latest > number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_threads_the_latest_sleep_counts_for_all() {
        let (log, other) = (LogId(3), LogId(4));
        let mut asleep = UnownedSleeps::default();
        for tid in 1..=MANY as u32 {
            asleep.slept(log, tid, 10 + u64::from(tid));
        }
        assert!(asleep.since(log, 1, 10) && !asleep.since(log, 1, 11) && !asleep.since(log, 0, 0));
        asleep.slept(log, 9, 20_000);
        assert!(asleep.of.len() == 1 && asleep.since(log, 9, 19_999));
        assert!(asleep.since(log, 1, 4_000) && !asleep.since(log, 1, 4_106), "the latest of all of them");
        assert!(!asleep.since(other, 1, 0));
    }
}
