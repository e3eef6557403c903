//! Sleeps of which nobody noted the connection.
//!
//! In come the `xSleep` records without one; out goes whether a thread slept like that after some record. The recorder knows for which connection a thread sleeps
//! by the call that was refused just before. But SQLite's busy handler is called without one, too: a statement that begins by writing, and finds that
//! somebody has committed since it began to read, takes WRITE, gives it up and waits (btree.c: `sqlite3BtreeBeginTrans` takes
//! `SQLITE_BUSY_SNAPSHOT` for `SQLITE_BUSY` there). Who slept has a busy handler. Called by the pass over the records.
#![forbid(unsafe_code)]

use crate::trace::LogId;
use std::collections::HashMap;

/// Threads that are remembered one by one.
const MANY: usize = 4096;

/// See the module.
#[derive(Default)]
pub(super) struct Asleep {
    /// The number of the latest such record, by thread.
    of: HashMap<(LogId, u32), u64>,
    /// Where there were too many threads: of any thread of a log.
    of_any: HashMap<LogId, u64>,
}

impl Asleep {
    /// A record of a sleep for nobody knows whom.
    #[cold]
    pub(super) fn slept(&mut self, log: LogId, tid: u32, number: u64) {
        if self.of.len() >= MANY {
            for ((log, _), number) in self.of.drain() {
                let latest = self.of_any.entry(log).or_default();
                *latest = number.max(*latest);
            }
        }
        self.of.insert((log, tid), number);
    }

    /// Whether this thread may have slept so after the record with this number.
    pub(super) fn since(&self, log: LogId, tid: u32, number: u64) -> bool {
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
        let mut asleep = Asleep::default();
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
