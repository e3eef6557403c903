//! Threads that are cancelled while they are recorded.
//!
//! Cancelling unwinds the thread's stack from a cancellation point. Where the recorder is on the stack (below its own calls of the system,
//! or above SQLite's `write`, `fsync`, `open` and `nanosleep`), it must let that pass.

use crate::harness::{Host, With, equal};

fn cancelled(work: &str, rounds: &str) {
    let Some(host) = Host::of(&["cancelled"]) else { return };
    let bare = host.run(With::Nothing, &["cancelled", work, rounds]);
    assert_eq!((bare.seen.code, &*bare.seen.err), (0, ""), "{}", bare.seen.out);
    assert!(bare.seen.out.starts_with(&format!("cancelled {rounds} of {rounds}\n")), "{}", bare.seen.out);
    for with in [With::Run, With::Extension] {
        let mut traced = host.run(with, &["cancelled", work, rounds]);
        // Which journals and databases are left depends on the instants.
        traced.seen.files.clone_from(&bare.seen.files);
        equal(&format!("{with:?} {work}"), &bare, &traced);
        assert!(traced.records().0 > 0, "{with:?} {work}: nothing was recorded, so nothing was tested");
    }
}

#[test]
fn cancelled_while_new_statements_are_named() {
    cancelled("texts", "150");
}

#[test]
fn cancelled_while_locks_are_refused() {
    cancelled("refused", "150");
}

#[test]
fn cancelled_while_the_busy_handler_sleeps() {
    cancelled("sleeps", "100");
}

#[test]
fn cancelled_while_a_rollback_journal_is_written_and_synced() {
    cancelled("writes", "100");
}

#[test]
fn cancelled_while_a_wal_is_written_and_checkpointed() {
    cancelled("wal", "100");
}

#[test]
fn cancelled_while_databases_are_opened() {
    cancelled("opens", "100");
}
