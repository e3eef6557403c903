//! A connection's calls to its VFS: each takes some time, is granted or refused at an instant within, and leaves a record.
//!
//! `wal` and `rollback` know what SQLite calls when. This file records it as the shim does: which calls carry a statement, that the release of a slot
//! reads the clock once, that written bytes are recorded when the lock is released.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::plan::Program;
use super::world::{Conn, Nature, Outcome, Shared, US, Work, World};
use crate::common::EPOCH;
use shim::event::{FileKind, Flags, Kind, Level};
use shim::format::record::Record;
use shim::format::sql_hash;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// An open connection.
pub struct Client {
    pub world: Shared,
    pub me: Cell<usize>,
    pub process: usize,
    pub tid: Cell<u32>,
    /// Milliseconds; 0 = no busy handler.
    pub timeout: u64,
    /// The application has a busy handler of its own, which sleeps by itself.
    pub own_handler: bool,
    /// It keeps its locks.
    pub exclusive: bool,
    /// The statement that runs.
    pub statement: RefCell<Option<Rc<str>>>,
    /// It is at work on one.
    working: Cell<bool>,
    pub nature: Cell<Nature>,
}

impl Client {
    pub fn new(world: &Shared, program: &Program) -> Client {
        Client {
            world: world.clone(),
            me: Cell::new(usize::MAX),
            process: program.process,
            tid: Cell::new(program.thread),
            timeout: program.timeout,
            own_handler: program.own_handler,
            exclusive: program.exclusive,
            statement: RefCell::new(None),
            working: Cell::new(false),
            nature: Cell::new(Nature::Commit),
        }
    }

    /// Does this as somebody who has the database file to himself for another reason than a commit.
    pub async fn as_for(&self, nature: Nature, what: impl Future<Output = bool>) -> bool {
        let before = self.nature.replace(nature);
        let done = what.await;
        self.nature.set(before);
        done
    }

    /// The application makes a statement; one at a time on a thread. One that has begun goes on.
    pub async fn begins(&self, text: &str) {
        if self.working.get() {
            return;
        }
        let tid = self.tid.get();
        let mut pause = 20 * US;
        while self.world.get().at_work.contains(&tid) {
            self.world.pause(pause).await;
            pause = (pause + pause / 8).min(2_000 * US);
        }
        self.world.get().at_work.push(tid);
        self.working.set(true);
        *self.statement.borrow_mut() = (!text.is_empty()).then(|| text.into());
        let moment = self.world.get().moment();
        self.world.pause(moment).await;
    }

    /// It is over.
    pub fn ends(&self) {
        *self.statement.borrow_mut() = None;
        self.working.set(false);
        let tid = self.tid.get();
        self.world.get().at_work.retain(|&other| other != tid);
    }

    /// Another connection, with a number of its own.
    pub fn opens(&self) {
        let mut world = self.world.get();
        let number = world.numbers.entry(self.process).or_default();
        *number += 1;
        let conn = Conn {
            process: self.process,
            number: *number,
            wal: false,
            exclusive: self.exclusive,
            last_tid: 0,
            last_end: 0,
            refused_at: 0,
            wait: None,
        };
        world.conns.push(conn);
        self.me.set(world.conns.len() - 1);
    }

    pub(super) fn sql(&self) -> u64 {
        self.statement.borrow().as_ref().map_or(0, |text| {
            let hash = sql_hash(text.as_bytes());
            self.world.get().texts.insert(hash, text.clone());
            hash
        })
    }

    /// Begins a call: gives its start.
    pub(super) async fn enter(&self) -> u64 {
        let gap = 200 + self.world.get().random(US);
        self.world.pause(gap).await;
        let (start, moment) = {
            let mut world = self.world.get();
            (world.now, world.moment())
        };
        self.world.pause(moment).await;
        start
    }

