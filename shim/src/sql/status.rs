//! `locktrace_status`: the state of the recorder, in one row.
#![forbid(unsafe_code)]

use super::cell::{Value, integer, text};
use crate::recorder::control::{Brief, brief};
use crate::vfs::live;

/// The row.
#[derive(Debug)]
pub(super) struct Status {
    state: Brief,
    open_files: usize,
}

impl Status {
    /// The present state.
    pub(super) fn now() -> Status {
        Status { state: brief(), open_files: live::open_files() }
    }

    pub(super) fn value(&self, column: usize) -> Value<'_> {
        let state = &self.state;
        match column {
            0 => Value::Text(state.recording.name().as_bytes()),
            1 => Value::Text(state.dir),
            2 => text(state.log),
            3 => integer(state.records),
            4 => integer(state.lost),
            5 => integer(state.lost_names),
            6 => integer(state.limit),
            7 => Value::Text(state.sql.name().as_bytes()),
            8 => integer(self.open_files),
            9 => integer(crate::recorder::pid()),
            10 => Value::Text(env!("CARGO_PKG_VERSION").as_bytes()),
            _ => Value::Null,
        }
    }
}
