//! The interface of an observer: during a pass it gets every record, every hold, every stretch of work and every size of a -wal.
//!
//! Exports and the timeline of the HTML page are observers. One pass serves them and the analysis, also for JSON lines from a pipe. Each observer decides
//! how much it keeps in memory.
#![forbid(unsafe_code)]

use crate::analysis::locks::activity::Work;
use crate::analysis::locks::lock::LockId;
use crate::analysis::locks::state::{ConnId, Hold, HoldEnd, NEVER};
use crate::analysis::order::instants::Instant;
use crate::trace::Event;

/// One hold, from its beginning to its end, as an observer gets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ObservedHold {
    /// The connection that held the lock.
    pub who: ConnId,
    /// The database, an index into [`crate::analysis::Analysis::databases`].
    pub db: u32,
    /// The lock that was held.
    pub lock: LockId,
    /// The thread that took it; 0 if that call was not seen.
    pub tid: u32,
    /// The hash of the statement that took it; 0 = none, or not known.
    pub sql: u64,
    /// The record of the call that took the lock. If that call was not seen, the record that showed the hold.
    pub number: u64,
    /// When the call that took the lock began. If that call was not seen, the last instant at which the lock was certainly not held; if no earlier
    /// record of the connection is left, the beginning of the record that showed the hold ([`ObservedHold::since_known`]).
    pub since: Instant,
    /// When that call had returned; `None` if unknown. The lock was certainly held from here on, and the length of the hold counts from here.
    pub from: Option<Instant>,
    /// When the call that released the lock began. If that call was not seen, see [`HoldEnd`].
    pub until: Instant,
    /// Whether the call that took the lock was seen.
    pub seen: bool,
    known: bool,
    /// How the hold ended.
    pub end: HoldEnd,
    /// Whether this is the SHARED lock that a connection in WAL mode keeps for its whole life. That lock shows no transaction.
    pub lifetime: bool,
}

/// One stretch of work of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Worked {
    /// The connection that worked.
    pub who: ConnId,
    /// The database, an index into [`crate::analysis::Analysis::databases`]; `None` if unknown.
    pub db: Option<u32>,
    /// The kind of work.
    pub work: Work,
    /// The thread that worked.
    pub tid: u32,
    /// When the work began.
    pub since: Instant,
    /// When the work ended.
    pub until: Instant,
    /// The record that ended the work.
    pub number: u64,
}

/// An observer of a pass. It gets everything in the order in which it becomes known, so it gets a hold or work when that ends.
pub trait Observer {
    /// Gets every record, before anything that follows from it. `db` is an index into [`crate::analysis::Analysis::databases`].
    fn event(&mut self, _event: &Event, _db: Option<u32>) {}

    /// Gets a hold, when the hold or the trace has ended.
    fn hold(&mut self, _span: &ObservedHold) {}

    /// Gets a stretch of work: a sync, a copying checkpoint, or the deletion of a journal or WAL.
    fn work(&mut self, _work: &Worked) {}

    /// Gets the bytes written to the -wal of this database since its log last restarted, or since the trace began if that is later.
    fn wal(&mut self, _who: ConnId, _db: u32, _at: Instant, _bytes: u64) {}

    /// Whether the observer wants no more records, for example because its disk is full. The pass asks now and then. It then stops reading, and
    /// the analysis covers the records read so far.
    fn enough(&self) -> bool {
        false
    }
}

impl ObservedHold {
    /// The observed hold that this hold becomes once its end is known.
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
            since: if hold.seen || hold.asked > 0 { hold.asked } else { hold.from.min(until) },
            from: Some(hold.from).filter(|&from| hold.seen && from != NEVER),
            until,
            seen: hold.seen,
            known: hold.seen || hold.asked > 0,
            end,
            lifetime,
        }
    }

    /// Whether the lock was certainly not held before `since`. The beginning is unknown if it lies before the first record that is left.
    pub fn since_known(&self) -> bool {
        self.known
    }
}
