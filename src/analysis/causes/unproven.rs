//! `unexplained`: the cause of a wait for which no rule proves another one.
#![forbid(unsafe_code)]

use super::entry::{COMMON, Entry};

pub(super) static UNEXPLAINED: Entry = Entry {
    id: "unexplained",
    meaning: "These records prove none of the known causes. The holder may be outside the trace, or a decisive record was lost.",
    change: "Trace every process that opens the database, with a larger LOCKTRACE_LIMIT if records were lost.",
    timeout: "Whether a busy timeout helps is not known.",
    example: "\
A: BEGIN IMMEDIATE;              -- not traced, and gone before the kernel was asked
B: INSERT INTO t VALUES(1);      -- database is locked",
    scenario: "unexplained.py",
    ..COMMON
};
