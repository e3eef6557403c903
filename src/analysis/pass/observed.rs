//! The observer of a pass: it gets every record, hold and stretch of work as the pass finds them, and the size of the -wal.
#![forbid(unsafe_code)]

use super::connections::{Conn, NO_DATABASE};
use crate::analysis::locks::lock::LockId;
use crate::analysis::locks::state::{ConnId, Taken};
use crate::analysis::locks::wal_sizes::WalSizes;
use crate::analysis::observer::{Span, SpanEnd, Watch, Worked};
use crate::analysis::order::instants::{Call, Instant};
use crate::trace::Event;

/// The observer, if there is one.
pub(super) struct Observed<'w> {
    observer: Option<&'w mut dyn Watch>,
    wal_sizes: WalSizes,
}

impl<'w> Observed<'w> {
    pub(super) fn by(observer: Option<&'w mut dyn Watch>) -> Observed<'w> {
        Observed { observer, wal_sizes: WalSizes::default() }
    }

    /// A record; `db` is an index into the databases.
    #[inline]
    pub(super) fn event(&mut self, event: &Event, db: Option<u32>) {
        if let Some(observer) = &mut self.observer {
            observer.event(event, db);
        }
    }

    /// A record of this connection, which its activity has followed: reports the work it ended, and how it changed the size of the -wal.
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

    /// A hold is over, or the trace is; `by` is the record that ended it or showed its end.
    #[inline]
    pub(super) fn hold(
        &mut self,
        (who, db, lock): (ConnId, u32, LockId),
        taken: &Taken,
        lifetime: bool,
        end: (Instant, SpanEnd, Option<u64>),
    ) {
        if let Some(observer) = &mut self.observer {
            observer.hold(&Span::of(who, db, lock, taken, lifetime, end));
        }
    }

    /// Whether the observer has had enough.
    pub(super) fn enough(&self) -> bool {
        self.observer.as_ref().is_some_and(|observer| observer.enough())
    }
}
