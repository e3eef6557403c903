//! `unexplained`: what a wait is where no rule proves a cause.
#![forbid(unsafe_code)]

use super::entry::{COMMON, Entry, Timeout};

pub(super) static UNEXPLAINED: Entry = Entry {
    id: "unexplained",
    meaning: "None of the known causes is proven by these records. The holder may be outside the trace, or a record that tells was \
              lost.",
    change: "The trace does not prove why.",
    why: "Trace every process that opens the database, with a larger LOCKTRACE_LIMIT if records were lost.",
    timeout: Timeout::CannotHelp,
    example: "\
A: BEGIN IMMEDIATE;              -- not traced, and gone before the kernel was asked
B: INSERT INTO t VALUES(1);      -- database is locked",
    scenario: "unexplained.py",
    ..COMMON
};
