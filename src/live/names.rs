//! What the numbers in events mean: this process's own names file, read as far as somebody asked.
//!
//! In come a log and a look-up; out goes what it finds. The recorder writes a name before the first record that needs it, so a name that
//! is not known yet is in what was added to the file since, or nowhere.
#![forbid(unsafe_code)]

use crate::trace::Names;
use locktrace::recorder::{Log, MAX_NAMES_BYTES};
use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Mutex, PoisonError};

/// The names of this process's logs: one, as a rule.
#[derive(Debug, Default)]
pub(super) struct LiveNames {
    logs: Mutex<HashMap<u32, Known>>,
}

#[derive(Debug, Default)]
struct Known {
    names: Names,
    /// Bytes of the file that were taken in.
    read: u64,
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
        let Ok(bytes) = added(log, self.read) else { return };
        // The line at the end may be half written.
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        for line in bytes.get(..whole).unwrap_or_default().split(|&byte| byte == b'\n') {
            if let Ok(line) = serde_json::from_slice(line) {
                // A line that is not understood names nothing.
                let _ = self.names.take(line);
            }
        }
        self.read += whole as u64;
    }
}

/// What was added to the names file of this log from this byte on.
fn added(log: &Log, from: u64) -> io::Result<Vec<u8>> {
    let mut file = log.names_file()?;
    file.seek(SeekFrom::Start(from))?;
    // The recorder never lets it grow beyond this.
    let mut bytes = Vec::new();
    file.take(MAX_NAMES_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}
