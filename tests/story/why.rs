//! Causes that an analysis may name for a run of attempts, by what really happened.
#![allow(clippy::indexing_slicing)]

use super::truth::Truth;
use super::world::{Ask, Hold, Nature, Outcome, US, Wait, Why};
use crate::common::EPOCH;
use shim::event::Kind;
use shim::format::record::Record;

impl Truth<'_> {
    /// The causes that a run can have; none where it is nothing that an application sees.
    pub(super) fn causes(&self, wait: &Wait) -> Vec<&'static str> {
        let world = self.world();
        let waited = wait.refusals.len() > 1 || wait.sleeps > 0 || wait.outcome == Outcome::Succeeded;
        match wait.why {
            // It kept SHARED from an earlier statement, as a transaction does.
            Why::StartsToWrite if world.conns[wait.conn].exclusive && (wait.sleeps == 0 || self.damaged) => {
                vec!["hold-exceeds-timeout", "no-busy-timeout", "upgrade-refused", "unexplained"]
            }
            Why::StartsToWrite if world.conns[wait.conn].exclusive => vec!["hold-exceeds-timeout", "unexplained"],
            // It found the wal-index out of order a hundred times, on its way to WRITE.
            Why::StartsToWrite if wait.protocol => vec!["hold-exceeds-timeout", "wal-protocol-retry", "unexplained"],
            Why::StartsToWrite if waited => vec!["hold-exceeds-timeout"],
            Why::StartsToWrite if wait.slept_before => vec!["hold-exceeds-timeout", "unexplained"],
            Why::StartsToWrite if wait.outcome == Outcome::Open || self.is_last(wait) || self.slept_aside(wait) => {
                vec!["no-busy-timeout", "unexplained"]
            }
            Why::StartsToWrite => vec!["no-busy-timeout"],
            Why::Upgrades => vec!["upgrade-refused"],
            Why::Commits => vec!["reader-blocks-commit"],
            Why::Copies(true) if wait.refusals.len() > 1 => vec!["checkpoint-convoy"],
            Why::Copies(true) => vec!["checkpoint-starved"],
            Why::Checkpoints(true) => vec!["checkpoint-contended"],
            Why::Recovers => self.recovery(wait),
            Why::PlaysBack => vec!["hot-journal"],
            // Without a sleep, the next one that asks for EXCLUSIVE may be the same statement: another writer, or the close.
            Why::Enters if wait.sleeps == 0 => vec!["exclusive-mode", ""],
            Why::Enters => vec!["exclusive-mode"],
            // Without its text it is what it is all the same: a transaction that commits.
            Why::Switches if self.damaged && !wait.wal && wait.ask == Ask::File(4) => {
                vec!["journal-mode-switch", "reader-blocks-commit"]
            }
            Why::Switches => vec!["journal-mode-switch"],
            Why::Reads => self.shut_out(&wait.refusals),
            // Nothing shows that it closes.
            Why::Closes if self.is_last(wait) => vec!["unexplained", ""],
            Why::Copies(false) | Why::Checkpoints(false) | Why::Spares | Why::Closes => vec![],
        }
    }

    /// The causes that these refusals of SHARED can have: by what the holders had the database file to themselves for.
    pub(super) fn shut_out(&self, refusals: &[usize]) -> Vec<&'static str> {
        let world = self.world();
        let proven: Vec<usize> = refusals.iter().flat_map(|&refusal| self.proven(&world.refusals[refusal])).collect();
        let real: Vec<usize> = refusals.iter().flat_map(|&refusal| world.refusals[refusal].holders.clone()).collect();
        let of = if proven.is_empty() { &real } else { &proven };
        let name = |&hold: &usize| match world.holds[hold].nature {
            Nature::Commit => "commit-blocks-reader",
            Nature::LastClose => "last-close",
            Nature::HotJournal => "hot-journal",
            Nature::Exclusive => "exclusive-mode",
            Nature::Switch => "journal-mode-switch",
        };
        let mut names: Vec<&str> = of.iter().map(name).collect();
        if of.iter().any(|&hold| self.looks_like_a_commit(&world.holds[hold])) {
            names.extend(["commit-blocks-reader", "unexplained"]);
        }
        if self.damaged && of.iter().any(|&hold| world.holds[hold].nature == Nature::Switch) {
            names.push("commit-blocks-reader");
        }
        // What a connection wants that asked for EXCLUSIVE and has not closed yet is not known.
        let open = of.iter().any(|&hold| {
            let hold = &world.holds[hold];
            matches!(hold.nature, Nature::LastClose | Nature::Switch) && hold.released.is_none()
        });
        if proven.is_empty() || open {
            names.push("unexplained");
        }
        names
    }

    /// Its thread slept shortly before, and the recorder does not know for which connection.
    fn slept_aside(&self, wait: &Wait) -> bool {
        let process = &self.story.processes[self.world().conns[wait.conn].process];
        let number = self.world().conns[wait.conn].number;
        let before = |record: &&Record| record.start - EPOCH.ticks < wait.span.0;
        let mut own: Vec<u64> = process.records.iter().filter(before).filter(|it| it.conn == number).map(|it| it.start).collect();
        own.sort_unstable();
        let since = own.iter().rev().nth(5).copied().unwrap_or(0);
        let aside = |it: &Record| it.kind == Kind::SLEEP && it.conn == 0 && it.tid == wait.tid && it.start > since;
        // Or while it found the wal-index out of order, which is no busy handler's sleep.
        let found = |other: &Wait| other.conn == wait.conn && other.why == Why::Recovers && other.sql == wait.sql;
        process.records.iter().filter(before).any(aside) || self.world().waits.iter().any(found)
    }

    /// In exclusive mode, but it ended, or the trace did, soon after the only commit that can be seen; which one that is, losses decide.
    fn looks_like_a_commit(&self, hold: &Hold) -> bool {
        let until = hold.released.map_or_else(|| self.alive(self.world().conns[hold.conn].process), |released| released.0);
        let worked: u64 = hold.work.iter().map(|work| work.2 - work.1).sum();
        let rest = until.saturating_sub(hold.work.last().map_or(hold.taken.0, |last| last.2));
        let one = hold.commits == 0 || (hold.commits == 1 && rest < (60_000 * US).max(3 * worked));
        hold.nature == Nature::Exclusive && (one || self.damaged)
    }

    /// A connection that refused it was rebuilding the wal-index.
    fn recovers(&self, refusal: usize) -> bool {
        let world = self.world();
        world.refusals[refusal].holders.iter().any(|&hold| world.holds[hold].recovered)
    }

    fn recovery(&self, wait: &Wait) -> Vec<&'static str> {
        let asked = wait.refusals.iter().any(|&refusal| self.world().refusals[refusal].ask != wait.ask);
        match wait.outcome {
            _ if asked => vec!["wal-recovery"],
            Outcome::Succeeded if wait.sleeps == 0 => vec![],
            // The holder of WRITE rebuilt nothing. (It is known by its attempt at RECOVER, after that at WRITE.)
            Outcome::Open if wait.refusals.len() == 1 => vec!["wal-recovery", "wal-protocol-retry", "unexplained"],
            _ if !wait.refusals.iter().any(|&refusal| self.recovers(refusal)) => vec!["wal-protocol-retry"],
            _ => vec!["wal-recovery", "wal-protocol-retry", "unexplained"],
        }
    }
}
