//! `locktrace top`: its state, its drawings, and the whole command on a terminal beside programs that run.
#![allow(clippy::unwrap_used)]

mod beside;
mod fleet;
mod lapped;
mod screen;
mod state;
mod terminal;
mod tmux;

use crate::common::{Process, anchor_at};
use shim::format::header::{Anchor, ClockKind};
use sqlite_locktrace::analysis::current::{Current, Snapshot, When};
use sqlite_locktrace::trace::Trace;

/// The clock of the scenarios, at this many microseconds.
fn clock_at(us: u64) -> (ClockKind, [u8; 16], Anchor) {
    (ClockKind::Tsc, *b"0123456789abcdef", anchor_at(us))
}

/// A trace of these processes. The directory may go once it is read.
fn trace_of(processes: &[&Process]) -> (tempfile::TempDir, Trace) {
    let dir = tempfile::tempdir().unwrap();
    processes.iter().for_each(|process| process.write(dir.path()));
    let trace = Trace::open(dir.path()).unwrap();
    (dir, trace)
}

/// How things stand after all of a trace, at this many microseconds.
fn after(trace: &Trace, us: u64) -> (Current, Snapshot) {
    let when = When { trace, here: clock_at(us) };
    let mut now = Current::default();
    now.count();
    trace.events().unwrap().for_each(|event| now.event(&when, &event));
    let snapshot = now.snapshot(&when);
    (now, snapshot)
}
