//! What somebody who locks all others out of the database file is doing.
//!
//! A writer comes to EXCLUSIVE by way of RESERVED; everybody else goes there straight from SHARED: who plays a journal back looks at it first
//! (`xCheckReservedLock`), who closes last or leaves WAL mode holds no reader's slot, who enters exclusive locking mode in WAL holds one.
#![forbid(unsafe_code)]

use super::Case;
use crate::analysis::holding::{Ending, Holding};
use crate::analysis::sql;
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

/// A commit that has done all its work gives EXCLUSIVE up at once; this long, and most of the hold, without any is another thing.
const TAIL_NS: u64 = 50_000_000;

/// A hold without any work in it that lasts this long was not for a commit alone.
const SILENT_NS: u64 = 1_000_000_000;

pub(super) fn nature(case: &Case<'_>, holding: &Holding) -> Nature {
    let Some(level) = holding.lock.level().filter(|&level| level >= Level::PENDING) else { return Nature::Unknown };
    let alone = &holding.alone;
    let text = |hash| case.trace.log(holding.who.log).names.sql(hash).map(|sql| sql.text.text.as_str());
    let released = matches!(holding.ending, Ending::Released(_, Some(_)));
    if !holding.seen {
        return Nature::Unknown;
    }
    if alone.from_shared {
        return match alone {
            _ if alone.outlived || (alone.wal && alone.reading) => Nature::ExclusiveMode,
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
    let end = match holding.ending {
        Ending::Released(at, _) | Ending::Unseen(at) => at,
        Ending::Open => case.alive.get(holding.who.log.0 as usize).copied().unwrap_or(0),
    };
    let tail = if alone.last_work == 0 { 0 } else { case.times.ns(holding.who.log, alone.last_work, end).unwrap_or(0) };
    if alone.database_syncs > 1 || (alone.database_syncs == 1 && tail >= TAIL_NS && tail >= length / 10 * 8) {
        return Nature::ExclusiveMode;
    }
    // In exclusive mode without syncs nothing at all is seen: only a transaction that was begun so explains a long silence.
    let begun = [holding.sql, holding.release_sql]
        .into_iter()
        .any(|hash| text(hash).is_some_and(|text| sql::is_begin(text) || sql::is_end(text)));
    if level == Level::EXCLUSIVE && length >= SILENT_NS && alone.last_work == 0 && !begun {
        return Nature::Unknown;
    }
    Nature::Commit
}
