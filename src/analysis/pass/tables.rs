//! The tables that every part of the pass uses: logs, connections and databases.
#![forbid(unsafe_code)]

use super::connections::Connections;
use super::logs::Logs;
use crate::analysis::locks::databases::Databases;
use crate::analysis::order::instants::{Instant, Times};
use crate::trace::Trace;

/// The tables that every part of the pass uses.
pub(super) struct Tables<'t> {
    pub trace: &'t Trace,
    pub times: Times<'t>,
    pub logs: Logs,
    pub conns: Connections,
    pub databases: Databases<'t>,
}

impl<'t> Tables<'t> {
    /// Empty tables that keep this many of the longest holds of each database.
    pub(super) fn new(trace: &'t Trace, longest: usize) -> Tables<'t> {
        Tables {
            trace,
            times: Times::new(trace),
            logs: Logs::new(trace.logs().len()),
            conns: Connections::default(),
            databases: Databases::new(trace, longest),
        }
    }

    /// The latest sign of life of each log.
    pub(super) fn alive(&self) -> Vec<Instant> {
        self.logs.alive(&self.times).collect()
    }
}
