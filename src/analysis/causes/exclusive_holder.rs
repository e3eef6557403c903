//! The nature of a hold that locks all other connections out of the database file: a commit, a rollback, a close, or a mode.
//!
//! A writer comes to EXCLUSIVE by way of RESERVED; all others ask for it straight from SHARED. A connection that plays a journal back looks at it first
//! (`xCheckReservedLock`). One that closes last or leaves WAL mode holds no reader's slot, and one that enters exclusive locking mode in WAL holds one.
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

/// A commit that has synced the database file has nothing left to do but to end its journal. A silence this long, and far longer than all
/// its work, is another thing.
const TAIL_NS: u64 = 50_000_000;

/// A hold without any work in it that lasts this long was not for a commit alone.
const SILENT_NS: u64 = 1_000_000_000;

/// Whether EXCLUSIVE outlived the last thing that a commit has to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// It did: with nothing done for long, for the next commit, or until its connection closed.
    Outlived,
    /// There was none to speak of, or it ended as commits end.
    None,
    /// It may have: a slow end of the journal looks the same.
    Unclear,
}

/// A commit was over, its database file synced, and EXCLUSIVE was kept. The end of a transaction goes back to SHARED first (pager.c:
/// `pager_end_transaction`), also where it is rolled back. A connection that kept the lock over transactions goes straight to NONE when it
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
    let alone = &hold.exclusive_use;
    let text = |hash| case.trace.log(hold.who.log).names.sql(hash).map(|sql| sql.text.text.as_str());
    let released = matches!(hold.end, HoldEnd::Released(..));
    if !hold.seen {
        return Nature::Unknown;
    }
    if alone.from_shared {
        return match alone {
            _ if alone.outlived || alone.reading => Nature::ExclusiveMode,
            // It has the WAL to itself: to delete it, and either stay or go.
            _ if alone.wal && alone.again => Nature::ModeSwitch,
            _ if alone.wal && released && hold.level_after == Level::NONE => Nature::LastClose,
            _ if alone.wal && released => Nature::ModeSwitch,
            _ if !alone.wal && alone.checked => Nature::HotJournal,
            _ => Nature::Unknown,
        };
    }
    if [hold.sql, hold.release_sql].into_iter().any(|hash| text(hash).is_some_and(sql::is_journal_mode)) {
        return Nature::ModeSwitch;
    }
    let length = case.length(hold).unwrap_or(0);
    // What it did is not known. Only a hold that was so short was certainly a commit.
    if !case.is_whole(hold) && length >= TAIL_NS {
        return Nature::Unknown;
    }
    match tail(case, hold) {
        Tail::Outlived => return Nature::ExclusiveMode,
        Tail::Unclear => return Nature::Unknown,
        Tail::None => {}
    }
    // In exclusive mode without syncs nothing at all is seen: only a transaction that was begun so explains a long silence.
    let begun = [hold.sql, hold.release_sql]
        .into_iter()
        .any(|hash| text(hash).is_some_and(|text| sql::is_begin(text) || sql::is_end(text)));
    if level == Level::EXCLUSIVE && length >= SILENT_NS && hold.work.is_empty() && !begun {
        return Nature::Unknown;
    }
    Nature::Commit
}
