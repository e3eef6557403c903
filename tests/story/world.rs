//! The world of a simulation: a clock, a table of who holds what, and what really happened.
//!
//! Each attempt at a lock has a true instant; the whole table decides whether it is granted or refused. The world keeps the truth (holds, refusals,
//! runs) and the records that a recorder would have written. It is slow and obvious on purpose: nothing here knows how the analysis works.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::common::TICKS_PER_US;
use shim::format::record::Record;
use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Ticks in a microsecond.
pub const US: u64 = TICKS_PER_US;

/// A lock: SHARED (1) to EXCLUSIVE (4) on the database file, or a slot of the wal-index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lock {
    File(u8),
    Slot(u8, bool),
}

/// What is asked for: a level, or slots from one to another (both included), exclusively or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    File(u8),
    Slots(u8, u8, bool),
}

pub const LEVELS: [&str; 5] = ["NONE", "SHARED", "RESERVED", "PENDING", "EXCLUSIVE"];
pub const SLOTS: [&str; 8] = ["WRITE", "CKPT", "RECOVER", "READ0", "READ1", "READ2", "READ3", "READ4"];

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Lock::File(level) => f.write_str(LEVELS[usize::from(level)]),
            Lock::Slot(slot, exclusive) => write!(f, "{} {}", if exclusive { 'X' } else { 'S' }, SLOTS[usize::from(slot)]),
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Ask::File(level) => f.write_str(LEVELS[usize::from(level)]),
            Ask::Slots(from, to, exclusive) if from < to => {
                write!(f, "{}..{}", Lock::Slot(from, exclusive), SLOTS[usize::from(to)])
            }
            Ask::Slots(from, _, exclusive) => write!(f, "{}", Lock::Slot(from, exclusive)),
        }
    }
}

impl Ask {
    /// SQLite's conflict table, once more.
    pub fn is_refused_by(self, lock: Lock) -> bool {
        match (self, lock) {
            (Ask::File(1), Lock::File(held)) => held >= 3,
            (Ask::File(2), Lock::File(held)) => held >= 2,
            (Ask::File(_), Lock::File(_)) => true,
            (Ask::Slots(from, to, exclusive), Lock::Slot(slot, held)) => (from..=to).contains(&slot) && (exclusive || held),
            _ => false,
        }
    }
}

/// What was done while a lock was held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    Sync,
    Copy,
}

/// Why somebody has the database file to himself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nature {
    Commit,
    LastClose,
    /// A journal that somebody left is played back.
    HotJournal,
    /// It stays there in exclusive mode.
    Exclusive,
    /// The journal mode is changed.
    Switch,
}

/// A hold, from the call that took it to the call that gave it up; in ticks.
#[derive(Clone, Debug)]
pub struct Hold {
    pub conn: usize,
    pub lock: Lock,
    pub sql: Option<Rc<str>>,
    /// The statement that ran when it was taken: of a writer's PENDING or EXCLUSIVE, another one may have taken RESERVED.
    pub last_sql: Option<Rc<str>>,
    pub tid: u32,
    /// The start and the end of the call that took it.
    pub taken: (u64, u64),
    /// Start and end of the call that gave it up.
    pub released: Option<(u64, u64)>,
    /// It is in the table.
    pub live: bool,
    pub nature: Nature,
    /// Its transaction was opened by a statement of its own, waits for nothing, and does nothing for most of the time.
    pub idle: bool,
    pub work: Vec<(Work, u64, u64)>,
    /// Syncs of the database file among that.
    pub commits: u32,
    /// The wal-index was rebuilt under it.
    pub recovered: bool,
}

/// A refused attempt.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub conn: usize,
    pub ask: Ask,
    pub start: u64,
    pub end: u64,
    /// The holds that refused it, one of each connection.
    pub holders: Vec<usize>,
    /// The threads that had made the last call of those connections, before it began and when it was over.
    pub last_tids: Vec<(u32, u32)>,
}

