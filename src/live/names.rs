//! The names for the numbers in events, read from this process's own names file when an event needs them.
//!
//! The recorder writes a name before the first record that needs it. So a name that is unknown so far is in the part that the file has grown by,
//! or nowhere.
#![forbid(unsafe_code)]

use crate::trace::Names;
use crate::trace::growing_lines::GrowingLines;
use shim::recorder::Log;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The names of this process's logs. Usually there is one log.
#[derive(Debug, Default)]
pub(super) struct LiveNames {
    logs: Mutex<HashMap<u32, NamesSoFar>>,
}

#[derive(Debug, Default)]
struct NamesSoFar {
    names: Names,
    lines: GrowingLines,
}

impl LiveNames {
    /// Applies `find` to the names of this log, and again after reading on if it finds nothing.
    pub(super) fn find<R>(&self, log: &Log, find: impl Fn(&Names) -> Option<R>) -> Option<R> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let known = logs.entry(log.serial()).or_default();
        if let Some(found) = find(&known.names) {
            return Some(found);
        }
        known.read_on(log);
        find(&known.names)
    }
}

impl NamesSoFar {
    fn read_on(&mut self, log: &Log) {
        let mut read = |from: u64, len: usize| {
            let mut bytes = vec![0; len];
            let n = log.copy_names(from, &mut bytes);
            bytes.truncate(n);
            Some(bytes)
        };
        let names = &mut self.names;
        self.lines.read(Instant::now(), &mut read, &mut |line| {
            if let Ok(line) = serde_json::from_slice(line) {
                // A line that cannot be parsed is skipped.
                let _ = names.take(line);
            }
        });
    }
}
