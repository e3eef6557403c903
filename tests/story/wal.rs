//! SQLite's calls in WAL mode (wal.c), as far as locks are concerned. The table of locks grants or refuses each of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::busy::Handler;
use super::conn::Client;
use super::rollback::Shared;
use super::world::{Ask, Lock, Nature, Outcome, Stale, US, Why, Work};
use shim::event::FileKind;

const WRITE: Ask = Ask::Slots(0, 0, true);
const CKPT: Ask = Ask::Slots(1, 1, true);

/// A snapshot: the reader's slot, and how many commits there were.
#[derive(Clone, Copy)]
pub struct Snapshot {
    slot: u8,
    commits: usize,
}

/// A checkpoint, by how much it wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Automatic,
    Passive,
    Full,
    Restart,
}

/// Between a slot and the first reader's slot.
const READ0: u8 = 3;

impl Client {
    /// The database is opened and read for the first time. Whether it was let in.
    pub async fn opens_wal(&self, handler: &mut Handler) -> bool {
        self.opens();
        self.open(FileKind::DATABASE).await;
        self.nature.set(Nature::Commit);
        match self.shares(handler).await {
            Shared::Refused => {
                self.close(FileKind::DATABASE).await;
                return false;
            }
            // Somebody has left WAL mode.
            Shared::Reads => {
                self.lets_go().await;
                return true;
            }
            Shared::InWal => {}
        }
        match self.reads(handler).await {
            Some(snapshot) => self.stops_reading(snapshot).await,
            None => {
                self.closes_wal().await;
                return false;
            }
        }
        true
    }

    /// It has SHARED, and finds the database in WAL mode.
    pub(super) async fn finds_wal(&self) {
        self.open(FileKind::WAL).await;
        self.map().await;
        let me = self.me.get();
        self.world.get().conns[me].wal = true;
    }

    /// It closes; the last one checkpoints and deletes the WAL.
    pub async fn closes_wal(&self) {
        self.nature.set(Nature::LastClose);
        let alone = self.take(Ask::File(4), Why::Closes, &Handler::default()).await;
        if alone {
            let ticks = (3_000 + self.world.get().random(30_000)) * US;
            self.works(Work::Copy, FileKind::DATABASE, ticks).await;
        }
        self.unmap(alone).await;
        self.close(FileKind::WAL).await;
        if alone {
            self.delete(FileKind::WAL).await;
            self.world.get().wal = super::world::Wal::default();
        }
        self.unlock(0).await;
        self.close(FileKind::DATABASE).await;
        self.nature.set(Nature::Commit);
    }

    /// `walTryBeginRead`, again until it reads, or a hundred times: from the sixth on it sleeps first, longer and longer, whatever busy handler there is.
    pub async fn reads(&self, handler: &mut Handler) -> Option<Snapshot> {
        let mut tries = 0;
        loop {
            tries += 1;
            if tries > 100 {
                return self.protocol();
            }
            if tries > 5 {
                self.sleeps(if tries < 10 { 1 } else { (tries - 9) * (tries - 9) * 39 }).await;
            }
            if !self.world.get().wal.valid && !self.recovers(handler, &mut tries).await? {
                continue;
            }
            let (all, frames) = {
                let world = self.world.get();
                (world.wal.backfilled == world.wal.frames, world.wal.frames)
            };
            if all && self.take(Ask::Slots(READ0, READ0, false), Why::Spares, handler).await {
                if let Some(snapshot) = self.still(0, frames).await {
                    return Some(snapshot);
                }
                continue;
            }
            let best = |marks: [Option<u64>; 5]| {
                (1..5).filter(|&slot| marks[slot].is_some_and(|mark| mark <= frames)).max_by_key(|&slot| marks[slot])
            };
            let marks = self.world.get().wal.marks;
            let mut slot = best(marks);
            if slot.is_none_or(|slot| marks[slot] < Some(frames)) {
                for other in 1..5u8 {
                    if self.take(Ask::Slots(READ0 + other, READ0 + other, true), Why::Spares, handler).await {
                        self.world.get().wal.marks[usize::from(other)] = Some(frames);
                        self.give_slots(READ0 + other, READ0 + other, true).await;
                        slot = Some(other.into());
                        break;
                    }
                }
            }
            let Some(slot) = slot.map(|slot| slot as u8) else { continue };
            let mark = self.world.get().wal.marks[usize::from(slot)];
            if !self.take(Ask::Slots(READ0 + slot, READ0 + slot, false), Why::Spares, handler).await {
                continue;
            }
            if self.world.get().wal.marks[usize::from(slot)] != mark {
                self.give_slots(READ0 + slot, READ0 + slot, false).await;
                continue;
            }
            if let Some(snapshot) = self.still(slot, frames).await {
                return Some(snapshot);
            }
        }
    }

    /// `SQLITE_PROTOCOL`.
    fn protocol<T>(&self) -> Option<T> {
        let wait = self.world.get().conns[self.me.get()].wait;
        if let Some(wait) = wait {
            self.world.get().waits[wait].protocol = true;
        }
        self.gives_up(Outcome::GaveUp);
        None
    }

