//! Commits to the WAL, and upgrades from a stale snapshot. Such an upgrade makes a statement fail although no recorded call fails.
//!
//! SQLite answers `SQLITE_BUSY_SNAPSHOT` when a reading transaction wants to write and another connection has committed since it began to read
//! (`sqlite3WalBeginWriteTransaction` compares the headers). It takes WRITE and releases it at once with nothing written. The proof: another connection
//! wrote to the WAL or restarted it under its own WRITE, and released that after this connection held its READ lock. For a statement that takes READ and
//! WRITE together, SQLite calls the busy handler (btree.c: `sqlite3BtreeBeginTrans`); without a busy timeout the statement fails.
//!
//! The same file counts how often the writer changed, and how much the WAL grew.
#![forbid(unsafe_code)]

use crate::analysis::locks::reading::Reading;
use crate::analysis::locks::state::{ConnId, NEVER};
use crate::analysis::order::instants::{Instant, Times};
use shim::event::{Flags, Kind, Slot};
use shim::format::record::Record;

/// A WRITE hold under which something was written to the WAL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Commit {
    /// The connection that committed.
    pub who: ConnId,
    /// The record that released WRITE.
    pub number: u64,
    /// When the call that released WRITE began.
    pub at: Instant,
    /// The statement that took WRITE.
    pub sql: u64,
    /// The thread that took WRITE.
    pub tid: u32,
    /// The record that took WRITE.
    pub took: u64,
    /// When the call that took WRITE began.
    pub since: Instant,
}

/// An upgrade that must have answered `SQLITE_BUSY_SNAPSHOT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stale {
    /// The connection whose upgrade failed.
    pub who: ConnId,
    /// The database, an index into [`crate::analysis::Analysis::databases`].
    pub db: u32,
    /// The thread that wanted to write.
    pub tid: u32,
    /// The statement that wanted to write; 0 = unknown.
    pub sql: u64,
    /// The lock that the connection read under.
    pub reading: Reading,
    /// The records that took WRITE and released it.
    pub numbers: (u64, u64),
    /// From the call that took WRITE to the call that released it.
    pub span: (Instant, Instant),
    /// The commit that made the snapshot stale.
    pub peer: Commit,
    /// Another statement than the one that wanted to write began to read. If that is not known, the next records decide.
    pub by_another: bool,
    /// The record that released the lock it read under.
    pub released: Option<u64>,
    /// The statement that wanted to write also began to read: SQLite answers `SQLITE_BUSY`, and a busy timeout helps.
    pub own: bool,
    /// The connection's record before it began to read, and its kind.
    pub earlier: Option<(u64, Kind)>,
}

/// What is known of an upgrade under a stale snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Upgrade {
    /// It failed.
    Failed,
    /// The next record of the connection shows more.
    Open,
    /// It did not fail, or the records do not prove it.
    None,
}

#[derive(Clone, Copy, Debug, Default)]
struct PerDatabase {
    writer: Option<ConnId>,
    changes: u64,
    wal_bytes: u64,
    latest: Option<Commit>,
}

/// The commits to each database.
#[derive(Default)]
pub(crate) struct Commits {
    per: Vec<PerDatabase>,
}

impl Commits {
    fn of(&mut self, db: u32) -> &mut PerDatabase {
        let index = db as usize;
        if self.per.len() <= index {
            self.per.resize(index + 1, PerDatabase::default());
        }
        &mut self.per[index]
    }

    /// How often the writer changed so far, and how many bytes were written to the WAL.
    pub(crate) fn so_far(&self, db: u32) -> (u64, u64) {
        self.per.get(db as usize).map_or((0, 0), |per| (per.changes, per.wal_bytes))
    }

    /// Notes that a WRITE or RESERVED hold began.
    #[inline]
    pub(crate) fn writes(&mut self, db: u32, who: ConnId) {
        let per = self.of(db);
        if per.writer != Some(who) {
            per.writer = Some(who);
            per.changes += 1;
        }
    }

    /// Notes bytes written to the WAL.
    #[inline]
    pub(crate) fn wrote(&mut self, db: u32, bytes: u64) {
        let per = self.of(db);
        per.wal_bytes = per.wal_bytes.wrapping_add(bytes);
    }

    /// Notes a commit.
    #[inline]
    pub(crate) fn committed(&mut self, db: u32, commit: Commit) {
        self.of(db).latest = Some(commit);
    }

    /// This connection took WRITE while it was reading: the commit that makes its snapshot stale, where there is one.
    pub(crate) fn overtaken(&self, db: u32, who: ConnId, reading: &Reading, times: &Times<'_>) -> Option<Commit> {
        if !reading.seen || reading.from == NEVER {
            return None;
        }
        // A connection's own commit does not make its snapshot stale.
        let peer = self.per.get(db as usize)?.latest.filter(|commit| commit.who != who)?;
        let after = peer.at > reading.from.saturating_add(times.slack());
        (after && times.comparable(peer.who.log, who.log)).then_some(peer)
    }
}

impl Stale {
    /// Follows the next record of the connection. `slept`: its thread slept since it released the lock it read under, so that SQLite retries;
    /// `None` where its process may have a busy handler that does not sleep.
    ///
    /// A statement that began to read itself releases that lock after the refusal, and SQLite calls the busy handler
    /// (btree.c: `sqlite3BtreeBeginTrans`). Without a sleep then, it failed all the same.
    pub(crate) fn follow(&mut self, record: &Record, number: u64, at: Instant, slept: Option<bool>) -> Upgrade {
        if self.numbers.0 == self.numbers.1 {
            // A later statement that ends the transaction: it had taken WRITE, and changed nothing.
            let later = record.sql != 0 && self.sql != 0 && record.sql != self.sql;
            if !releases_write(record) || record.tid != self.tid || later {
                return Upgrade::None;
            }
            (self.numbers.1, self.span.1) = (number, at);
            return if self.by_another { Upgrade::Failed } else { Upgrade::Open };
        }
        let Some(bit) = self.reading.lock.slot().map(|slot| 1u8 << slot.0) else { return Upgrade::None };
        let another = record.sql != 0 && self.sql != 0 && record.sql != self.sql;
        match self.released {
            None if record.shm_shared & bit != 0 || another => {
                if self.own {
                    Upgrade::None
                } else {
                    Upgrade::Failed
                }
            }
            None => {
                self.released = Some(number);
                self.own |= record.sql != 0 && record.sql == self.sql;
                Upgrade::Open
            }
            Some(_) if slept == Some(false) && record.kind != Kind::SLEEP => Upgrade::Failed,
            Some(_) => Upgrade::None,
        }
    }
}

/// Whether this record releases WRITE and nothing else.
fn releases_write(record: &Record) -> bool {
    record.kind == Kind::SHM_LOCK
        && record.flags.has(Flags::SHM_UNLOCK.with(Flags::SHM_EXCLUSIVE))
        && (record.shm_offset, record.shm_n) == (Slot::WRITE.0, 1)
}
