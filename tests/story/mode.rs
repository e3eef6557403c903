//! `PRAGMA journal_mode`: out of WAL mode, or into it (vdbe.c: `OP_JournalMode`), as far as locks are concerned.
//!
//! Either way the header of the database is changed with a rollback journal. Out of WAL mode, the WAL goes first: between the two
//! the database file is free for a moment. A connection that opens it then finds it in WAL mode, and stays.
#![allow(clippy::indexing_slicing)]

use super::busy::Handler;
use super::conn::Client;
use super::rollback::Shared;
use super::world::{Ask, Lock, Nature, Outcome, US, Wal, Why, Work};
use shim::event::FileKind;

impl Client {
    /// `PRAGMA journal_mode=WAL`.
    pub(super) async fn enters_wal(&self, sync: u64) {
        let mut handler = Handler::default();
        match self.shares(&mut handler).await {
            Shared::Refused => {}
            // Somebody else has brought it there.
            Shared::InWal => {
                if let Some(snapshot) = self.reads(&mut handler).await {
                    self.stops_reading(snapshot).await;
                }
            }
            Shared::Reads if self.may_switch(Ask::File(2)) => self.changes_header(true, sync).await,
            Shared::Reads => self.lets_go().await,
        }
    }

    /// `PRAGMA journal_mode=DELETE`. To have the WAL to itself it does not wait.
    pub(super) async fn leaves_wal(&self, sync: u64) {
        let me = self.me.get();
        if self.world.get().state(me).0 > 1 || !self.may_switch(Ask::File(4)) {
            return;
        }
        let alone = self.as_for(Nature::Switch, self.take(Ask::File(4), Why::Switches, &Handler::default())).await;
        self.gives_up(Outcome::GaveUp);
        if alone && self.world.get().switches {
            self.takes_again(4).await;
            self.works(Work::Sync, FileKind::WAL, sync / 4).await;
            let ticks = self.world.get().random(10_000) * US;
            self.works(Work::Copy, FileKind::DATABASE, ticks).await;
            self.works(Work::Sync, FileKind::DATABASE, sync).await;
            self.wrote(FileKind::DATABASE, 4096).await;
            self.unmap(true).await;
            self.close(FileKind::WAL).await;
            self.delete(FileKind::WAL).await;
            let mut world = self.world.get();
            (world.wal, world.conns[me].wal) = (Wal::default(), false);
        }
        self.unlock(1).await;
        if !self.is_in_wal() {
            self.changes_header(false, sync).await;
        }
    }

    /// It has SHARED.
    async fn changes_header(&self, to_wal: bool, sync: u64) {
        let before = self.nature.replace(Nature::Switch);
        if self.take(Ask::File(2), Why::Switches, &Handler::default()).await {
            if self.excludes(Why::Switches).await {
                self.works(Work::Sync, FileKind::JOURNAL, sync / 4).await;
                self.works(Work::Sync, FileKind::DATABASE, sync).await;
                self.delete(FileKind::JOURNAL).await;
                self.world.get().in_wal = to_wal;
                self.wrote(FileKind::DATABASE, 4096).await;
                self.wrote(FileKind::JOURNAL, 4628).await;
            }
        } else {
            self.gives_up(Outcome::GaveUp);
        }
        self.nature.set(before);
        self.lets_go().await;
    }

    /// Where nobody may change the mode, it is only tried where it will be refused.
    fn may_switch(&self, ask: Ask) -> bool {
        let world = self.world.get();
        let me = self.me.get();
        let reserved = world.held(me).iter().any(|&hold| matches!(world.holds[hold].lock, Lock::File(2..)));
        world.switches || (!reserved && !world.in_the_way(me, ask).is_empty())
    }

    /// Its connection is in WAL mode.
    pub(super) fn is_in_wal(&self) -> bool {
        let me = self.me.get();
        self.world.get().conns[me].wal
    }
}