    /// The slot was taken in time; otherwise it is given back.
    async fn still(&self, slot: u8, frames: u64) -> Option<Snapshot> {
        let (now, valid, commits) = {
            let world = self.world.get();
            (world.wal.frames, world.wal.valid, world.wal.commits.len())
        };
        if now == frames && valid {
            return Some(Snapshot { slot, commits });
        }
        self.give_slots(READ0 + slot, READ0 + slot, false).await;
        None
    }

    /// The wal-index is not in order. Whether it is now; `None`: given up. It calls the busy handler, which tries again, so that `tries` starts again, too.
    async fn recovers(&self, handler: &mut Handler, tries: &mut u64) -> Option<bool> {
        if self.take(WRITE, Why::Recovers, handler).await {
            let valid = self.world.get().wal.valid;
            // A connection that only checks whether RECOVER is free can block that.
            if !valid && !self.take(Ask::Slots(1, 2, true), Why::Spares, handler).await {
                self.give_slots(0, 0, true).await;
                return Some(false);
            }
            if !valid {
                for slot in 1..5 {
                    if self.take(Ask::Slots(READ0 + slot, READ0 + slot, true), Why::Spares, handler).await {
                        self.give_slots(READ0 + slot, READ0 + slot, true).await;
                    }
                }
                let ticks = self.world.get().random(8_000) * US;
                self.world.pause(ticks).await;
                self.world.get().wal.valid = true;
                let me = self.me.get();
                if let Some(hold) = self.world.get().hold(me, Lock::Slot(0, true)) {
                    hold.recovered = true;
                }
                self.give_slots(1, 2, true).await;
            }
            self.give_slots(0, 0, true).await;
            return Some(true);
        }
        if self.take(Ask::Slots(2, 2, false), Why::Recovers, handler).await {
            // Somebody has WRITE, and does not recover (yet): once more, without a sleep at first.
            self.give_slots(2, 2, false).await;
            return Some(false);
        }
        if self.busy(handler).await {
            *tries = 0;
            return Some(false);
        }
        self.gives_up(Outcome::GaveUp);
        None
    }

    pub async fn stops_reading(&self, snapshot: Snapshot) {
        self.give_slots(READ0 + snapshot.slot, READ0 + snapshot.slot, false).await;
    }

    /// A statement that begins a transaction by writing.
    pub async fn starts_to_write(&self, handler: &mut Handler) -> Option<Snapshot> {
        loop {
            let snapshot = self.reads(handler).await?;
            if self.exclusive {
                self.enters().await;
            } else if self.take(WRITE, Why::StartsToWrite, handler).await {
                if self.is_current(snapshot) {
                    return Some(snapshot);
                }
                // Another connection was faster: SQLite begins again by itself.
                self.give_slots(0, 0, true).await;
            }
            self.stops_reading(snapshot).await;
            if !self.busy(handler).await {
                self.gives_up(Outcome::GaveUp);
                return None;
            }
        }
    }

    /// A writer in exclusive mode wants the WAL to itself, before it writes. Where it gets it, it goes back to the normal mode; otherwise PENDING
    /// may stay (`sqlite3PagerBegin`).
    async fn enters(&self) {
        if self.as_for(Nature::Exclusive, self.take(Ask::File(4), Why::Enters, &Handler::default())).await {
            self.works(Work::Sync, FileKind::WAL, 100 * US).await;
            self.unlock(1).await;
        }
    }

    /// The header of the wal-index is what it was when it was read (`sqlite3WalBeginWriteTransaction`).
    fn is_current(&self, snapshot: Snapshot) -> bool {
        let world = self.world.get();
        world.wal.valid && world.wal.commits.len() == snapshot.commits
    }

    /// A transaction that reads wants to write. Whether it may.
    pub async fn upgrades(&self, snapshot: Snapshot) -> bool {
        let start = self.world.get().now;
        if !self.take(WRITE, Why::Upgrades, &Handler::default()).await {
            return false;
        }
        if self.is_current(snapshot) {
            return true;
        }
        // Where nobody has committed, who was about to was killed.
        let peer = self.world.get().wal.commits.get(snapshot.commits..).and_then(|later| later.last().copied());
        self.give_slots(0, 0, true).await;
        let Some(peer) = peer else { return false };
        let sql = self.statement.borrow().clone();
        self.world.get().stale.push(Stale { conn: self.me.get(), sql, start, peer });
        false
    }

