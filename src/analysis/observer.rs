//! The observer of a pass: it gets every hold, every stretch of work, and the size of the -wal.
//!
//! Exports and the timeline of the HTML page are observers. One pass serves them and the analysis, also for JSON lines from a pipe, and they keep as much in memory
//! as they choose.
#![forbid(unsafe_code)]

use crate::analysis::locks::activity::Work;
use crate::analysis::locks::lock::LockId;
use crate::analysis::locks::state::{ConnId, Hold, HoldEnd, NEVER};
use crate::analysis::order::instants::Instant;
use crate::trace::Event;

/// One hold, from its beginning to its end, as an observer gets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ObservedHold {
    /// Whose.
    pub who: ConnId,
    /// The database, an index into [`crate::analysis::Analysis::databases`].
    pub db: u32,
    /// What was held.
    pub lock: LockId,
    /// The thread that took it; 0 where that was not seen.
    pub tid: u32,
    /// The hash of the statement that took it; 0 = none, or not known.
    pub sql: u64,
    /// The record of the call that took it; where that was not seen, of the one that showed it.
    pub number: u64,
    /// When the call that took it began; where that was not seen, the last instant at which it was certainly not held.
    pub since: Instant,
    /// When that call had returned: it was certainly held from here on, and lengths of holds are counted from here. `None` where that is not known.
    pub from: Option<Instant>,
    /// When the call that ended it began; otherwise what [`HoldEnd`] says.
    pub until: Instant,
    /// The call that took it was seen.
    pub seen: bool,
    /// How it ended.
    pub end: HoldEnd,
    /// The SHARED lock of a connection in WAL mode, kept for its whole life: no transaction.
    pub lifetime: bool,
}

/// One stretch of work of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Worked {
    /// Whose.
    pub who: ConnId,
    /// The database, an index into [`crate::analysis::Analysis::databases`]; `None` where it is not known.
    pub db: Option<u32>,
    /// What.
    pub work: Work,
    /// The thread.
    pub tid: u32,
    /// From when.
    pub since: Instant,
    /// Until when.
    pub until: Instant,
    /// The record that ended it.
    pub number: u64,
}

/// An observer gets everything in the order in which it becomes known: holds and work when they end.
pub trait Observer {
    /// Every record, before anything that follows from it. `db` is an index into [`crate::analysis::Analysis::databases`].
    fn event(&mut self, _event: &Event, _db: Option<u32>) {}

    /// A hold, once it is over or the trace is.
    fn hold(&mut self, _span: &ObservedHold) {}

    /// A sync, a copying checkpoint, the deletion of a journal or WAL.
    fn work(&mut self, _work: &Worked) {}

    /// The bytes written to the -wal of this database since it began anew, or since the trace began, where that is later.
    fn wal(&mut self, _who: ConnId, _db: u32, _at: Instant, _bytes: u64) {}

    /// Whether it has had enough: its disk is full, say. Then no more records are read, and the analysis covers those that were. Asked now
    /// and then.
    fn enough(&self) -> bool {
        false
    }
}

impl ObservedHold {
    /// The hold, once its end is known.
    pub(crate) fn of(
        who: ConnId,
        db: u32,
        lock: LockId,
        hold: &Hold,
        lifetime: bool,
        (until, end): (Instant, HoldEnd),
    ) -> ObservedHold {
        ObservedHold {
            who,
            db,
            lock,
            tid: hold.tid,
            sql: hold.sql,
            number: hold.number,
            since: hold.asked,
            from: Some(hold.from).filter(|&from| hold.seen && from != NEVER),
            until,
            seen: hold.seen,
            end,
            lifetime,
        }
    }
}
