//! What removes a cause, in one or two sentences, with its limits; in the words of the host where the trace proves which one it is.
//!
//! Input: an incident. Output: text. Called by the reports.
#![forbid(unsafe_code)]

use super::host::Hosts;
use super::setting::{self, Remedy};
use super::words;
use crate::analysis::{Analysis, Cause, Contributing, HazardKind, Incident, IncidentEnd, Request, Role, State};
use shim::event::Level;
use std::borrow::Cow;

/// What to change.
pub fn of(analysis: &Analysis<'_>, hosts: &Hosts, incident: &Incident) -> String {
    let mut text: Vec<Cow<'static, str>> = Vec::new();
    let remedy = Remedy::of(incident.cause);
    let holder = incident.blockers.first().map(|blocker| &analysis.blocking_holds[blocker.hold as usize]);
    let worse = || incident.contributing.iter().filter_map(|item| worse(incident, *item));
    // Whoever waits for himself waits in vain, also for a lock that he asks for at the beginning.
    if incident.contributing.contains(&Contributing::SameThreadHolder) {
        text.push(SAME_THREAD.into());
        if !matches!(remedy, Some(Remedy::Timeout | Remedy::Immediate)) {
            text.push(general(incident).into());
        }
        text.extend(worse().map(Cow::Owned));
    } else {
        text.push(general(incident).into());
        text.extend(worse().map(Cow::Owned));
        text.extend(is_silent(analysis, incident).then_some(Cow::Borrowed(SILENT)));
        let words = remedy.and_then(|remedy| setting::of(hosts.host(incident.who)?, remedy));
        text.extend(words.map(Cow::Borrowed));
    }
    if remedy == Some(Remedy::Wal) {
        text.push(WAL_LIMITS.into());
    }
    if let Some(holding) = holder {
        let taken = words::sql(analysis, holding.who, holding.sql);
        if incident.cause == Cause::CommitBlocksReader && taken.is_some_and(|sql| is_begin_exclusive(&sql)) {
            text.push(BEGIN_EXCLUSIVE.into());
        }
        text.extend(hosts.host(holding.who).and_then(setting::let_go).map(Cow::Borrowed));
    }
    text.join(" ")
}

const SAME_THREAD: &str = "Holder and victim are the same thread: while it waits it cannot let go, so that no timeout can help. Use one connection for one unit of \
                           work, await nothing inside a transaction, and open no second connection in it.";

const LAST_CALL: &str = "The refused process made no call after that: it had no busy timeout and ended with the error, or it was ended while it waited. Nobody can tell which; either \
                         way, shorten the hold that is named, and set a busy timeout (sqlite3_busy_timeout, PRAGMA busy_timeout=5000) that is longer than what is left.";

/// Who was in the way is known, and nothing follows.
fn is_last_call(incident: &Incident) -> bool {
    let writes = matches!(incident.request, Request::File(Level::RESERVED) | Request::Shm { mask: 1, exclusive: true });
    writes && incident.end == IncidentEnd::Open && incident.blockers.first().is_some_and(|blocker| blocker.certain)
}

const SILENT: &str = "What the holder did meanwhile the trace does not tell: its statement ran on, or its transaction was left open, without COMMIT or ROLLBACK (one that \
                      was forgotten, or that an exception passed by).";

/// Shorter holds need no explanation.
const SILENT_NS: u64 = 100_000_000;

/// A writer stood in the way for long, and nothing is known of it but that it held the lock.
fn is_silent(analysis: &Analysis<'_>, incident: &Incident) -> bool {
    let Some(blocker) = incident.blockers.first().filter(|blocker| blocker.certain && blocker.state == State::Running) else {
        return false;
    };
    let writes = matches!(incident.cause, Cause::HoldExceedsTimeout | Cause::NoBusyTimeout | Cause::UpgradeRefused);
    let waited = analysis.ns(incident.who.log, incident.first, incident.until).unwrap_or(0);
    let long = blocker.held_before_ns.is_some_and(|before| before.saturating_add(waited) >= SILENT_NS);
    writes
        && long
        && incident.contributing.is_empty()
        && analysis.blocking_holds[blocker.hold as usize].work.iter().all(|stretch| stretch.1 >= incident.until)
}

