//! Applications on a connection: the statements of a program, one after the other, and what follows an error. One task for each program.

use super::busy::Handler;
use super::conn::Client;
use super::plan::{After, Program, Step, What};
use super::rollback::Shared;
use super::wal::{Mode, Snapshot};
use super::world::{Ask, Lock, Nature, Outcome, US, Why, Work};
use shim::event::FileKind;

impl Client {
    /// The application's whole life with this connection.
    pub(super) async fn lives(&self, number: usize, program: &Program) {
        let mut open = false;
        for (place, step) in program.steps.iter().enumerate() {
            self.world.pause(step.pause * US).await;
            // Every statement has a text of its own.
            let name = format!("t{number} -- {place}");
            if !open {
                self.begins(&format!("SELECT 1 FROM {name}")).await;
                let wal = self.world.get().in_wal;
                open = if wal { self.opens_wal(&mut Handler::default()).await } else { self.opens_journal().await };
                self.ends();
                if !open {
                    continue;
                }
            }
            match (step.what, self.is_in_wal()) {
                (What::Reopen, _) => {
                    self.begins("").await;
                    self.closes().await;
                    self.ends();
                    open = false;
                }
                (_, true) => self.in_wal(step, &name, &mut Handler::default()).await,
                (_, false) => self.with_journal(step, &name).await,
            }
        }
        if open && program.closes {
            self.begins("").await;
            self.closes().await;
            self.ends();
        }
    }

    async fn closes(&self) {
        if self.is_in_wal() {
            return self.closes_wal().await;
        }
        if self.exclusive {
            self.unlock(0).await;
        }
        self.close(FileKind::DATABASE).await;
    }

    async fn opens_journal(&self) -> bool {
        self.opens();
        self.nature.set(if self.exclusive { Nature::Exclusive } else { Nature::Commit });
        self.open(FileKind::DATABASE).await;
        true
    }

    /// What is held for a transaction that was begun, and idle, from now on.
    fn idles(&self) {
        let me = self.me.get();
        let mut world = self.world.get();
        for lock in [Lock::Slot(0, true), Lock::File(2)] {
            if let Some(hold) = world.hold(me, lock) {
                hold.idle = true;
            }
        }
    }

    async fn stays(&self, step: &Step) {
        self.world.pause(step.stays * US).await;
    }

    async fn in_wal(&self, step: &Step, name: &str, handler: &mut Handler) {
        let sync = if step.work.is_multiple_of(3) { step.work * US } else { 0 };
        match step.what {
            What::Read => {
                self.begins(&format!("SELECT a FROM {name}")).await;
                if let Some(snapshot) = self.reads(handler).await {
                    self.stays(step).await;
                    self.stops_reading(snapshot).await;
                }
            }
            What::Write(changes) => {
                self.begins(&format!("UPDATE {name}")).await;
                if let Some(snapshot) = self.starts_to_write(handler).await {
                    self.stays(step).await;
                    self.commits_wal(snapshot, if changes { 2 } else { 0 }, if changes { sync } else { 0 }).await;
                }
            }
            What::Immediate => {
                self.begins(&format!("BEGIN IMMEDIATE -- {name}")).await;
                let began = self.starts_to_write(handler).await;
                self.ends();
                if let Some(snapshot) = began {
                    self.idles();
                    self.stays(step).await;
                    self.begins(&format!("COMMIT -- {name}")).await;
                    self.commits_wal(snapshot, step.work % 4, sync).await;
                    self.ends();
                }
                return;
            }
            What::Upgrade(after) => return self.upgrades_wal(step, name, (after, sync), handler).await,
            What::Checkpoint(mode) => {
                let text = format!("PRAGMA wal_checkpoint({mode:?}) -- {name}");
                self.begins(if mode == Mode::Automatic { "" } else { &text }).await;
                self.checkpoints(mode, step.work * US).await;
            }
            What::Switch => {
                self.begins(&format!("PRAGMA journal_mode=DELETE -- {name}")).await;
                self.leaves_wal(sync).await;
            }
            What::Reopen => {}
        }
        self.ends();
    }