    /// Ends it, with a record.
    pub(super) async fn leave(&self, start: u64, mut record: Record) -> u64 {
        let moment = self.world.get().moment();
        self.world.pause(moment).await;
        let mut world = self.world.get();
        let end = world.now;
        let me = self.me.get();
        (record.start, record.duration) = (EPOCH.ticks + start, if record.flags.has(Flags::ONE_CLOCK) { 0 } else { end - start });
        (record.tid, record.file) = (self.tid.get(), 1);
        if record.kind != Kind::SLEEP {
            record.conn = world.conns[me].number;
            let (level, shared, exclusive) = world.state(me);
            if !matches!(record.kind, Kind::LOCK | Kind::UNLOCK) {
                record.before = Level(level);
            }
            (record.after, record.shm_shared, record.shm_exclusive) = (Level(level), shared, exclusive);
            (world.conns[me].last_tid, world.conns[me].last_end) = (self.tid.get(), end);
        }
        // A record is claimed when its call is over, or a little later.
        let late = world.random(3 * US);
        self.claim(&mut world, end + late, record);
        end
    }

    /// Some other call.
    async fn call(&self, kind: Kind, file_kind: FileKind, arg: u64, ticks: u64) -> (u64, u64) {
        let start = self.enter().await;
        self.world.pause(ticks).await;
        let end = self.leave(start, Record { file_kind, arg, ..Record::new(kind) }).await;
        (start, end)
    }

    pub async fn open(&self, file: FileKind) {
        self.call(Kind::OPEN, file, 0, 0).await;
    }

    pub async fn close(&self, file: FileKind) {
        self.call(Kind::CLOSE, file, 0, 0).await;
    }

    pub async fn map(&self) {
        self.call(Kind::SHM_MAP, FileKind::SHM, 0, 0).await;
    }

    pub async fn unmap(&self, last: bool) {
        self.call(Kind::SHM_UNMAP, FileKind::SHM, last.into(), 0).await;
    }

    pub async fn delete(&self, file: FileKind) {
        self.call(Kind::DELETE, file, 0, 0).await;
    }

    pub async fn check(&self) {
        self.call(Kind::CHECK_RESERVED, FileKind::DATABASE, 0, 0).await;
    }

    /// Written bytes are recorded when the lock is about to be released.
    pub async fn wrote(&self, file: FileKind, bytes: u64) {
        if bytes > 0 {
            let now = self.world.get().now;
            let mut world = self.world.get();
            let me = self.me.get();
            let (level, shared, exclusive) = world.state(me);
            let mut record = Record { file_kind: file, arg: bytes, ..Record::new(Kind::WROTE) };
            (record.start, record.conn, record.tid, record.file) = (EPOCH.ticks + now, world.conns[me].number, self.tid.get(), 1);
            (record.before, record.after, record.shm_shared, record.shm_exclusive) =
                (Level(level), Level(level), shared, exclusive);
            world.conns[me].last_end = now;
            self.claim(&mut world, now, record);
        }
    }

    /// A thread claims its records one after the other.
    fn claim(&self, world: &mut World, at: u64, record: Record) {
        let last = world.claimed.entry(self.tid.get()).or_default();
        *last = at.max(*last + 1);
        let at = *last;
        world.records.push((at, self.process, record));
    }

    /// Something is synced, or copied: it takes this long, under every lock that is held.
    pub async fn works(&self, work: Work, file: FileKind, ticks: u64) {
        let span = match work {
            Work::Sync => self.call(Kind::SYNC, file, 0, ticks).await,
            Work::Copy => {
                let (_, start) = self.call(Kind::CKPT_START, file, 0, 0).await;
                self.world.pause(ticks).await;
                (start, self.call(Kind::CKPT_DONE, file, 0, 0).await.0)
            }
        };
        let mut world = self.world.get();
        for hold in world.held(self.me.get()) {
            world.holds[hold].work.push((work, span.0, span.1));
            world.holds[hold].commits += u32::from(work == Work::Sync && file == FileKind::DATABASE);
        }
    }

    /// Another run of attempts begins with the next one.
    pub fn gives_up(&self, outcome: Outcome) {
        let mut world = self.world.get();
        if let Some(wait) = world.conns[self.me.get()].wait.take() {
            world.waits[wait].outcome = outcome;
        }
    }
}
