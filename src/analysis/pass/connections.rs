//! Connections by number, without hashing: each record finds its connection through a vector per log.
//!
//! Numbers that no process reaches honestly, or that came through a `fork()`, go through a map. So a damaged trace cannot make this allocate what it likes.
#![forbid(unsafe_code)]

use crate::analysis::locks::activity::Activity;
use crate::analysis::locks::commits::Stale;
use crate::analysis::locks::journal_mode::Mode;
use crate::analysis::locks::lock::LockId;
use crate::analysis::locks::state::{ConnId, Hold, Index, Locks, OpenLocks};
use crate::analysis::waits::follow::OpenWait;
use shim::event::Level;
use std::collections::HashMap;

/// Connections with a number below this are found by index.
const DIRECT: u32 = 1 << 16;

const UNKNOWN: u32 = 0;
const CLOSED: u32 = 1;

/// A live connection.
pub(crate) struct Conn {
    pub id: ConnId,
    /// The database, or [`NO_DATABASE`].
    pub db: u32,
    pub locks: Locks,
    pub mode: Mode,
    pub open_wait: Option<OpenWait>,
    /// The record that granted what it waited for last.
    pub granted: Option<u64>,
    /// Which statement had waited for that is not known.
    pub granted_to_any: bool,
    /// The wait about which the kernel was asked last, and the ticks at which that attempt began.
    pub asked: Option<(u32, u64)>,
    /// Its last record was this refused attempt.
    pub refused: Option<u32>,
    /// Releases whose end is not known yet: bounded by its next record.
    pub open_ended: bool,
    /// The numbers of those releases.
    pub ended: (u64, u64),
    /// What it does.
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
    pub in_vain: u64,
    /// Bytes that had gone into the WAL when it began to read.
    pub wal_at_read: u64,
}

/// The database of a connection that is not known.
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
    /// Per log and number: 0 unknown, 1 closed, else index + 2.
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

    /// Makes a connection known.
    pub(crate) fn add(&mut self, id: ConnId) -> Index {
        let conn = Conn {
            id,
            db: NO_DATABASE,
            locks: Locks::default(),
            mode: Mode::default(),
            open_wait: None,
            granted: None,
            granted_to_any: false,
            asked: None,
            refused: None,
            open_ended: false,
            ended: (0, 0),
            activity: Activity::default(),
            blocking: 0,
            released: None,
            stale: None,
            restarted: false,
            in_vain: 0,
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

    /// Forgets a connection's state; its number stays known as closed.
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

    /// Whether this thread was seen, since this instant, on a connection of its process other than this one.
    pub(crate) fn seen_elsewhere(&self, but: ConnId, tid: u32, since: u64) -> bool {
        let others = self.live.iter().flatten().filter(|conn| conn.id.log == but.log && conn.id != but);
        tid != 0 && others.into_iter().any(|conn| conn.activity.tid == tid && conn.activity.at > since)
    }

    /// Every live connection.
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
    /// One of its holds. A hold that a writer came to from RESERVED gets the statement that took RESERVED.
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

/// What a connection was before a record changed it.
#[derive(Clone, Copy)]
pub(super) struct Earlier {
    /// Its SHARED lock was that of WAL mode, kept for life.
    pub lifetime: bool,
    /// Its call before was `xCheckReservedLock`.
    pub checked: bool,
}
