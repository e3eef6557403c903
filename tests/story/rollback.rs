//! SQLite's calls with a rollback journal (pager.c, btree.c), as far as locks are concerned.

#![allow(clippy::indexing_slicing)]

use super::busy::Handler;
use super::conn::Client;
use super::world::{Ask, Lock, Nature, Outcome, US, Why, Work};
use shim::event::FileKind;

/// What came of asking for SHARED.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    Refused,
    Reads,
    /// The database is in WAL mode: from now on its connection is, too.
    InWal,
}

impl Client {
    /// Its level on the database file.
    fn level(&self) -> u8 {
        self.world.get().state(self.me.get()).0
    }

    /// SHARED, however long it takes.
    pub async fn shares(&self, handler: &mut Handler) -> Shared {
        // In exclusive mode it has it already.
        while self.level() == 0 {
            if self.take(Ask::File(1), Why::Reads, handler).await && self.finds_no_journal(handler).await {
                break;
            }
            if !self.busy(handler).await {
                self.gives_up(Outcome::GaveUp);
                self.unlock(0).await;
                return Shared::Refused;
            }
        }
        let in_wal = self.world.get().in_wal;
        if in_wal {
            self.has_no_need_of(Why::StartsToWrite);
            self.finds_wal().await;
            return Shared::InWal;
        }
        Shared::Reads
    }

    /// There is no journal, or it is a writer's who is there (`hasHotJournal`); or it is played back.
    async fn finds_no_journal(&self, handler: &Handler) -> bool {
        let writer = || self.world.get().holds.iter().any(|hold| hold.live && hold.lock == Lock::File(2));
        if !self.world.get().hot && !writer() {
            self.has_no_need_of(Why::PlaysBack);
            return true;
        }
        self.check().await;
        if !self.world.get().hot || writer() {
            self.has_no_need_of(Why::PlaysBack);
            return true;
        }
        let alone = self.as_for(Nature::HotJournal, self.take(Ask::File(4), Why::PlaysBack, handler)).await;
        if !alone {
            self.unlock(0).await;
            return false;
        }
        if self.world.get().hot {
            let ticks = (100 + self.world.get().random(20_000)) * US;
            self.works(Work::Sync, FileKind::DATABASE, ticks).await;
            self.delete(FileKind::JOURNAL).await;
            self.world.get().hot = false;
        }
        self.unlock(1).await;
        true
    }

    /// It reads. The connection that blocked it has played the journal back, or brought the database into WAL mode.
    fn has_no_need_of(&self, why: Why) {
        let me = self.me.get();
        let mut world = self.world.get();
        let wait = world.conns[me].wait.filter(|&wait| world.waits[wait].why == why);
        let Some(wait) = wait else { return };
        // It waited until then. To play a journal back it asks for SHARED again each time: without a sleep, that it waited is not known.
        let shared = world.hold(me, Lock::File(1)).map(|hold| hold.taken.1);
        if let Some(shared) = shared.filter(|_| why != Why::PlaysBack || world.waits[wait].sleeps > 0) {
            world.waits[wait].span.1 = shared;
        }
        drop(world);
        self.gives_up(Outcome::Succeeded);
    }

    /// The end of a transaction, but in exclusive mode.
    pub async fn lets_go(&self) {
        if self.exclusive {
            let mut world = self.world.get();
            for hold in world.held(self.me.get()) {
                world.holds[hold].idle = false;
            }
            return;
        }
        if self.level() > 1 {
            self.unlock(1).await;
        }
        self.unlock(0).await;
    }

    /// A statement that begins a transaction by writing. (What it has been granted is RESERVED where it reads.)
    pub async fn reserves(&self, handler: &mut Handler) -> Shared {
        loop {
            match self.shares(handler).await {
                Shared::Reads => {}
                other => return other,
            }
            if self.level() >= 2 || self.take(Ask::File(2), Why::StartsToWrite, handler).await {
                return Shared::Reads;
            }
            if !self.exclusive {
                self.unlock(0).await;
            }
            if !self.busy(handler).await {
                self.gives_up(Outcome::GaveUp);
                return Shared::Refused;
            }
        }
    }

    /// EXCLUSIVE, for a commit.
    pub async fn excludes(&self, why: Why) -> bool {
        let mut handler = Handler::default();
        if self.level() == 4 {
            return true;
        }
        while !self.take(Ask::File(4), why, &handler).await {
            if !self.busy(&mut handler).await {
                self.gives_up(Outcome::GaveUp);
                return false;
            }
        }
        true
    }

    /// A commit: whether it came to its end.
    pub async fn commits(&self, pages: u64, sync: u64) -> bool {
        if !self.excludes(Why::Commits).await {
            return false;
        }
        if pages > 0 {
            // (pager.c: `syncJournal` asks for EXCLUSIVE first.)
            self.works(Work::Sync, FileKind::JOURNAL, sync / 4).await;
            self.works(Work::Sync, FileKind::DATABASE, sync).await;
            if self.exclusive {
                // Its journal stays, and begins with nothing.
                self.works(Work::Sync, FileKind::JOURNAL, 0).await;
            } else {
                self.delete(FileKind::JOURNAL).await;
                self.wrote(FileKind::DATABASE, pages * 4096).await;
                self.wrote(FileKind::JOURNAL, pages * 4104).await;
            }
        }
        self.lets_go().await;
        true
    }
}
