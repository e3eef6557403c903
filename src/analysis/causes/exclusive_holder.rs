//! What somebody who locks all others out of the database file is doing.
//!
//! A writer comes to EXCLUSIVE by way of RESERVED; everybody else goes there straight from SHARED: who plays a journal back looks at it first
//! (`xCheckReservedLock`), who closes last or leaves WAL mode holds no reader's slot, who enters exclusive locking mode in WAL holds one.
#![forbid(unsafe_code)]

use super::case::Case;
use super::sql;
use crate::analysis::locks::activity::Work;
use crate::analysis::locks::blocking_holds::{Ending, Holding};
use crate::trace::total;
use locktrace::event::Level;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nature {
    Commit,
    HotJournal,
    LastClose,
    ExclusiveMode,
    ModeSwitch,
    Unknown,
}

/// A commit that has synced the database file has nothing left to do but to end its journal; this long, and far longer than all its work, is another
/// thing.
const TAIL_NS: u64 = 50_000_000;

/// A hold without any work in it that lasts this long was not for a commit alone.
const SILENT_NS: u64 = 1_000_000_000;

/// What the time after the last thing that a commit has to do says: whether EXCLUSIVE outlived it.
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
/// `pager_end_transaction`), also where it is rolled back; straight to NONE goes who kept the lock over transactions and closes.
fn tail(case: &Case<'_>, holding: &Holding) -> Tail {
    let commits = holding.work.iter().filter(|stretch| stretch.0 == Work::SyncDatabase).count();
    let ns = |from, to| case.times.ns(holding.who.log, from, to).unwrap_or(0);
    let worked = total(holding.work.iter().map(|stretch| ns(stretch.1, stretch.2)));
    let after = holding.work.iter().skip_while(|stretch| stretch.0 != Work::SyncDatabase);
    let starts = after.clone().skip(1).map(|stretch| stretch.1).chain(case.end(holding));
    let longest = after.zip(starts).map(|(stretch, next)| ns(stretch.2, next)).max().unwrap_or(0);
    let released = matches!(holding.ending, Ending::Released(_, Some(_)));
    if !case.is_whole(holding) {
        return Tail::None;
    }
    if commits > 1 || (longest >= TAIL_NS && longest >= 2 * worked) {
        return Tail::Outlived;
    }
    match holding.level_after {
        _ if longest < TAIL_NS => Tail::None,
        Level::NONE if released => Tail::Outlived,
        Level::SHARED => Tail::None,
        _ => Tail::Unclear,
    }
}

pub(super) fn nature(case: &Case<'_>, holding: &Holding) -> Nature {
    let Some(level) = holding.lock.level() else { return Nature::Unknown };
    let alone = &holding.alone;
    let text = |hash| case.trace.log(holding.who.log).names.sql(hash).map(|sql| sql.text.text.as_str());
    let released = matches!(holding.ending, Ending::Released(_, Some(_)));
    if !holding.seen {
        return Nature::Unknown;
    }
    if alone.from_shared {
        return match alone {
            _ if alone.outlived || alone.reading => Nature::ExclusiveMode,
            // It has the WAL to itself: to delete it, and either stay or go.
            _ if alone.wal && alone.again => Nature::ModeSwitch,
            _ if alone.wal && released && holding.level_after == Level::NONE => Nature::LastClose,
            _ if alone.wal && released => Nature::ModeSwitch,
            _ if !alone.wal && alone.checked => Nature::HotJournal,
            _ => Nature::Unknown,
        };
    }
    if [holding.sql, holding.release_sql].into_iter().any(|hash| text(hash).is_some_and(sql::is_journal_mode)) {
        return Nature::ModeSwitch;
    }
    let length = case.length(holding).unwrap_or(0);
    // What it did is not known: one that was so short was a commit.
    if !case.is_whole(holding) && length >= TAIL_NS {
        return Nature::Unknown;
    }
    match tail(case, holding) {
        Tail::Outlived => return Nature::ExclusiveMode,
        Tail::Unclear => return Nature::Unknown,
        Tail::None => {}
    }
    // In exclusive mode without syncs nothing at all is seen: only a transaction that was begun so explains a long silence.
    let begun = [holding.sql, holding.release_sql]
        .into_iter()
        .any(|hash| text(hash).is_some_and(|text| sql::is_begin(text) || sql::is_end(text)));
    if level == Level::EXCLUSIVE && length >= SILENT_NS && holding.work.is_empty() && !begun {
        return Nature::Unknown;
    }
    Nature::Commit
}
