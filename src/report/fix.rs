//! What removes a cause, in one or two sentences, with its limits; in the words of the host where the trace proves which one it is.
//!
//! In comes an incident; out goes text. Called by the reports.
#![forbid(unsafe_code)]

use super::host::Hosts;
use super::setting::{self, Remedy};
use crate::analysis::{Analysis, Cause, Contributing, Incident, Role};

/// What to change.
pub fn of(analysis: &Analysis<'_>, hosts: &Hosts, incident: &Incident) -> String {
    let mut text = Vec::new();
    let remedy = Remedy::of(incident.cause);
    // Whoever waits for himself waits in vain.
    if incident.contributing.contains(&Contributing::SameThreadHolder) {
        text.push(SAME_THREAD);
        if remedy != Some(Remedy::Timeout) {
            text.push(general(incident.cause));
        }
    } else {
        text.push(general(incident.cause));
        let words = remedy.and_then(|remedy| setting::of(hosts.host(incident.who)?, remedy));
        text.extend(words);
    }
    if remedy == Some(Remedy::Wal) {
        text.push(WAL_LIMITS);
    }
    let in_the_way = incident.blockers.first().map(|blocker| analysis.holdings[blocker.holding as usize].who);
    text.extend(in_the_way.and_then(|who| setting::let_go(hosts.host(who)?)));
    text.join(" ")
}

const SAME_THREAD: &str = "Holder and victim are the same thread: while it waits it cannot let go, so that no timeout can help. Use one connection for one unit of \
                           work, await nothing inside a transaction, and open no second connection in it.";

/// What WAL asks for, and what it does not do.
const WAL_LIMITS: &str = "(WAL is kept in the file, so that it is set once. All processes must then be on one host, not on a network file system; writers still take \
                          turns; and before SQLite 3.51.3 it is safer without mmap_size.)";

fn general(cause: Cause) -> &'static str {
    match cause {
        Cause::UpgradeRefused => {
            "Begin transactions that will write with BEGIN IMMEDIATE: the busy timeout applies there. A longer timeout alone cannot help: SQLite does not wait for the \
             write lock once the transaction reads. Whoever meets SQLITE_BUSY inside a transaction has to roll back and try all of it again."
        }
        Cause::StaleSnapshot => {
            "Begin transactions that will write with BEGIN IMMEDIATE, so that they read what is newest; on SQLITE_BUSY_SNAPSHOT roll back and try the \
             whole transaction again. A longer timeout cannot help: what was read stays old."
        }
        Cause::HoldExceedsTimeout => {
            "Shorten the hold that is named first; then raise the busy timeout above what is left. There is one writer at a time in every journal mode: WAL \
             does not help writers against writers."
        }
        Cause::NoBusyTimeout => {
            "Set a busy timeout (sqlite3_busy_timeout, PRAGMA busy_timeout=5000) on every connection of every pool, before its first statement."
        }
        Cause::ReaderBlocksCommit => {
            "Finish or reset the reader's statements and end its transaction; or switch to WAL, where readers and the writer do not keep each other out."
        }
        Cause::CommitBlocksReader => {
            "Switch to WAL, where a commit does not keep readers out; otherwise make commits shorter and set a busy timeout for readers."
        }
        Cause::CheckpointStarved => {
            "End the read transaction that is named, and leave moments in which nobody reads from the WAL, so that it can be copied and begun anew. No statement \
             fails by this, but the WAL grows without limit. More checkpoints cannot help: none passes what somebody still reads."
        }
        Cause::CheckpointConvoy => {
            "Checkpoint with PASSIVE while readers are at work: FULL, RESTART and TRUNCATE keep writers out while they wait for readers. Shorten the \
             readers that are named."
        }
        Cause::CheckpointContended => "Let one connection alone checkpoint; what the other one copies need not be copied again.",
        Cause::WalRecovery => {
            "Set the busy timeout before the first statement of every connection: recovery of the wal-index after a crash takes a moment. It does not happen \
             again until the next crash."
        }
        Cause::WalProtocolRetry => {
            "Find who holds WRITE while the wal-index is out of order: a writer that was stopped, or a process that died. No timeout applies here."
        }
        Cause::LastClose => {
            "Keep one connection open for as long as the program runs: the last one to close copies the WAL and deletes it, alone. A busy timeout \
             covers the moment otherwise."
        }
        Cause::HotJournal => {
            "A writer died in a commit, and its journal is played back: set a busy timeout for that moment, and find out why it died."
        }
        Cause::ExclusiveMode => {
            "Set PRAGMA locking_mode=NORMAL on the connection that is named, and read once, so that it lets go; or use one connection only. A connection \
             that was in exclusive mode before it first read a WAL cannot leave it in WAL mode: close that one."
        }
        Cause::JournalModeSwitch => {
            "Set the journal mode once, at deployment, while nobody else has the database open: WAL is kept in the file. A timeout does not always \
             apply to the change."
        }
        Cause::UntracedHolder => "The holder is not traced: trace that process, too, or end it.",
        Cause::Unexplained => {
            "The trace does not prove why. Trace every process that opens the database, with a larger LOCKTRACE_LIMIT if records were lost."
        }
    }
}

/// What a record shows, in words.
pub fn shows(role: Role) -> &'static str {
    match role {
        Role::Reading => "the victim begins to read",
        Role::Took => "the holder takes the lock",
        Role::FirstRefused => "the victim is refused",
        Role::LastRefused => "the victim is refused, for the last time",
        Role::Next => "how the victim goes on",
        Role::Granted => "the victim gets it",
        Role::GaveUp => "the holder gives it up",
        Role::Committed => "another connection's commit ends",
        Role::TookWrite => "the victim takes WRITE",
        Role::GaveWriteUp => "the victim gives WRITE up with nothing written",
    }
}
