//! A connection's calls to its VFS: each takes some time, is granted or refused at an instant within, and leaves a record.
//!
//! Called by `wal` and `rollback`, which know what SQLite calls when. What a recorder notes is written down as the shim does it: which calls
//! tell a statement, that the release of a slot reads the clock once, that bytes written are told when the lock is given up.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::busy::Handler;
use super::plan::Program;
use super::truth::PATIENCE;
use super::world::{Ask, Conn, Hold, Lock, Nature, Outcome, Refusal, Shared, US, Wait, Why, Work, World};
use crate::common::EPOCH;
use locktrace::event::{FileKind, Flags, Kind, Level, ResultCode};
use locktrace::format::record::Record;
use locktrace::format::sql_hash;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// A read lock that was held for longer tells its statement when it is given up.
const LONG: u64 = 1 << 20;

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
            wait: None,
        };
        world.conns.push(conn);
        self.me.set(world.conns.len() - 1);
    }

    fn sql(&self) -> u64 {
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

    /// Bytes that were written are told when the lock is about to be given up.
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

    /// Takes a lock. Whether it was granted.
    pub async fn take(&self, ask: Ask, why: Why, handler: &Handler) -> bool {
        let me = self.me.get();
        let before = self.world.get().state(me).0;
        let start = self.enter().await;
        let (in_the_way, tids) = {
            let world = self.world.get();
            let found = world.in_the_way(me, ask);
            let tids: Vec<u32> = found.iter().map(|&hold| world.conns[world.holds[hold].conn].last_tid).collect();
            (found, tids)
        };
        let granted = in_the_way.is_empty();
        let now = self.world.get().now;
        let mut fresh = Vec::new();
        if granted {
            match ask {
                Ask::File(level) => fresh.push(Lock::File(level)),
                Ask::Slots(from, to, exclusive) => fresh.extend((from..=to).map(|slot| Lock::Slot(slot, exclusive))),
            }
        } else if ask == Ask::File(4) && before < 3 && self.may_wait_at_pending(&in_the_way, before) {
            fresh.push(Lock::File(3));
        }
        for &lock in &fresh {
            // A writer's hold is called after the statement that made it one.
            let reserved = self.world.get().hold(me, Lock::File(2)).and_then(|hold| hold.sql.clone());
            let sql = if matches!(lock, Lock::File(3..)) { reserved } else { None };
            // No statement is asked for where EXCLUSIVE is taken from SHARED.
            let silent = ask == Ask::File(4) && before <= 1;
            let last_sql = self.statement.borrow().clone().filter(|_| !silent);
            let sql = sql.or_else(|| last_sql.clone());
            let hold = Hold {
                conn: me,
                lock,
                sql,
                last_sql,
                tid: self.tid.get(),
                taken: (start, now),
                released: None,
                live: true,
                nature: self.nature.get(),
                idle: false,
                work: Vec::new(),
                commits: 0,
                recovered: false,
            };
            self.world.get().holds.push(hold);
        }
        let silent = ask == Ask::File(4) && before <= 1;
        let mut record = Record { sql: if silent { 0 } else { self.sql() }, ..Record::new(Kind::LOCK) };
        match ask {
            Ask::File(level) => {
                (record.file_kind, record.requested, record.before) = (FileKind::DATABASE, Level(level), Level(before))
            }
            Ask::Slots(from, to, exclusive) => {
                (record.kind, record.file_kind) = (Kind::SHM_LOCK, FileKind::SHM);
                (record.shm_offset, record.shm_n) = (from, to - from + 1);
                record.flags = if exclusive { Flags::SHM_EXCLUSIVE } else { Flags(0) };
            }
        }
        record.rc = if granted { ResultCode(0) } else { ResultCode::BUSY };
        let end = self.leave(start, record).await;
        let mut world = self.world.get();
        for hold in world.held(me) {
            if fresh.contains(&world.holds[hold].lock) && world.holds[hold].taken.0 == start {
                world.holds[hold].taken.1 = end;
            }
        }
        if granted {
            // Who waited for the wal-index reads, once somebody else has put it in order.
            let reads = matches!(ask, Ask::Slots(3.., ..));
            let over = |wait: &Wait| wait.ask == ask || (reads && wait.why == Why::Recovers);
            if let Some(wait) = world.conns[me].wait.filter(|&wait| over(&world.waits[wait])) {
                (world.waits[wait].outcome, world.waits[wait].span.1) = (Outcome::Succeeded, end);
                world.conns[me].wait = None;
            }
            return true;
        }
        world.refused_on.insert(self.tid.get(), me);
        let later: Vec<u32> = in_the_way.iter().map(|&hold| world.conns[world.holds[hold].conn].last_tid).collect();
        let last_tids = tids.into_iter().zip(later).collect();
        world.refusals.push(Refusal { conn: me, ask, start, end, holders: in_the_way, last_tids });
        let refusal = world.refusals.len() - 1;
        // Who waits for something else, and finds the wal-index out of order, still waits for that.
        let waits = world.conns[me].wait.filter(|&wait| why == Why::Recovers && world.waits[wait].why == Why::StartsToWrite);
        if let Some(wait) = waits.filter(|&wait| world.waits[wait].wal) {
            world.waits[wait].aside.push(refusal);
            return false;
        }
        // What SQLite does without on its way is a matter of its own.
        let open = world.conns[me].wait.filter(|&wait| {
            let wait = &world.waits[wait];
            let next = why == Why::Upgrades && start - wait.span.1 > PATIENCE;
            // A writer that has to begin anew may be refused SHARED, too: it still waits to write.
            let anew = matches!(wait.why, Why::StartsToWrite | Why::PlaysBack) && why == Why::Reads;
            anew || (wait.why == why && (wait.ask == ask || why == Why::Recovers) && !next)
        });
        let wait = open.unwrap_or_else(|| {
            let sql = self.statement.borrow().clone().filter(|_| !silent);
            let wait = Wait {
                conn: me,
                ask,
                why,
                sql,
                tid: self.tid.get(),
                refusals: Vec::new(),
                aside: Vec::new(),
                wal: world.conns[me].wal,
                sleeps: 0,
                span: (start, end),
                outcome: Outcome::Open,
                slept_before: handler.count > 0,
                exhausted: false,
                protocol: false,
            };
            world.waits.push(wait);
            world.waits.len() - 1
        });
        if why == Why::Spares || why == Why::Closes {
            world.waits[wait].outcome = Outcome::GaveUp;
        } else {
            world.conns[me].wait = Some(wait);
        }
        world.waits[wait].refusals.push(refusal);
        world.waits[wait].span.1 = end;
        world.waits[wait].exhausted = handler.slept >= self.timeout;
        false
    }

    /// Takes a level that it has: no transition happens.
    pub(super) async fn takes_again(&self, level: u8) {
        let sql = self.sql();
        let start = self.enter().await;
        let mut record = Record { sql, file_kind: FileKind::DATABASE, flags: Flags::REDUNDANT, ..Record::new(Kind::LOCK) };
        (record.requested, record.before) = (Level(level), Level(level));
        self.leave(start, record).await;
    }

    /// Whether a refused EXCLUSIVE leaves PENDING: only readers are in the way.
    fn may_wait_at_pending(&self, in_the_way: &[usize], before: u8) -> bool {
        let mut world = self.world.get();
        let readers = in_the_way.iter().all(|&hold| world.state(world.holds[hold].conn).0 == 1);
        readers && (before == 2 || world.random(2) == 0)
    }

    /// Gives levels or slots up. `LONG` ones tell their statement.
    async fn give(&self, record: Record, gone: &dyn Fn(Lock) -> bool, reading: &dyn Fn(Lock) -> bool) {
        let me = self.me.get();
        let tells = {
            let world = self.world.get();
            let now = world.now;
            let since =
                world.held(me).into_iter().filter(|&hold| reading(world.holds[hold].lock)).map(|hold| world.holds[hold].taken.0);
            since.min().is_some_and(|since| now - since > LONG)
        };
        let sql = if tells { self.sql() } else { 0 };
        let start = self.enter().await;
        let mut ended = Vec::new();
        {
            let mut world = self.world.get();
            for hold in world.held(me) {
                if gone(world.holds[hold].lock) {
                    world.holds[hold].live = false;
                    ended.push(hold);
                }
            }
        }
        let end = self.leave(start, Record { sql, ..record }).await;
        let mut world = self.world.get();
        for hold in ended {
            world.holds[hold].released = Some((start, end));
        }
    }

    pub async fn unlock(&self, level: u8) {
        let before = self.world.get().state(self.me.get()).0;
        let mut record = Record::new(Kind::UNLOCK);
        (record.file_kind, record.requested, record.before) = (FileKind::DATABASE, Level(level), Level(before));
        if level >= before {
            record.flags = Flags::REDUNDANT;
        }
        self.give(record, &|lock| matches!(lock, Lock::File(held) if held > level), &|lock| lock == Lock::File(1)).await;
    }

    pub async fn give_slots(&self, from: u8, to: u8, exclusive: bool) {
        let mut record = Record::new(Kind::SHM_LOCK);
        (record.file_kind, record.shm_offset, record.shm_n) = (FileKind::SHM, from, to - from + 1);
        record.flags = Flags::SHM_UNLOCK.with(Flags::ONE_CLOCK).with(if exclusive { Flags::SHM_EXCLUSIVE } else { Flags(0) });
        let gone = |lock: Lock| matches!(lock, Lock::Slot(slot, mode) if (from..=to).contains(&slot) && mode == exclusive);
        self.give(record, &gone, &|lock| !exclusive && matches!(lock, Lock::Slot(3.., false))).await;
    }
}
