//! A connection's attempts at locks, and its releases: the table grants or refuses each, with its record and the truth about it.
#![allow(clippy::indexing_slicing)]

use super::busy::Handler;
use super::conn::Client;
use super::truth::PATIENCE;
use super::world::{Ask, Hold, Lock, Outcome, Refusal, Wait, Why};
use shim::event::{FileKind, Flags, Kind, Level, ResultCode};
use shim::format::record::Record;

/// A read lock that was held for longer carries its statement when it is released.
const LONG: u64 = 1 << 20;

impl Client {
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
            // (WRITE for the header alone is not what a writer waits for.)
            let wanted = |wait: &Wait| wait.ask == ask && (why != Why::Recovers || wait.why == why);
            let over = |wait: &Wait| wanted(wait) || (reads && wait.why == Why::Recovers);
            if let Some(wait) = world.conns[me].wait.filter(|&wait| over(&world.waits[wait])) {
                (world.waits[wait].outcome, world.waits[wait].span.1) = (Outcome::Succeeded, end);
                world.conns[me].wait = None;
            }
            return true;
        }
        world.refused_on.insert(self.tid.get(), me);
        world.conns[me].refused_at = end;
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
        // Locks that SQLite can do without are another matter.
        let open = world.conns[me].wait.filter(|&wait| {
            let wait = &world.waits[wait];
            let next = why == Why::Upgrades && start - wait.span.1 > PATIENCE;
            // A writer that has to begin again may be refused SHARED, too: it still waits to write.
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

    /// Whether a refused EXCLUSIVE leaves PENDING: only readers block it.
    fn may_wait_at_pending(&self, in_the_way: &[usize], before: u8) -> bool {
        let mut world = self.world.get();
        let readers = in_the_way.iter().all(|&hold| world.state(world.holds[hold].conn).0 == 1);
        readers && (before == 2 || world.random(2) == 0)
    }

    /// Releases levels or slots. The release of `LONG` ones, and of those under which it was refused something, carries its statement.
    async fn give(&self, record: Record, gone: &dyn Fn(Lock) -> bool, reading: &dyn Fn(Lock) -> bool) {
        let me = self.me.get();
        let tells = {
            let world = self.world.get();
            let now = world.now;
            let since =
                world.held(me).into_iter().filter(|&hold| reading(world.holds[hold].lock)).map(|hold| world.holds[hold].taken.0);
            since.min().is_some_and(|since| now - since > LONG || world.conns[me].refused_at > since)
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
