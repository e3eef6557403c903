//! The busy handler: SQLite's own, which sleeps through the VFS, or the application's, of which the trace shows nothing.
//!
//! It runs after a refused attempt at the start of a transaction.

use super::conn::Client;
use super::world::US;
use shim::event::{FileKind, Kind};
use shim::format::record::Record;

/// What SQLite's busy handler sleeps, in milliseconds.
const DELAYS: [u64; 12] = [1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, 100];

/// Calls of the busy handler for one statement.
#[derive(Default)]
pub struct Handler {
    pub(super) count: usize,
    pub(super) slept: u64,
}

impl Client {
    /// The busy handler: whether to try again.
    pub async fn busy(&self, handler: &mut Handler) -> bool {
        if self.timeout == 0 {
            return false;
        }
        let delay = DELAYS[handler.count.min(DELAYS.len() - 1)].min(self.timeout.saturating_sub(handler.slept));
        if delay == 0 {
            return false;
        }
        (handler.count, handler.slept) = (handler.count + 1, handler.slept + delay);
        if self.own_handler {
            self.world.pause(delay * 1000 * US).await;
            return true;
        }
        self.sleeps(delay * 1000).await;
        true
    }

    /// SQLite sleeps through the VFS, this many microseconds. The recorder knows for whom by what its thread was refused just before.
    pub async fn sleeps(&self, us: u64) {
        let start = self.enter().await;
        let refused = self.world.get().refused_on.remove(&self.tid.get());
        let late = self.world.get().random(200 * US);
        self.world.pause(us * US + late).await;
        let number = refused.map_or(0, |conn| self.world.get().conns[conn].number);
        let record = Record { conn: number, arg: us, file_kind: FileKind::NONE, ..Record::new(Kind::SLEEP) };
        self.leave(start, record).await;
        let mut world = self.world.get();
        if let Some(wait) = world.conns[self.me.get()].wait.filter(|_| refused == Some(self.me.get())) {
            world.waits[wait].sleeps += 1;
        }
    }
}
