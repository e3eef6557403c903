//! What the numbers in events mean: this process's own names file, read as far as somebody asked.
//!
//! The recorder writes a name before the first record that needs it, so a name that is not known yet is in what was added to the file
//! since, or nowhere.
#![forbid(unsafe_code)]

use crate::trace::Names;
use crate::trace::growing_lines::GrowingLines;
use shim::recorder::Log;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The names of this process's logs: one, as a rule.
#[derive(Debug, Default)]
pub(super) struct LiveNames {
    logs: Mutex<HashMap<u32, Known>>,
}

#[derive(Debug, Default)]
struct Known {
    names: Names,
    lines: GrowingLines,
}

impl LiveNames {
    /// What `find` finds in the names of this log.
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

impl Known {
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
                // A line that is not understood names nothing.
                let _ = names.take(line);
            }
        });
    }
}