/// What a connection was about when it was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// A statement begins a transaction by writing.
    StartsToWrite,
    /// A transaction that reads wants to write.
    Upgrades,
    /// A writer wants EXCLUSIVE.
    Commits,
    /// A read begins.
    Reads,
    /// A reader's slot that SQLite does without.
    Spares,
    /// A checkpoint wants a reader's slot; whether with WRITE in its hands.
    Copies(bool),
    /// A checkpoint wants CKPT; whether a statement asked for it.
    Checkpoints(bool),
    /// Is it the last one?
    Closes,
    /// Recovery of the wal-index.
    Recovers,
    /// A journal that somebody left is to be played back.
    PlaysBack,
    /// A writer in exclusive mode wants the WAL to itself.
    Enters,
    /// The journal mode is to be changed.
    Switches,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Succeeded,
    GaveUp,
    Open,
}

/// A run of refused attempts.
#[derive(Clone, Debug)]
pub struct Wait {
    pub conn: usize,
    pub ask: Ask,
    pub why: Why,
    pub sql: Option<Rc<str>>,
    pub tid: u32,
    pub refusals: Vec<usize>,
    /// While it waited for something else, it found the wal-index out of order: the refusals it met on that way.
    pub aside: Vec<usize>,
    /// Its connection was in WAL mode.
    pub wal: bool,
    pub sleeps: u32,
    /// The start of the first attempt; the end of the one that was granted, or of the last one.
    pub span: (u64, u64),
    pub outcome: Outcome,
    /// The handler had been called before the first of these attempts already.
    pub slept_before: bool,
    /// After its last attempt, nothing was left of its timeout.
    pub exhausted: bool,
    /// It ended with `SQLITE_PROTOCOL`.
    pub protocol: bool,
}

/// An upgrade of a transaction whose snapshot had become stale.
#[derive(Clone, Debug)]
pub struct Stale {
    pub conn: usize,
    pub sql: Option<Rc<str>>,
    pub start: u64,
    /// The hold that made it stale last.
    pub peer: usize,
}

/// A connection as its process sees it.
#[derive(Clone, Debug)]
pub struct Conn {
    pub process: usize,
    /// Its number in its process.
    pub number: u32,
    pub wal: bool,
    /// It is in exclusive mode.
    pub exclusive: bool,
    /// The thread that made its last call.
    pub last_tid: u32,
    /// The end of its last record.
    pub last_end: u64,
    /// When it was refused a lock last.
    pub refused_at: u64,
    pub wait: Option<usize>,
}

/// The write-ahead log, as far as locks depend on it.
#[derive(Clone, Debug)]
pub struct Wal {
    pub frames: u64,
    pub backfilled: u64,
    pub marks: [Option<u64>; 5],
    /// The holds that committed something, in order.
    pub commits: Vec<usize>,
    /// The header of the wal-index is in order: somebody has made it, and nobody is changing it.
    pub valid: bool,
}

/// A record: when it was claimed, and by which process.
pub type Written = (u64, usize, Record);

#[derive(Default)]
pub struct World {
    pub now: u64,
    /// Somebody who is not there any more has left a journal.
    pub hot: bool,
    /// What the header of the database says, and whether that may change.
    pub in_wal: bool,
    pub switches: bool,
    /// When the task that runs wants to go on.
    wake: u64,
    random: u64,
    pub conns: Vec<Conn>,
    pub holds: Vec<Hold>,
    pub refusals: Vec<Refusal>,
    pub waits: Vec<Wait>,
    pub stale: Vec<Stale>,
    pub wal: Wal,
    pub records: Vec<Written>,
    /// Statements.
    pub texts: BTreeMap<u64, Rc<str>>,
    /// Threads at work in SQLite.
    pub at_work: Vec<u32>,
    /// The connection that a thread was refused a lock on last.
    pub refused_on: BTreeMap<u32, usize>,
    /// When a thread claimed its last record.
    pub claimed: BTreeMap<u32, u64>,
    pub dead: Vec<usize>,
    pub numbers: BTreeMap<usize, u32>,
}

impl Default for Wal {
    fn default() -> Wal {
        Wal { frames: 0, backfilled: 0, marks: [Some(0), None, None, None, None], commits: Vec::new(), valid: false }
    }
}

impl World {
    /// A number below `n`, from the seed alone.
    pub fn random(&mut self, n: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }

