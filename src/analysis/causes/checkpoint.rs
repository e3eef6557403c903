//! `checkpoint-contended`, `checkpoint-convoy` and `checkpoint-starved`: checkpoints that were refused.
//!
//! A checkpoint holds CKPT. FULL and above also take WRITE, and keep it while they wait for readers. A PASSIVE checkpoint carries on without a lock that
//! was refused. Such a refusal becomes an incident only if the same reader refuses several and the WAL grows (`incidents/starved_checkpoints`).
#![forbid(unsafe_code)]

use super::case::Case;
use super::entry::{COMMON, Condition, Entry};
use crate::analysis::locks::lock::Request;
use shim::event::Slot;

const CKPT: u8 = 1 << Slot::CKPT.0;

fn asks_for_checkpoint(case: &Case<'_>) -> bool {
    case.wait.request == Request::Shm { mask: CKPT, exclusive: true }
}

fn nobody_recovers(case: &Case<'_>) -> bool {
    !case.proven().any(|candidate| candidate.hold.did.recoveries > 0)
}

/// A victim that asks for a reader's slot holds CKPT, and perhaps WRITE: for other connections such a refusal is no incident.
fn asks_for_readers_slot(case: &Case<'_>) -> bool {
    case.wait.request.is_optional()
}

fn asked_again(case: &Case<'_>) -> bool {
    case.wait.attempts > 1
}

/// SQLite calls no busy handler for CKPT unless the checkpoint asks for one.
pub(super) static CHECKPOINT_CONTENDED: Entry = Entry {
    id: "checkpoint-contended",
    conditions: &[
        Condition { what: "The victim asked for CKPT: it wanted to checkpoint.", holds: asks_for_checkpoint },
        Condition { what: "No proven holder was rebuilding the wal-index.", holds: nobody_recovers },
    ],
    meaning: "One checkpoint runs at a time. SQLite does not wait for the other one: it returns busy.",
    change: "Let one connection do all checkpoints.",
    timeout: "No busy timeout applies: SQLite calls no busy handler for CKPT.",
    example: "\
A: PRAGMA wal_checkpoint(TRUNCATE);
B: PRAGMA wal_checkpoint;        -- returns busy=1: A's is running",
    scenario: "checkpoint_contended.py",
    ..COMMON
};

pub(super) static CHECKPOINT_CONVOY: Entry = Entry {
    id: "checkpoint-convoy",
    conditions: &[
        Condition {
            what: "The victim is a checkpoint that asked for the slot of a reader (READ0 to READ4).",
            holds: asks_for_readers_slot,
        },
        Condition { what: "It asked more than once: it waited, and kept writers out.", holds: asked_again },
    ],
    meaning: "This checkpoint took the write lock and then waited for a reader. Nobody could write while it waited.",
    change: "Use PASSIVE checkpoints while readers are active, and shorten the readers that are named.",
    why: "FULL, RESTART and TRUNCATE keep the write lock while they wait for readers.",
    timeout: "A longer busy timeout lets the checkpoint wait, and block writers, for longer.",
    example: "\
A: BEGIN; SELECT * FROM t;       -- and stays open
B: PRAGMA wal_checkpoint(TRUNCATE);   -- holds WRITE and waits for A
C: INSERT INTO t VALUES(1);      -- waits for B",
    scenario: "checkpoint_convoy.py",
    ..COMMON
};

pub(super) static CHECKPOINT_STARVED: Entry = Entry {
    id: "checkpoint-starved",
    conditions: &[Condition {
        what: "The victim is a checkpoint that asked for the slot of a reader (READ0 to READ4) and was refused. A PASSIVE one counts where the same reader \
               refused several and the WAL grew meanwhile.",
        holds: asks_for_readers_slot,
    }],
    meaning: "A checkpoint copies the WAL into the database file, but not past what a reader still needs. The holder's read \
              transaction blocked it, and SQLite could not restart the WAL from its beginning.",
    change: "End the read transaction that is named, and leave moments in which nobody reads from the WAL.",
    why: "No statement fails, but the WAL grows without limit. Running more checkpoints does not help: a checkpoint cannot go \
              past the oldest reader.",
    holder_changes: true,
    timeout: "A busy timeout does not help: the checkpoint is blocked for as long as the reader reads.",
    example: "\
A: BEGIN; SELECT * FROM t;       -- and stays open
B: INSERT INTO t VALUES(1);      -- again and again: no checkpoint gets past A, the WAL grows",
    scenario: "checkpoint_starved.py",
    ..COMMON
};
