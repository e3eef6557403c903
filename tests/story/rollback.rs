//! What SQLite calls with a rollback journal (pager.c, btree.c), as far as locks are concerned.
//!
//! Called by `plan`, as `wal` is.

#![allow(clippy::indexing_slicing)]

use super::busy::Handler;
use super::conn::Client;
use super::world::{Ask, Lock, Nature, Outcome, US, Why, Work};
use locktrace::event::FileKind;

impl Client {
    /// Its level on the database file.
    fn level(&self) -> u8 {
        self.world.get().state(self.me.get()).0
    }

    /// SHARED, however long it takes.
    pub async fn shares(&self, handler: &mut Handler) -> bool {
        // In exclusive mode it has it already.
        while self.level() == 0 {
            if self.take(Ask::File(1), Why::Reads, handler).await && self.finds_no_journal(handler).await {
                break;
            }
            if !self.busy(handler).await {
                self.gives_up(Outcome::GaveUp);
                self.unlock(0).await;
                return false;
            }
        }
        true
    }

    /// There is no journal, or it is a writer's who is there (`hasHotJournal`); or it is played back.
    async fn finds_no_journal(&self, handler: &Handler) -> bool {
        let writer = || self.world.get().holds.iter().any(|hold| hold.live && hold.lock == Lock::File(2));
        if !self.world.get().hot && !writer() {
            self.has_not_to_play_back();
            return true;
        }
        self.check().await;
        if !self.world.get().hot || writer() {
            self.has_not_to_play_back();
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

    /// It reads. Who was in its way has played the journal back.
    fn has_not_to_play_back(&self) {
        let me = self.me.get();
        let mut world = self.world.get();
        let wait = world.conns[me].wait.filter(|&wait| world.waits[wait].why == Why::PlaysBack);
        let Some(wait) = wait else { return };
        // It waited until then; without a sleep, that it did is not known.
        let shared = world.hold(me, Lock::File(1)).map(|hold| hold.taken.1);
        if let Some(shared) = shared.filter(|_| world.waits[wait].sleeps > 0) {
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

    /// `PRAGMA journal_mode`, where it will not be let: without the busy handler.
    pub async fn switches(&self) {
        if !self.shares(&mut Handler::default()).await {
            return;
        }
        if self.level() < 2 && !self.world.get().in_the_way(self.me.get(), Ask::File(2)).is_empty() {
            self.take(Ask::File(2), Why::Switches, &Handler::default()).await;
            self.gives_up(Outcome::GaveUp);
        }
        self.lets_go().await;
    }

    /// A statement that begins a transaction by writing.
    pub async fn reserves(&self) -> bool {
        let mut handler = Handler::default();
        loop {
            if !self.shares(&mut handler).await {
                return false;
            }
            if self.level() >= 2 || self.take(Ask::File(2), Why::StartsToWrite, &handler).await {
                return true;
            }
            if !self.exclusive {
                self.unlock(0).await;
            }
            if !self.busy(&mut handler).await {
                self.gives_up(Outcome::GaveUp);
                return false;
            }
        }
    }

    /// EXCLUSIVE, for a commit.
    pub async fn excludes(&self) -> bool {
        let mut handler = Handler::default();
        if self.level() == 4 {
            return true;
        }
        while !self.take(Ask::File(4), Why::Commits, &handler).await {
            if !self.busy(&mut handler).await {
                self.gives_up(Outcome::GaveUp);
                return false;
            }
        }
        true
    }

    /// A commit: whether it came to its end.
    pub async fn commits(&self, pages: u64, sync: u64) -> bool {
        if pages > 0 {
            self.works(Work::Sync, FileKind::JOURNAL, sync / 4).await;
        }
        if !self.excludes().await {
            return false;
        }
        if pages > 0 {
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