    /// Ends a transaction that holds WRITE: with what it wrote, and how long it synced.
    pub async fn commits_wal(&self, snapshot: Snapshot, frames: u64, sync: u64) {
        let mut snapshot = snapshot;
        let restarts = snapshot.slot == 0 && self.world.get().wal.backfilled > 0;
        if frames > 0 && restarts && self.take(Ask::Slots(READ0 + 1, READ0 + 4, true), Why::Spares, &Handler::default()).await {
            {
                let wal = &mut self.world.get().wal;
                (wal.frames, wal.backfilled) = (0, 0);
                wal.marks = [Some(0), Some(0), None, None, None];
            }
            self.give_slots(READ0 + 1, READ0 + 4, true).await;
        }
        if frames > 0 && snapshot.slot == 0 {
            // It does not ignore the WAL any longer.
            self.give_slots(READ0, READ0, false).await;
            for slot in 1..5u8 {
                let mark = self.world.get().wal.frames;
                if self.world.get().wal.marks[usize::from(slot)] != Some(mark) {
                    if !self.take(Ask::Slots(READ0 + slot, READ0 + slot, true), Why::Spares, &Handler::default()).await {
                        continue;
                    }
                    self.world.get().wal.marks[usize::from(slot)] = Some(mark);
                    self.give_slots(READ0 + slot, READ0 + slot, true).await;
                }
                if self.take(Ask::Slots(READ0 + slot, READ0 + slot, false), Why::Spares, &Handler::default()).await {
                    snapshot.slot = slot;
                    break;
                }
            }
        }
        if sync > 0 {
            self.works(Work::Sync, FileKind::WAL, sync).await;
        }
        if frames > 0 {
            self.world.get().wal.valid = false;
            let ticks = self.stopped();
            self.world.pause(ticks).await;
            self.world.get().wal.valid = true;
            self.wrote(FileKind::WAL, frames * 4120).await;
            let me = self.me.get();
            let mut world = self.world.get();
            let hold =
                world.holds.iter().position(|hold| hold.live && hold.conn == me && hold.lock == Lock::Slot(0, true)).unwrap();
            world.wal.frames += frames;
            world.wal.commits.push(hold);
        }
        self.give_slots(0, 0, true).await;
        if snapshot.slot > 0 || frames == 0 {
            self.stops_reading(snapshot).await;
        }
    }

    /// For how long the header of the wal-index is half-written: for a moment, or until its writer is let run again.
    fn stopped(&self) -> u64 {
        let mut world = self.world.get();
        match world.random(24) {
            0 => world.random(12_000_000) * US,
            1 => world.random(60_000) * US,
            2 | 3 => world.random(800) * US,
            _ => 0,
        }
    }

    /// A checkpoint; copying takes this long.
    pub async fn checkpoints(&self, mode: Mode, copy: u64) {
        let mut handler = Handler::default();
        // (What it does while somebody changes the header is not played: it tries once to put it in order.)
        while !self.world.get().wal.valid {
            let writes = self.world.get().holds.iter().any(|hold| hold.live && hold.lock == Lock::Slot(0, true));
            if !writes {
                return;
            }
            self.world.pause(1_000 * US).await;
        }
        if !self.take(CKPT, Why::Checkpoints(mode != Mode::Automatic), &handler).await {
            self.gives_up(Outcome::GaveUp);
            return;
        }
        let mut waits = matches!(mode, Mode::Full | Mode::Restart);
        let mut writes = false;
        while waits {
            if self.take(WRITE, Why::StartsToWrite, &handler).await {
                writes = true;
                break;
            }
            if !self.busy(&mut handler).await {
                self.gives_up(Outcome::GaveUp);
                waits = false;
            }
        }
        let whole = waits;
        let frames = self.world.get().wal.frames;
        if self.world.get().wal.backfilled < frames {
            let mut safe = frames;
            for slot in 1..5u8 {
                let Some(mark) = self.world.get().wal.marks[usize::from(slot)].filter(|&mark| mark < safe) else { continue };
                if self.reaches(Ask::Slots(READ0 + slot, READ0 + slot, true), writes, waits, &mut handler).await {
                    self.world.get().wal.marks[usize::from(slot)] = (slot == 1).then_some(safe);
                    self.give_slots(READ0 + slot, READ0 + slot, true).await;
                } else {
                    (safe, waits) = (mark, false);
                }
            }
            let more = self.world.get().wal.backfilled < safe;
            if more && self.reaches(Ask::Slots(READ0, READ0, true), writes, waits, &mut handler).await {
                self.works(Work::Copy, FileKind::DATABASE, copy).await;
                self.world.get().wal.backfilled = safe;
                self.give_slots(READ0, READ0, true).await;
            }
        }
        let all = {
            let world = self.world.get();
            world.wal.backfilled == world.wal.frames
        };
        if whole && all && mode == Mode::Restart {
            let slots = Ask::Slots(READ0 + 1, READ0 + 4, true);
            if self.reaches(slots, writes, true, &mut handler).await {
                self.give_slots(READ0 + 1, READ0 + 4, true).await;
            }
        }
        if writes {
            self.give_slots(0, 0, true).await;
        }
        self.give_slots(1, 1, true).await;
    }

    /// A reader's slot, for a checkpoint.
    async fn reaches(&self, ask: Ask, writes: bool, waits: bool, handler: &mut Handler) -> bool {
        loop {
            if self.take(ask, Why::Copies(writes), handler).await {
                return true;
            }
            if !waits || !self.busy(handler).await {
                self.gives_up(Outcome::GaveUp);
                return false;
            }
        }
    }
}