    /// A moment: mostly about a microsecond, sometimes a few hundred.
    pub fn moment(&mut self) -> u64 {
        let long = self.random(12) == 0;
        200 + self.random(if long { 300 * US } else { 2 * US })
    }

    /// The holds that block this attempt, the weakest of each connection.
    pub fn in_the_way(&self, me: usize, ask: Ask) -> Vec<usize> {
        let mut found: BTreeMap<usize, usize> = BTreeMap::new();
        for (index, hold) in self.holds.iter().enumerate() {
            if hold.live && hold.conn != me && ask.is_refused_by(hold.lock) {
                let known = found.entry(hold.conn).or_insert(index);
                if hold.lock < self.holds[*known].lock {
                    *known = index;
                }
            }
        }
        found.into_values().collect()
    }

    /// What a connection holds.
    pub fn held(&self, conn: usize) -> Vec<usize> {
        (0..self.holds.len()).filter(|&index| self.holds[index].live && self.holds[index].conn == conn).collect()
    }

    /// Its level, and its slots: shared, exclusive.
    pub fn state(&self, conn: usize) -> (u8, u8, u8) {
        let mut state = (0, 0, 0);
        for hold in self.held(conn) {
            match self.holds[hold].lock {
                Lock::File(level) => state.0 = state.0.max(level),
                Lock::Slot(slot, false) => state.1 |= 1 << slot,
                Lock::Slot(slot, true) => state.2 |= 1 << slot,
            }
        }
        state
    }

    /// The hold of a lock a connection has now.
    pub fn hold(&mut self, conn: usize, lock: Lock) -> Option<&mut Hold> {
        self.holds.iter_mut().find(|hold| hold.live && hold.conn == conn && hold.lock == lock)
    }
}

/// The world, shared by its tasks.
#[derive(Clone)]
pub struct Shared(pub Rc<RefCell<World>>);

type Task = Pin<Box<dyn Future<Output = ()>>>;

impl Shared {
    pub fn new(seed: u64, hot: bool, in_wal: bool, switches: bool) -> Shared {
        let world = World { random: seed, hot, in_wal, switches, now: 10_000 * US, ..World::default() };
        Shared(Rc::new(RefCell::new(world)))
    }

    pub fn get(&self) -> RefMut<'_, World> {
        self.0.borrow_mut()
    }

    /// Goes on after this many ticks.
    pub async fn pause(&self, ticks: u64) {
        let mut first = true;
        std::future::poll_fn(|_| {
            if !std::mem::take(&mut first) {
                return Poll::Ready(());
            }
            let mut world = self.get();
            world.wake = world.now + ticks;
            Poll::Pending
        })
        .await;
    }

    /// Runs tasks (each of a process) in the order of their clocks, until all are done, or this instant comes; a process can be killed at another one.
    pub fn run(&self, tasks: Vec<(usize, Task)>, until: u64, kill: Option<(usize, u64)>) {
        let start = self.get().now;
        let mut tasks: Vec<(u64, usize, Task)> = tasks.into_iter().map(|(process, task)| (start, process, task)).collect();
        let mut context = Context::from_waker(Waker::noop());
        for turn in 0.. {
            assert!(turn < 1_000_000, "a story without an end");
            let Some(next) = (0..tasks.len()).min_by_key(|&at| tasks[at].0) else { return };
            let due = tasks[next].0;
            if let Some((process, at)) = kill
                && due >= at
                && !self.get().dead.contains(&process)
            {
                self.kill(process, at);
                tasks.retain(|task| task.1 != process);
                continue;
            }
            if due > until {
                break;
            }
            self.get().now = due;
            match tasks[next].2.as_mut().poll(&mut context) {
                Poll::Pending => tasks[next].0 = self.get().wake,
                Poll::Ready(()) => drop(tasks.remove(next)),
            }
        }
        self.get().now = until;
    }

    /// Its locks are gone, and no record shows it.
    fn kill(&self, process: usize, at: u64) {
        let mut world = self.get();
        world.now = at;
        world.dead.push(process);
        let World { conns, holds, .. } = &mut *world;
        for hold in holds.iter_mut().filter(|hold| conns[hold.conn].process == process) {
            hold.live = false;
        }
    }
}
