//! The nature of a hold that locks all other connections out of the database file: a commit, a rollback, a close, or a mode.
//!
//! A writer gets EXCLUSIVE by way of RESERVED. All others ask for it straight from SHARED. A connection that plays a journal back first checks whether a
//! writer is alive (`xCheckReservedLock`). A connection that closes last or leaves WAL mode holds no reader's slot. One that enters exclusive locking
//! mode in WAL holds one.
#![forbid(unsafe_code)]

use super::case::Case;
use super::sql;
use crate::analysis::locks::activity::Work;
use crate::analysis::locks::blocking_holds::BlockingHold;
use crate::analysis::locks::state::HoldEnd;
use crate::trace::total;
use shim::event::Level;

/// What a connection that locks all others out is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nature {
    Commit,
    HotJournal,
    LastClose,
    ExclusiveMode,
    ModeSwitch,
    Unknown,
}

/// The longest silence of a commit that has synced the database file and only has to end its journal. A silence that is longer, and far
/// longer than all of the commit's work, has another reason.
const TAIL_NS: u64 = 50_000_000;

/// A hold this long with no work in it was for more than a commit.
const SILENT_NS: u64 = 1_000_000_000;

/// Whether EXCLUSIVE outlived the last step of a commit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// It did: the connection did nothing for long, made another commit, or closed.
    Outlived,
    /// It did not: the time after the commit's last step was short, or the hold ended as commits end.
    None,
    /// It may have: a slow end of the journal looks the same.
    Unclear,
}

/// Whether the connection kept EXCLUSIVE after a commit had synced the database file. The end of a transaction, also a rollback, goes back
/// to SHARED first (pager.c: `pager_end_transaction`). A connection that kept the lock over transactions goes straight to NONE when it
/// closes.
fn tail(case: &Case<'_>, hold: &BlockingHold) -> Tail {
    let commits = hold.work.iter().filter(|stretch| stretch.0 == Work::SyncDatabase).count();
    let ns = |from, to| case.times.ns(hold.who.log, from, to).unwrap_or(0);
    let worked = total(hold.work.iter().map(|stretch| ns(stretch.1, stretch.2)));
    let after = hold.work.iter().skip_while(|stretch| stretch.0 != Work::SyncDatabase);
    let starts = after.clone().skip(1).map(|stretch| stretch.1).chain(case.end(hold));
    let longest = after.zip(starts).map(|(stretch, next)| ns(stretch.2, next)).max().unwrap_or(0);
    let released = matches!(hold.end, HoldEnd::Released(..));
    if !case.is_whole(hold) {
        return Tail::None;
    }
    if commits > 1 || (longest >= TAIL_NS && longest >= 2 * worked) {
        return Tail::Outlived;
    }
    match hold.level_after {
        _ if longest < TAIL_NS => Tail::None,
        Level::NONE if released => Tail::Outlived,
        Level::SHARED => Tail::None,
        _ => Tail::Unclear,
    }
}

pub(super) fn nature(case: &Case<'_>, hold: &BlockingHold) -> Nature {
    let Some(level) = hold.lock.level() else { return Nature::Unknown };
    let exclusive = &hold.exclusive_use;
    let text = |hash| case.trace.log(hold.who.log).names.sql(hash).map(|sql| sql.text.text.as_str());
    let released = matches!(hold.end, HoldEnd::Released(..));
    if !hold.seen {
        return Nature::Unknown;
    }
    if exclusive.from_shared {
        return match exclusive {
            _ if exclusive.outlived || exclusive.reading => Nature::ExclusiveMode,
            // The connection has the WAL to itself, to delete it. Then it either stays or closes.
            _ if exclusive.wal && exclusive.again => Nature::ModeSwitch,
            _ if exclusive.wal && released && hold.level_after == Level::NONE => Nature::LastClose,
            _ if exclusive.wal && released => Nature::ModeSwitch,
            _ if !exclusive.wal && exclusive.checked => Nature::HotJournal,
            _ => Nature::Unknown,
        };
    }
    if [hold.sql, hold.release_sql].into_iter().any(|hash| text(hash).is_some_and(sql::is_journal_mode)) {
        return Nature::ModeSwitch;
    }
    let length = case.length(hold).unwrap_or(0);
    // What the connection did is unknown. Only a shorter hold was certainly a commit.
    if !case.is_whole(hold) && length >= TAIL_NS {
        return Nature::Unknown;
    }
    match tail(case, hold) {
        Tail::Outlived => return Nature::ExclusiveMode,
        Tail::Unclear => return Nature::Unknown,
        Tail::None => {}
    }
    // In exclusive mode without syncs, the trace shows nothing at all. Only an explicit transaction explains a long silence.
    let begun = [hold.sql, hold.release_sql]
        .into_iter()
        .any(|hash| text(hash).is_some_and(|text| sql::is_begin(text) || sql::is_end(text)));
    if level == Level::EXCLUSIVE && length >= SILENT_NS && hold.work.is_empty() && !begun {
        return Nature::Unknown;
    }
    Nature::Commit
}