    async fn upgrades_wal(&self, step: &Step, name: &str, (after, sync): (After, u64), handler: &mut Handler) {
        self.begins(&format!("SELECT b FROM {name}")).await;
        let began: Option<Snapshot> = self.reads(handler).await;
        self.ends();
        let Some(snapshot) = began else { return };
        self.stays(step).await;
        let mut may = false;
        for _ in 0..if after == After::TriesAgain { 3 } else { 1 } {
            self.begins(&format!("INSERT INTO {name}")).await;
            may = self.upgrades(snapshot).await;
            self.ends();
            if may {
                break;
            }
        }
        if may {
            self.stays(step).await;
        } else {
            self.gives_up(Outcome::GaveUp);
        }
        self.begins(&format!("{} -- {name}", if may { "COMMIT" } else { "ROLLBACK" })).await;
        if may {
            self.commits_wal(snapshot, 3, sync).await;
        } else {
            self.stops_reading(snapshot).await;
        }
        self.ends();
    }

    async fn with_journal(&self, step: &Step, name: &str) {
        let sync = step.work * US;
        let mut handler = Handler::default();
        match step.what {
            What::Read => {
                self.begins(&format!("SELECT a FROM {name}")).await;
                match self.shares(&mut handler).await {
                    Shared::InWal => return self.in_wal(step, name, &mut handler).await,
                    Shared::Reads => {
                        self.stays(step).await;
                        self.lets_go().await;
                    }
                    Shared::Refused => {}
                }
                self.ends();
            }
            What::Immediate => {
                self.begins(&format!("BEGIN IMMEDIATE -- {name}")).await;
                let began = self.reserves(&mut handler).await;
                if began == Shared::InWal {
                    return self.in_wal(step, name, &mut handler).await;
                }
                self.ends();
                if began == Shared::Reads {
                    self.idles();
                    self.stays(step).await;
                    self.begins(&format!("COMMIT -- {name}")).await;
                    let done = self.commits(step.work % 4, sync).await;
                    self.ends();
                    if !done {
                        // The transaction is still open, and PENDING.
                        self.stays(step).await;
                        self.rolls_back(name).await;
                    }
                }
            }
            What::Upgrade(after) => {
                self.begins(&format!("SELECT b FROM {name}")).await;
                let began = self.shares(&mut handler).await;
                if began == Shared::InWal {
                    return self.in_wal(step, name, &mut handler).await;
                }
                self.ends();
                if began == Shared::Refused {
                    return;
                }
                self.stays(step).await;
                let mut may = false;
                for _ in 0..if after == After::TriesAgain { 3 } else { 1 } {
                    self.begins(&format!("INSERT INTO {name}")).await;
                    may = self.has_reserved() || self.take(Ask::File(2), Why::Upgrades, &Handler::default()).await;
                    self.ends();
                    if may {
                        break;
                    }
                }
                let mut done = false;
                if may {
                    self.begins(&format!("COMMIT -- {name}")).await;
                    done = self.commits(1, sync).await;
                    self.ends();
                } else {
                    self.gives_up(Outcome::GaveUp);
                }
                if !done {
                    self.rolls_back(name).await;
                }
            }
            What::Write(_) | What::Checkpoint(_) => {
                self.begins(&format!("UPDATE {name}")).await;
                match self.reserves(&mut handler).await {
                    Shared::InWal => {
                        let writes = Step { what: What::Write(true), ..*step };
                        return self.in_wal(&writes, name, &mut handler).await;
                    }
                    Shared::Reads => {
                        self.stays(step).await;
                        if !self.commits(1, sync).await {
                            if self.exclusive {
                                // It is rolled back, and what stays is the journal, which begins with nothing (pager.c: `zeroJournalHdr`).
                                self.works(Work::Sync, FileKind::JOURNAL, 0).await;
                            }
                            self.lets_go().await;
                        }
                    }
                    Shared::Refused => {}
                }
                self.ends();
            }
            What::Switch => {
                self.begins(&format!("PRAGMA journal_mode=WAL -- {name}")).await;
                self.enters_wal(sync).await;
                self.ends();
            }
            What::Reopen => {}
        }
    }

    /// In exclusive mode, from an earlier transaction.
    fn has_reserved(&self) -> bool {
        self.world.get().state(self.me.get()).0 >= 2
    }

    async fn rolls_back(&self, name: &str) {
        self.begins(&format!("ROLLBACK -- {name}")).await;
        self.lets_go().await;
        self.ends();
    }
}
