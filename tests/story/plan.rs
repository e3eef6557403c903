//! Random programs of transactions on random connections, as strategies for proptest, and the [`Story`] that running them makes: the processes
//! with their records, and the world with the truth.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::conn::Client;
use super::wal::Mode;
use super::world::{Shared, US, World};
use crate::common::{Process, anchor_at};
use proptest::prelude::*;
use shim::event::Slot;

/// A transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// A query, for some time.
    Read,
    /// One statement that writes. Whether it changes anything.
    Write(bool),
    /// `BEGIN IMMEDIATE`, then nothing for some time, then `COMMIT`.
    Immediate,
    /// `BEGIN`, a query, then a change; what it does when that is refused.
    Upgrade(After),
    /// `PRAGMA wal_checkpoint`, or an automatic one; with a rollback journal, another write.
    Checkpoint(Mode),
    /// It closes, and opens a new connection.
    Reopen,
    /// `PRAGMA journal_mode`: out of WAL mode, or into it.
    Switch,
}

/// What an application does after an error inside a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    RollsBack,
    TriesAgain,
}

/// One step of a program; times in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub what: What,
    /// Before it.
    pub pause: u64,
    /// While it holds its lock.
    pub stays: u64,
    /// In its sync, or in copying.
    pub work: u64,
}

/// A connection, for as long as its application wants one.
#[derive(Clone, Debug)]
pub struct Program {
    pub process: usize,
    pub thread: u32,
    /// In milliseconds.
    pub timeout: u64,
    pub own_handler: bool,
    /// `PRAGMA locking_mode=EXCLUSIVE`; only with SQLite's own busy handler.
    pub exclusive: bool,
    pub steps: Vec<Step>,
    pub closes: bool,
}

/// A whole workload.
#[derive(Clone, Debug)]
pub struct Plan {
    pub wal: bool,
    pub seed: u64,
    pub programs: Vec<Program>,
    /// When it is cut off, in microseconds.
    pub until: u64,
    /// With a rollback journal: a process that is not there any more has left one.
    pub hot: bool,
    /// A process that is killed, and when.
    pub kill: Option<(usize, u64)>,
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0u64..300, 3 => 300u64..6_000, 3 => 6_000u64..60_000, 1 => 60_000u64..400_000]
}

fn step() -> impl Strategy<Value = Step> {
    let mode = prop_oneof![Just(Mode::Automatic), Just(Mode::Passive), Just(Mode::Full), Just(Mode::Restart)];
    let after = prop_oneof![Just(After::RollsBack), Just(After::TriesAgain)];
    let what = prop_oneof![
        4 => Just(What::Read),
        4 => prop_oneof![4 => Just(true), 1 => Just(false)].prop_map(What::Write),
        3 => Just(What::Immediate),
        4 => after.prop_map(What::Upgrade),
        2 => mode.prop_map(What::Checkpoint),
        1 => Just(What::Reopen),
        1 => Just(What::Switch),
    ];
    (what, time(), time(), time()).prop_map(|(what, pause, stays, work)| Step { what, pause, stays, work })
}

fn program() -> impl Strategy<Value = Program> {
    let timeout = prop_oneof![2 => Just(0u64), 2 => 1u64..9, 3 => 9u64..90];
    (
        0usize..3,
        0u32..3,
        timeout,
        prop_oneof![6 => Just(false), 1 => Just(true)],
        proptest::collection::vec(step(), 1..7),
        any::<bool>(),
        prop_oneof![8 => Just(false), 1 => Just(true)],
    )
        .prop_map(|(process, thread, timeout, own_handler, steps, closes, exclusive)| {
            let thread = 100 * (process as u32 + 1) + thread;
            let exclusive = exclusive && timeout > 0 && !own_handler;
            Program { process, thread, timeout, own_handler, exclusive, steps, closes }
        })
}

/// Two to five connections, in up to three processes.
pub fn plan() -> impl Strategy<Value = Plan> {
    let until = prop_oneof![3 => Just(20_000_000u64), 1 => 1_000u64..400_000];
    let kill = proptest::option::weighted(0.2, (0usize..3, 1_000u64..300_000));
    let hot = prop_oneof![4 => Just(false), 1 => Just(true)];
    (any::<bool>(), any::<u64>(), proptest::collection::vec(program(), 2..6), until, hot, kill)
        .prop_map(|(wal, seed, programs, until, hot, kill)| Plan { wal, seed, programs, until, hot: hot && !wal, kill })
}

/// What came of a plan.
pub struct Story {
    pub plan: Plan,
    pub processes: Vec<Process>,
    pub world: World,
}

impl Plan {
    /// Runs it.
    pub fn play(&self) -> Story {
        // What exclusive mode makes of a WAL (a wal-index of its own, on the heap) is not played: where it can occur, nobody changes the journal mode.
        let switches = self.programs.iter().all(|program| !program.exclusive);
        let world = Shared::new(self.seed, self.hot, self.wal, switches);
        let start = world.get().now;
        let tasks = self.programs.iter().enumerate().map(|(number, program)| {
            let (world, program) = (world.clone(), program.clone());
            let process = program.process;
            let task = async move {
                let client = Client::new(&world, &program);
                client.lives(number, &program).await;
            };
            (process, Box::pin(task) as std::pin::Pin<Box<dyn Future<Output = ()>>>)
        });
        let kill = self.kill.map(|(process, at)| (process, start + at * US));
        world.run(tasks.collect(), start + self.until * US, kill);
        let world = std::mem::take(&mut *world.get());
        Story { plan: self.clone(), processes: self.processes(&world), world }
    }

    /// The logs of the processes that did anything.
    fn processes(&self, world: &World) -> Vec<Process> {
        let mut records = world.records.clone();
        records.sort_by_key(|record| record.0);
        let logs = (0..3).map(|number| {
            let mut process = Process::new(1000 + number as u32);
            let dead = world.dead.contains(&number);
            process.header.last = (!dead).then(|| anchor_at(world.now / US + 1));
            for (hash, text) in &world.texts {
                let quoted = serde_json::Value::from(&**text);
                process.name(format!(r#"{{"t":"sql","sql":"{hash:016x}","text":{quoted},"len":{}}}"#, text.len()));
            }
            process.records = records.iter().filter(|record| record.1 == number).map(|record| record.2).collect();
            process
        });
        logs.collect()
    }
}

impl Story {
    /// Its records in words, for who has to find out what went wrong.
    pub fn words(&self) -> String {
        let mut records = self.world.records.clone();
        records.sort_by_key(|record| record.2.start);
        let slots =
            |mask: u8| (0..8).filter(|slot| mask & (1 << slot) != 0).map(|slot| format!(" {}", Slot(slot))).collect::<String>();
        let tell = |(_, process, record): &super::world::Written| {
            let start = (record.start - crate::common::EPOCH.ticks) as f64 / US as f64;
            let (from, to) = (record.shm_offset, record.shm_offset + record.shm_n);
            let asked = if to > from { slots((from..to).map(|slot| 1 << slot).sum()) } else { format!(" {}", record.requested) };
            format!(
                "{start:.1}+{:.1} process {process} c{} thread {} {} {:?}{asked} {:?} rc {} {}->{} S{} X{} {:?} {}\n",
                record.duration as f64 / US as f64,
                record.conn,
                record.tid,
                record.kind,
                record.file_kind,
                record.flags,
                record.rc.0,
                record.before,
                record.after,
                slots(record.shm_shared),
                slots(record.shm_exclusive),
                self.world.texts.get(&record.sql),
                record.arg,
            )
        };
        records.iter().map(tell).collect()
    }
}
