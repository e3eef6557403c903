//! The connections of a pass, looked up by number without hashing, through one vector for each log.
//!
//! Very large numbers and connections that came through a `fork()` are in a map. So a damaged trace cannot make this allocate without bound.
#![forbid(unsafe_code)]

use crate::analysis::locks::activity::Activity;
use crate::analysis::locks::commits::Stale;
use crate::analysis::locks::journal_mode::Mode;
use crate::analysis::locks::lock::LockId;
use crate::analysis::locks::state::{ConnId, Hold, Index, Locks, OpenLocks};
use crate::analysis::waits::follow::OpenWait;
use shim::event::Level;
use std::collections::HashMap;

/// Connections with a number below this are looked up by index, others by hash.
const DIRECT: u32 = 1 << 16;

const UNKNOWN: u32 = 0;
const CLOSED: u32 = 1;

/// An open connection.
pub(crate) struct Conn {
    pub id: ConnId,
    /// The database, or [`NO_DATABASE`].
    pub db: u32,
    pub locks: Locks,
    pub mode: Mode,
    pub open_wait: Option<OpenWait>,
    /// The record that granted the lock it waited for last.
    pub granted: Option<u64>,
    /// It is unknown which statement had waited for that lock.
    pub granted_to_any: bool,
    /// The wait for which the recorder last asked the kernel, and the ticks at which the attempt began.
    pub kernel_query: Option<(u32, u64)>,
    /// The refused attempt that its last record was, if it was one.
    pub refused: Option<u32>,
    /// The end of some of its releases is unknown: its next record bounds it.
    pub open_ended: bool,
    /// The numbers of those releases.
    pub ended: (u64, u64),
    /// Its activity.
    pub activity: Activity,
    /// How many of its holds are blocking holds.
    pub blocking: u32,
    /// A blocking hold that ended with this connection's previous record. The next record carries the statement that was running.
    pub released: Option<u32>,
    /// It took WRITE with its last record while its snapshot was stale.
    pub stale: Option<Box<Stale>>,
    /// It restarted the log under the WRITE that it holds.
    pub restarted: bool,
    /// The statement of its last WRITE, where nothing was put into the WAL under it; 0 = none, or not known.
    pub wrote_nothing: u64,
    /// Bytes that had gone into the WAL when it began to read.
    pub wal_at_read: u64,
}

/// Stands for an unknown database.
pub(crate) const NO_DATABASE: u32 = u32::MAX;

/// What is known about a connection's number.
pub(crate) enum Lookup {
    New,
    Live(Index),
    Closed,
}

/// All connections.
#[derive(Default)]
pub(crate) struct Connections {
    /// By log and number: 0 unknown, 1 closed, else index + 2.
    direct: Vec<Vec<u32>>,
    rest: HashMap<ConnId, u32>,
    live: Vec<Option<Box<Conn>>>,
    free: Vec<Index>,
}

impl Connections {
    #[inline]
    fn entry(&mut self, id: ConnId) -> &mut u32 {
        if id.forked || id.conn >= DIRECT {
            return self.rest.entry(id).or_insert(UNKNOWN);
        }
        let (log, conn) = (id.log.0 as usize, id.conn as usize);
        if self.direct.len() <= log {
            self.direct.resize(log + 1, Vec::new());
        }
        let row = &mut self.direct[log];
        if row.len() <= conn {
            row.resize(conn + 1, UNKNOWN);
        }
        &mut row[conn]
    }

    #[inline]
    pub(crate) fn find(&mut self, id: ConnId) -> Lookup {
        let direct = self.direct.get(id.log.0 as usize).and_then(|row| row.get(id.conn as usize)).filter(|_| !id.forked);
        match direct.copied().unwrap_or_else(|| *self.entry(id)) {
            UNKNOWN => Lookup::New,
            CLOSED => Lookup::Closed,
            index => Lookup::Live(index - 2),
        }
    }

    /// Adds a connection.
    pub(crate) fn add(&mut self, id: ConnId) -> Index {
        let conn = Conn {
            id,
            db: NO_DATABASE,
            locks: Locks::default(),
            mode: Mode::default(),
            open_wait: None,
            granted: None,
            granted_to_any: false,
            kernel_query: None,
            refused: None,
            open_ended: false,
            ended: (0, 0),
            activity: Activity::default(),
            blocking: 0,
            released: None,
            stale: None,
            restarted: false,
            wrote_nothing: 0,
            wal_at_read: 0,
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.live.push(None);
            self.live.len() as u32 - 1
        });
        self.live[index as usize] = Some(Box::new(conn));
        *self.entry(id) = index + 2;
        index
    }

    /// Forgets a connection's state. Its number stays known as closed.
    pub(crate) fn close(&mut self, index: Index) {
        if let Some(conn) = self.live[index as usize].take() {
            *self.entry(conn.id) = CLOSED;
            self.free.push(index);
        }
    }

    #[inline]
    pub(crate) fn get(&mut self, index: Index) -> Option<&mut Conn> {
        self.live.get_mut(index as usize)?.as_deref_mut()
    }

    /// Whether this thread was seen since this instant on another connection of its process than `but`.
    pub(crate) fn seen_elsewhere(&self, but: ConnId, tid: u32, since: u64) -> bool {
        let others = self.live.iter().flatten().filter(|conn| conn.id.log == but.log && conn.id != but);
        tid != 0 && others.into_iter().any(|conn| conn.activity.tid == tid && conn.activity.at > since)
    }

    /// Every open connection.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Index, &Conn)> {
        (0..).zip(&self.live).filter_map(|(index, conn)| Some((index, conn.as_deref()?)))
    }
}

impl OpenLocks for Connections {
    #[inline]
    fn locks(&mut self, index: Index) -> Option<(ConnId, &mut Locks)> {
        self.get(index).map(|conn| (conn.id, &mut conn.locks))
    }
}

impl Conn {
    /// The connection's hold of this lock. If a writer went on from RESERVED, the hold gets the statement that took RESERVED.
    pub(crate) fn hold_as_writer(&mut self, lock: LockId) -> Hold {
        let hold = *self.locks.hold(lock);
        let reserved = LockId::file(Level::RESERVED);
        if lock.level().is_none_or(|level| level <= Level::RESERVED) || !self.locks.has(reserved) {
            return hold;
        }
        let sql = self.locks.hold(reserved).sql;
        Hold { sql: if sql == 0 { hold.sql } else { sql }, ..hold }
    }
}

/// The state of a connection before a record changed it.
#[derive(Clone, Copy)]
pub(super) struct Earlier {
    /// Its SHARED lock was the one that WAL mode keeps for life.
    pub lifetime: bool,
    /// Its previous call was `xCheckReservedLock`.
    pub checked: bool,
}
