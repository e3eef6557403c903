//! `untraced-holder`: the holder is outside the trace.
#![forbid(unsafe_code)]

use super::entry::{COMMON, Condition, Entry, Unslept};

pub(super) static UNTRACED_HOLDER: Entry = Entry {
    id: "untraced-holder",
    conditions: &[Condition {
        what: "No traced connection held what the victim asked for, and the kernel's lock table (/proc/locks) named a process outside the trace that did.",
        holds: |case| case.outside,
    }],
    meaning: "No traced connection held what the victim asked for. A moment later the kernel's lock table named a process that is \
              not traced.",
    change: "Trace the process that is named, too, or end it.",
    timeout: "A busy timeout helps only if that process releases the lock in time.",
    unslept: Unslept::PerhapsErrors,
    example: "\
$ sqlite3 app.db                 -- in a second terminal
sqlite> BEGIN IMMEDIATE;         -- and the terminal stays open
A: INSERT INTO t VALUES(1);      -- in the traced program: database is locked",
    scenario: "untraced_shell.py",
    ..COMMON
};
