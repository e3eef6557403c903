//! What SQLite calls with a rollback journal (pager.c, btree.c), as far as locks are concerned.
//!
//! Called by `plan`, as `wal` is.

use super::busy::Handler;
use super::conn::Client;
use super::world::{Ask, Outcome, Why, Work};
use locktrace::event::FileKind;

impl Client {
    /// SHARED, however long it takes.
    pub async fn shares(&self, handler: &mut Handler) -> bool {
        while !self.take(Ask::File(1), Why::Reads, handler).await {
            if !self.busy(handler).await {
                self.gives_up(Outcome::GaveUp);
                self.unlock(0).await;
                return false;
            }
        }
        true
    }

    /// A statement that begins a transaction by writing.
    pub async fn reserves(&self) -> bool {
        let mut handler = Handler::default();
        loop {
            if !self.shares(&mut handler).await {
                return false;
            }
            if self.take(Ask::File(2), Why::StartsToWrite, &handler).await {
                return true;
            }
            self.unlock(0).await;
            if !self.busy(&mut handler).await {
                self.gives_up(Outcome::GaveUp);
                return false;
            }
        }
    }

    /// EXCLUSIVE, for a commit.
    pub async fn excludes(&self) -> bool {
        let mut handler = Handler::default();
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
            self.delete(FileKind::JOURNAL).await;
            self.wrote(FileKind::DATABASE, pages * 4096).await;
            self.wrote(FileKind::JOURNAL, pages * 4104).await;
        }
        self.unlock(1).await;
        self.unlock(0).await;
        true
    }
}