const BEGIN_EXCLUSIVE: &str = "The holder began with BEGIN EXCLUSIVE, which keeps readers out from its beginning: BEGIN IMMEDIATE lets them in until the commit.";

fn is_begin_exclusive(sql: &str) -> bool {
    let mut words = sql.split([' ', ';', '\n', '\t']).filter(|word| !word.is_empty());
    ["begin", "exclusive"].iter().all(|wanted| words.next().is_some_and(|word| word.eq_ignore_ascii_case(wanted)))
}

/// What is to be done about what made it worse; nothing where the cause's own words say it.
fn worse(incident: &Incident, contributing: Contributing) -> Option<String> {
    // It rests on one of those that were in the way, which need not be the one that is named.
    let several = incident.blockers.len() > 1 || incident.more_blockers > 0;
    let (holder, hold) = if several { ("One holder", "one hold") } else { ("The holder", "the hold") };
    Some(match contributing {
        Contributing::IdleInTransaction => format!(
            "{holder}'s transaction stood open while nothing was done in it: commit or roll back right after its last statement, also when an exception ends \
             it, and wait for nothing else (network, user, await) in between."
        ),
        Contributing::UnfinishedStatement => {
            format!("{holder}'s statement was begun and not ended: read all its rows, or reset, finalize or close it.")
        }
        Contributing::SlowSync => format!(
            "Most of {hold} was waiting for the disk (fsync): write more rows in one transaction, on a local disk; in WAL mode PRAGMA synchronous=NORMAL spares \
             the sync of each commit (the latest ones can be lost when the power fails)."
        ),
        Contributing::SlowStatement => format!(
            "One statement filled {hold}: make it faster (an index for what it looks for), or have it change fewer rows at a time."
        ),
        Contributing::WriterConvoy => {
            "Several writers took turns while it waited: let one connection, with a queue, do the writing.".to_owned()
        }
        Contributing::CheckpointInCommit => format!(
            "An automatic checkpoint ran in {hold}: raise PRAGMA wal_autocheckpoint, and checkpoint where nobody waits for it."
        ),
        Contributing::CheckpointConvoy => format!(
            "{holder} was a checkpoint that waited for a reader and kept writers out meanwhile: checkpoint with PASSIVE, or shorten that reader."
        ),
        Contributing::RollbackJournal | Contributing::SameThreadHolder => return None,
    })
}

/// What removes a hazard.
pub fn of_hazard(kind: HazardKind) -> &'static str {
    match kind {
        HazardKind::SharedCache => {
            "Open without cache=shared: its table locks answer SQLITE_LOCKED, for which no busy timeout applies."
        }
        HazardKind::PosixLockLost => {
            "Never open and close the database file beside SQLite (a copy, a checksum, another SQLite in the same process): closing it drops every lock the process has."
        }
        HazardKind::TwoSqliteLibraries => "Link one SQLite only, or open this database with one of them.",
        HazardKind::ForkedConnection => {
            "Open connections after the fork, in each process its own (gunicorn: post_fork, or no preload; multiprocessing: the spawn method, or in the initializer)."
        }
        HazardKind::NetworkFilesystem => "Put the database on a local disk.",
        HazardKind::WalResetExposure => "Use SQLite 3.51.3 or later; until then set no mmap_size, which makes it worse.",
        HazardKind::LongReadTransaction => {
            "End read transactions soon, and leave moments without any: the WAL cannot be begun anew while one reads from it."
        }
    }
}

/// What WAL asks for, and what it does not do.
const WAL_LIMITS: &str = "(WAL is kept in the file, so that it is set once. All processes must then be on one host, not on a network file system; writers still take \
                          turns; and before SQLite 3.51.3 it is safer without mmap_size.)";

fn general(incident: &Incident) -> &'static str {
    match incident.cause {
        Cause::Unexplained if is_last_call(incident) => LAST_CALL,
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
            "Set a busy timeout (sqlite3_busy_timeout, PRAGMA busy_timeout=5000) on every connection of every pool, before its first statement. It helps where the \
             hold that is named is shorter than it."
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
            "A writer died while it was writing, and its journal is played back: set a busy timeout for that moment, and find out why it died."
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
        Role::GaveWriteUp => "the victim gives WRITE up, unused",
    }
}
