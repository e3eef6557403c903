//! The reports to the observer of a pass: every record, every hold, every stretch of work, and every size of a -wal.
#![forbid(unsafe_code)]

use super::connections::{Conn, NO_DATABASE};
use crate::analysis::locks::lock::LockId;
use crate::analysis::locks::state::{ConnId, Hold, HoldEnd};
use crate::analysis::locks::wal_sizes::WalSizes;
use crate::analysis::observer::{ObservedHold, Observer, Worked};
use crate::analysis::order::instants::{Call, Instant};
use crate::trace::Event;

/// The observer, if there is one.
pub(super) struct Observed<'w> {
    observer: Option<&'w mut dyn Observer>,
    wal_sizes: WalSizes,
}

impl<'w> Observed<'w> {
    pub(super) fn by(observer: Option<&'w mut dyn Observer>) -> Observed<'w> {
        Observed { observer, wal_sizes: WalSizes::default() }
    }

    /// Reports a record. `db` is an index into the databases.
    #[inline]
    pub(super) fn event(&mut self, event: &Event, db: Option<u32>) {
        if let Some(observer) = &mut self.observer {
            observer.event(event, db);
        }
    }

    /// Reports the work that this record ended, and the new size of the -wal if it changed that. The connection's activity has followed the
    /// record.
    #[inline]
    pub(super) fn record(&mut self, conn: &Conn, call: &Call<'_>) {
        let Some(observer) = &mut self.observer else { return };
        let db = Some(conn.db).filter(|&db| db != NO_DATABASE);
        if let Some((work, since, until)) = conn.activity.just_worked(call.start) {
            let Event { number, ref record, .. } = *call.event;
            observer.work(&Worked { who: conn.id, db, work, tid: record.tid, since, until, number });
        }
        if let Some(db) = db
            && let Some(bytes) = self.wal_sizes.record(db, &call.event.record)
        {
            observer.wal(conn.id, db, call.end, bytes);
        }
    }

    /// Reports a hold when the hold or the trace has ended.
    #[inline]
    pub(super) fn hold(&mut self, (who, db, lock): (ConnId, u32, LockId), hold: &Hold, lifetime: bool, end: (Instant, HoldEnd)) {
        if let Some(observer) = &mut self.observer {
            observer.hold(&ObservedHold::of(who, db, lock, hold, lifetime, end));
        }
    }

    /// Whether the observer wants no more records.
    pub(super) fn enough(&self) -> bool {
        self.observer.as_ref().is_some_and(|observer| observer.enough())
    }
}
