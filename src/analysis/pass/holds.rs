//! The effects of holds that begin or end: commits, stale snapshots, signs of hazards, and the ends of blocking holds.
#![forbid(unsafe_code)]

use super::connections::Earlier;
use super::tables::Tables;
use crate::analysis::causes::hazards::Signs;
use crate::analysis::locks::activity::ExclusiveUse;
use crate::analysis::locks::blocking_holds::{BlockingHolds, PastHold};
use crate::analysis::locks::commits::{Commit, Commits, Stale};
use crate::analysis::locks::lock::LockId;
use crate::analysis::locks::reading::Reading;
use crate::analysis::locks::state::{Change, Hold, Index, NEVER, Release};
use crate::analysis::order::instants::Call;
use crate::trace::Event;
use shim::event::{Flags, Level, Slot, slot_mask};
use shim::format::record::Record;

/// What the pass keeps about holds.
#[derive(Default)]
pub(super) struct Holds {
    pub commits: Commits,
    pub blocking: BlockingHolds,
    pub signs: Signs,
}

impl Holds {
    /// Follows a hold that began. `named`: it is a candidate of an attempt that was read before it.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "what is known of one change; a struct of it would be built for every record")]
    pub(super) fn began(
        &mut self,
        tables: &mut Tables<'_>,
        index: Index,
        call: &Call<'_>,
        db: u32,
        lock: LockId,
        hold: &Hold,
        earlier: Earlier,
        named: bool,
    ) {
        let event = call.event;
        let Some(conn) = tables.conns.get(index) else { return };
        conn.activity.began(lock, &event.record, earlier.checked, conn.mode.wal);
        let who = conn.id;
        match (lock.level(), lock.slot()) {
            (_, Some(Slot::WRITE)) if lock.is_exclusive_slot() => {
                self.commits.writes(db, who);
                if hold.seen && conn.locks.exclusive == 1 << Slot::WRITE.0 && conn.locks.shared != 0 {
                    self.upgrades(tables, index, call, db, earlier);
                }
            }
            (Some(Level::RESERVED), _) => self.commits.writes(db, who),
            (_, Some(slot)) if slot.is_read() && !lock.is_exclusive_slot() => conn.wal_at_read = self.commits.so_far(db).1,
            _ => {}
        }
        let Some(conn) = tables.conns.get(index) else { return };
        if named && self.blocking.follow(who, lock, &conn.hold_as_writer(lock), &conn.activity) {
            conn.blocking += 1;
        }
        if conn.blocking > 0 && event.record.sql != 0 {
            self.blocking.statement(who, conn.locks.held().map(|(lock, _)| lock), event.record.sql);
        }
    }

    /// Follows a connection that took WRITE while it was reading. That fails if another connection has committed since.
    fn upgrades(&mut self, tables: &mut Tables<'_>, index: Index, call: &Call<'_>, db: u32, earlier: Earlier) {
        let Some(conn) = tables.conns.get(index) else { return };
        let Some(reading) = Reading::under(&mut conn.locks, earlier.lifetime) else { return };
        let event = call.event;
        if let Some(peer) = self.commits.overtaken(db, conn.id, &reading, &tables.times) {
            conn.stale = Some(Box::new(Stale {
                who: conn.id,
                db,
                tid: event.record.tid,
                sql: event.record.sql,
                reading,
                numbers: (event.number, event.number),
                span: (call.start, call.start),
                peer,
                by_another: reading.is_of_another(event.record.tid, event.record.sql),
                released: None,
                own: reading.is_of(event.record.sql),
                earlier: conn.activity.before_reading,
            }));
        }
    }

    /// What to keep of the hold that the first of these changes ended. A writer's holds end in one call, the strongest first.
    pub(super) fn past(
        tables: &mut Tables<'_>,
        index: Index,
        changes: &[Change],
        event: &Event,
        lock: LockId,
        end: Release,
    ) -> PastHold {
        let end = end.by(event.number);
        let mut past = PastHold {
            writer: 0,
            exclusive_use: ExclusiveUse::default(),
            level_after: event.record.after,
            end,
            tid: event.record.tid,
        };
        if lock.level().is_some_and(|level| level > Level::RESERVED) {
            let reserved = |change: &Change| match change {
                Change::Ended(weaker, hold, _) if *weaker == LockId::file(Level::RESERVED) => Some(hold.sql),
                _ => None,
            };
            past.writer = changes.iter().find_map(reserved).unwrap_or(0);
            past.exclusive_use = tables.conns.get(index).map_or_else(ExclusiveUse::default, |conn| conn.activity.exclusive_use);
        }
        past
    }

    /// Follows a hold that ended.
    #[inline]
    pub(super) fn ended(
        &mut self,
        tables: &mut Tables<'_>,
        index: Index,
        event: &Event,
        db: u32,
        (lock, hold, end): (LockId, &Hold, Release),
    ) {
        let Some(conn) = tables.conns.get(index) else { return };
        let who = conn.id;
        if lock.slot() == Some(Slot::CKPT) && hold.seen {
            self.signs.wrote(db, who, event);
        }
        if lock == LockId::shm(Slot::READ0.0 + 1, true) && restarts_log(&event.record) {
            conn.restarted = true;
        }
        if lock.slot() == Some(Slot::WRITE) && lock.is_exclusive_slot() {
            // A checkpoint that restarts the log changes the header of the wal-index, as a commit does.
            let restarted = std::mem::take(&mut conn.restarted);
            let wrote = restarted || conn.activity.totals.wrote[2] != conn.activity.mark(lock).wrote[2];
            // Without a reader's slot, WRITE was for the wal-index's header.
            conn.wrote_nothing = if wrote || conn.locks.shared == 0 { 0 } else { hold.sql };
            if let Release::Seen(at, _) = end
                && wrote
            {
                self.signs.wrote(db, who, event);
                let commit =
                    Commit { who, number: event.number, at, sql: hold.sql, tid: hold.tid, took: hold.number, since: hold.asked };
                self.commits.committed(db, commit);
            }
        } else if let (Release::Seen(at, _), Some(slot)) = (end, lock.slot())
            && slot.is_read()
            && !lock.is_exclusive_slot()
            && hold.seen
            && hold.from != NEVER
            && self.commits.so_far(db).1 != conn.wal_at_read
        {
            let ns = tables.times.ns(who.log, hold.from, at);
            self.signs.read(db, who, hold, ns, event.number);
        }
        if conn.blocking > 0 {
            let end = end.by(event.number);
            let ended = self.blocking.ended(who, lock, end, &event.record, &conn.activity);
            conn.blocking -= u32::from(ended.is_some());
            conn.released = ended.or(conn.released);
            if let Some(number) = ended {
                self.blocking.all[number as usize].elsewhere |= tables.conns.seen_elsewhere(who, hold.tid, hold.asked);
            }
        }
    }
}

/// Whether this record releases all readers' slots but the first together: the log was restarted under them (wal.c: `walRestartHdr`).
fn restarts_log(record: &Record) -> bool {
    const ALL_BUT_FIRST: u8 = slot_mask(Slot::READ0.0 + 1, 4);
    record.flags.has(Flags::SHM_UNLOCK) && slot_mask(record.shm_offset, record.shm_n) == ALL_BUT_FIRST
}
