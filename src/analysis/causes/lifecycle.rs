//! `last-close`, `hot-journal`, `exclusive-mode` and `journal-mode-switch`: opening, closing and changing a database.
#![forbid(unsafe_code)]

use super::case::Case;
use super::entry::{COMMON, Condition, Entry, Unslept};
use super::exclusive_holder::{Nature, nature};
use super::remedy::Remedy;
use super::sql;
use crate::analysis::locks::lock::Request;
use crate::analysis::waits::wait::Wait;
use shim::event::Level;

fn refused_by(case: &Case<'_>, what: Nature) -> bool {
    case.wait.request == Request::File(Level::SHARED) && case.proven().any(|candidate| nature(case, candidate.hold) == what)
}

/// Whether the victim asked for EXCLUSIVE straight from SHARED.
fn from_shared(case: &Case<'_>) -> bool {
    case.wait.request == Request::File(Level::EXCLUSIVE) && case.wait.before.level == Level::SHARED
}

/// Whether `PRAGMA journal_mode` was refused, or blocked the victim. To leave WAL mode, a connection asks for EXCLUSIVE straight from SHARED
/// and holds no reader's slot. A closing connection does the same, and unmaps the wal-index next.
fn mode_changes(case: &Case<'_>) -> bool {
    let wait = case.wait;
    let asks =
        matches!(wait.request, Request::File(level) if level >= Level::RESERVED) && case.sql.is_some_and(sql::is_journal_mode);
    // A connection that holds SHARED and does not read keeps that lock for life: it is in WAL mode.
    let leaves = from_shared(case) && wait.before.reading.is_none() && wait.before.exclusive == 0;
    // The refusal of a connection that closes next is no incident.
    let leaves = leaves && wait.next.is_some() && !case.gap_from(wait.numbers.0);
    asks || leaves || refused_by(case, Nature::ModeSwitch)
}

/// Whether SQLite asks only once. It does so for RESERVED on the way to WAL, because the transaction is open by then (vdbe.c,
/// `OP_JournalMode`). It also does so for EXCLUSIVE, to have the WAL to itself. Another attempt is another statement.
fn asks_for_mode_once(wait: &Wait) -> bool {
    let leaves = wait.before.wal && wait.before.level == Level::SHARED && wait.request == Request::File(Level::EXCLUSIVE);
    leaves || wait.request == Request::File(Level::RESERVED)
}

/// Whether a connection in exclusive locking mode blocked the victim, or the victim wanted to enter that mode. In WAL mode, a connection
/// that enters it asks for EXCLUSIVE while it holds a reader's slot.
fn mode_is_exclusive(case: &Case<'_>) -> bool {
    // The level before may be PENDING, left over from an earlier attempt.
    let asks = case.wait.request == Request::File(Level::EXCLUSIVE);
    let enters = asks && case.wait.before.reading.is_some_and(|reading| reading.lock.slot().is_some());
    enters || refused_by(case, Nature::ExclusiveMode)
}

/// Whether another connection plays a journal back, or the victim wanted to while others were reading or doing the same.
fn journal_is_played_back(case: &Case<'_>) -> bool {
    let wants = from_shared(case) && !case.wait.before.wal && case.wait.before.checked;
    wants || refused_by(case, Nature::HotJournal)
}

/// Whether another connection closes, and has or wants the database to itself.
fn last_one_closes(case: &Case<'_>) -> bool {
    refused_by(case, Nature::LastClose)
}

pub(super) static JOURNAL_MODE_SWITCH: Entry = Entry {
    id: "journal-mode-switch",
    conditions: &[Condition {
        what: "The victim's `PRAGMA journal_mode` was refused, or it wanted to leave WAL mode; or a proven holder was changing the journal mode.",
        holds: mode_changes,
    }],
    fails_at_once: asks_for_mode_once,
    meaning: "To change between WAL and a rollback journal, a connection needs the database alone. Any other open connection blocks \
              the change. SQLite asks for some of the locks only once.",
    change: "Set the journal mode once, at deployment, while nobody else has the database open.",
    why: "WAL is kept in the file.",
    timeout: "The busy timeout does not always apply to the change.",
    example: "\
A: SELECT * FROM t;              -- any other open connection
B: PRAGMA journal_mode=DELETE;   -- database is locked: the database is in WAL mode, and A has it open",
    scenario: "journal_mode_from_wal.py",
    ..COMMON
};

pub(super) static EXCLUSIVE_MODE: Entry = Entry {
    id: "exclusive-mode",
    conditions: &[Condition {
        what: "The victim asked for SHARED, and a proven holder kept EXCLUSIVE after its transaction had ended; or the victim wanted to enter exclusive \
               locking mode.",
        holds: mode_is_exclusive,
    }],
    meaning: "With locking_mode=EXCLUSIVE a connection keeps its locks after its transaction, until it closes. No other connection \
              can use the database.",
    change: "Set PRAGMA locking_mode=NORMAL on the connection that is named and read once; or use one connection only.",
    why: "SQLite releases the locks at that read. A connection that was in exclusive mode before it first read a WAL database \
              cannot leave the mode: close it.",
    timeout: "No busy timeout helps while that connection stays open.",
    unslept: Unslept::PerhapsErrors,
    example: "\
A: PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t VALUES(1);   -- commits, and keeps the lock
B: SELECT * FROM t;              -- waits for A, then: database is locked",
    scenario: "exclusive_mode.py",
    ..COMMON
};

pub(super) static HOT_JOURNAL: Entry = Entry {
    id: "hot-journal",
    conditions: &[Condition {
        what: "A proven holder was playing back the journal of a writer that had died; or the victim wanted to, and others were reading.",
        holds: journal_is_played_back,
    }],
    meaning: "A crash had left a rollback journal behind. The holder was playing it back, for which it needs the database alone \
              (EXCLUSIVE).",
    change: "Set a busy timeout for that moment, and find out why the writer died.",
    remedy: Some(Remedy::Timeout),
    timeout: "A busy timeout that is longer than the rollback helps.",
    unslept: Unslept::PerhapsErrors,
    example: "\
A:                               -- was killed in a commit; app.db-journal is left
B: SELECT * FROM t;              -- plays the journal back
C: SELECT * FROM t;              -- waits for B; without a busy timeout: database is locked",
    scenario: "hot_journal.py",
    ..COMMON
};

pub(super) static LAST_CLOSE: Entry = Entry {
    id: "last-close",
    conditions: &[Condition {
        what: "The victim asked for SHARED, and a proven holder was closing the last connection to a WAL database.",
        holds: last_one_closes,
    }],
    meaning: "The last connection to close copies the WAL into the database file and deletes the WAL. It holds the database alone \
              meanwhile (EXCLUSIVE). The victim tried to read at that moment.",
    change: "Keep one connection open for as long as the program runs.",
    why: "Then no other close is the last one.",
    remedy: Some(Remedy::Timeout),
    timeout: "A busy timeout covers the moment otherwise.",
    unslept: Unslept::PerhapsErrors,
    example: "\
A: close()                       -- the last connection: checkpoints, deletes the WAL
B: SELECT * FROM t;              -- opens meanwhile; without a busy timeout: database is locked",
    scenario: "last_close.py",
    ..COMMON
};
