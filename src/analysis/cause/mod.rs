//! Why an attempt was refused, and what would have to change: one cause for each incident, with its proof.
//!
//! In comes a `Case`: one run of refused attempts, and the holds that stood in its way; out goes a `Verdict`. Each family of causes has a
//! file; a rule is a function that proves one cause or says nothing. `RULES` is their order: those the victim's own calls prove, before those that
//! rest on what the holder did; and `Cause::Unexplained` where none proves itself. Pure. Called by `super::incident`.
#![forbid(unsafe_code)]

mod alone;
mod checkpoint;
pub(crate) mod contributing;
mod lifecycle;
mod recovery;
mod rollback;
mod timeout;
mod upgrade;

use super::activity::Work;
use super::gaps::Gaps;
use super::holding::{Ending, Holding};
use super::times::{Instant, Times};
use super::waits::{Outcome, Wait};
use crate::trace::{LogId, Trace};

macro_rules! identifiers {
    ($(#[$about:meta])* $name:ident { $($(#[$what:meta])* $variant:ident = $id:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name {
            $($(#[$what])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// Its identifier, by which reports, tests and exit gates know it.
            pub fn id(self) -> &'static str {
                match self {
                    $($name::$variant => $id,)*
                }
            }
        }
    };
}

identifiers! {
    /// Why attempts were refused.
    Cause {
        /// A transaction that was reading wanted to write while another one wrote: refused at once, whatever the timeout.
        UpgradeRefused = "upgrade-refused",
        /// A transaction that was reading wanted to write after another one had committed.
        StaleSnapshot = "stale-snapshot",
        /// It waited for a writer, as long as its timeout allowed or until it got the lock.
        HoldExceedsTimeout = "hold-exceeds-timeout",
        /// It did not wait at all.
        NoBusyTimeout = "no-busy-timeout",
        /// Readers kept a commit from the database file.
        ReaderBlocksCommit = "reader-blocks-commit",
        /// A commit kept a reader from the database file.
        CommitBlocksReader = "commit-blocks-reader",
        /// A reader kept checkpoints from finishing.
        CheckpointStarved = "checkpoint-starved",
        /// A checkpoint waited for readers while it kept writers out.
        CheckpointConvoy = "checkpoint-convoy",
        /// Another checkpoint was running.
        CheckpointContended = "checkpoint-contended",
        /// Another connection was making the wal-index anew.
        WalRecovery = "wal-recovery",
        /// The wal-index was out of order and somebody held WRITE.
        WalProtocolRetry = "wal-protocol-retry",
        /// Another connection was the last to close.
        LastClose = "last-close",
        /// Another connection was playing a journal back.
        HotJournal = "hot-journal",
        /// A connection keeps EXCLUSIVE beyond its transactions.
        ExclusiveMode = "exclusive-mode",
        /// The journal mode was being changed.
        JournalModeSwitch = "journal-mode-switch",
        /// The holder is outside the trace, and the system's lock table names it.
        UntracedHolder = "untraced-holder",
        /// Nothing of the above is proven.
        Unexplained = "unexplained",
    }
}

identifiers! {
    /// What made it worse.
    Contributing {
        /// The holder had a transaction open and mostly made no call.
        IdleInTransaction = "idle-in-transaction",
        /// A statement that is not stepped any more kept the lock.
        UnfinishedStatement = "unfinished-statement",
        /// Most of the hold went into `xSync`.
        SlowSync = "slow-sync",
        /// One statement filled the hold.
        SlowStatement = "slow-statement",
        /// Readers and writers exclude each other, for want of a WAL.
        RollbackJournal = "rollback-journal",
        /// Holder and victim are the same thread: waiting can never help.
        SameThreadHolder = "same-thread-holder",
        /// The writer changed at least twice during one wait.
        WriterConvoy = "writer-convoy",
        /// An automatic checkpoint ran in the hold.
        CheckpointInCommit = "checkpoint-in-commit",
        /// The holder was a checkpoint that waited for readers.
        CheckpointConvoy = "checkpoint-convoy",
    }
}

/// What a record is in a proof.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// The victim took the lock it read under.
    Reading,
    /// A holder took what refused the victim.
    Took,
    /// The victim was refused, for the first time.
    FirstRefused,
    /// The victim was refused, for the last time.
    LastRefused,
    /// The victim's next call, which shows how it went on.
    Next,
    /// The victim got the lock.
    Granted,
    /// A holder gave it up.
    GaveUp,
    /// Another connection committed.
    Committed,
    /// The victim took WRITE.
    TookWrite,
    /// The victim gave WRITE up at once, with nothing written.
    GaveWriteUp,
}

/// A record that a conclusion rests on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Evidence {
    /// Its log.
    pub log: LogId,
    /// Its number there.
    pub number: u64,
    /// What it shows.
    pub role: Role,
}

/// A hold in the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suspect<'a> {
    pub holding: &'a Holding,
    /// It was certainly held throughout one of the attempts.
    pub certain: bool,
    /// The victim's own thread made its connection's last call.
    pub same_thread: bool,
    /// It waited for a lock itself.
    pub waits: bool,
    /// It did so with WRITE and CKPT in its hands for a reader's slot.
    pub convoy: bool,
}

/// What a rule is asked about.
pub(crate) struct Case<'a> {
    pub trace: &'a Trace,
    pub times: Times<'a>,
    pub wait: &'a Wait,
    pub outcome: Outcome,
    /// The text of the victim's statement, where it is known.
    pub sql: Option<&'a str>,
    pub suspects: &'a [Suspect<'a>],
    /// The kernel named a process outside the trace, and nobody in it was in the way.
    pub outside: bool,
    /// Of the victim's log.
    pub gaps: &'a Gaps,
    /// Of each log.
    pub all_gaps: &'a [Gaps],
    /// Records are missing somewhere, or holders were not looked for or were forgotten: another one can be missing.
    pub losses: bool,
    /// The latest sign of life of each log.
    pub alive: &'a [Instant],
    /// The database never had a WAL in this trace.
    pub rollback: bool,
}

/// A proven cause and the records that prove it, beside the attempts and the holds themselves.
pub(crate) struct Verdict {
    pub cause: Cause,
    pub evidence: Vec<Evidence>,
}

impl Case<'_> {
    /// Whether a record of the victim's log is missing from the first one on to the last the run rests on.
    pub(crate) fn gap_from(&self, number: u64) -> bool {
        let last = self.wait.next.unwrap_or(self.wait.numbers.1);
        self.gaps.between(number.min(self.wait.numbers.0), last)
    }

    /// Whether a record of the victim's log is missing from this one on to the last of its run: what it did not do is not known then.
    pub(crate) fn gap_in_run(&self, from: u64) -> bool {
        let last = match self.wait.outcome {
            Outcome::Acquired => self.wait.next,
            Outcome::GaveUp | Outcome::WentOn | Outcome::TraceEnd => self.wait.over,
        };
        self.gaps.between(from, last.unwrap_or(u64::MAX))
    }

    /// Whether its process was not seen any more when the victim was refused: it may have died, and the lock with it.
    pub(crate) fn died(&self, holding: &Holding) -> bool {
        let alive = self.alive.get(holding.who.log.0 as usize);
        holding.ending == Ending::Open && alive.is_some_and(|&alive| alive < self.wait.from)
    }

    /// The holds that were in the way beyond doubt: certain ones; or the only possible one, where no other can be missing.
    pub(crate) fn proven(&self) -> impl Iterator<Item = &Suspect<'_>> {
        let single = self.suspects.len() == 1 && !self.losses && !self.suspects.iter().any(|suspect| self.died(suspect.holding));
        self.suspects.iter().filter(move |suspect| suspect.certain || single)
    }

    /// How long a hold lasted, as far as it is known, in nanoseconds.
    pub(crate) fn length(&self, holding: &Holding) -> Option<u64> {
        self.times.ns(holding.who.log, holding.since, self.end(holding)?)
    }

    /// When a hold was released, or its process was last seen alive.
    pub(crate) fn end(&self, holding: &Holding) -> Option<Instant> {
        match holding.ending {
            Ending::Released(at, _) => Some(at),
            Ending::Unseen(_) => None,
            Ending::Open => self.alive.get(holding.who.log.0 as usize).copied(),
        }
    }

    /// The part of a hold that the victim met: up to its release, or to the last attempt. What came later is not what was in the way.
    pub(crate) fn met(&self, holding: &Holding) -> Met {
        let log = holding.who.log;
        let until = self.end(holding).map_or(self.wait.until, |end| end.min(self.wait.until));
        let ns = |from, to| self.times.ns(log, from, to).unwrap_or(0);
        let mut met = Met { length: ns(holding.since, until), ..Met::default() };
        for &(work, from, to) in &holding.work {
            let part = ns(from, to.min(until));
            let sum = match work {
                Work::Sync | Work::SyncDatabase => &mut met.syncs,
                Work::Copy => &mut met.copies,
                Work::Delete => &mut met.others,
            };
            *sum = sum.saturating_add(part);
        }
        met
    }

    /// Whether all is known that its connection did while it was held.
    pub(crate) fn is_whole(&self, holding: &Holding) -> bool {
        let last = match holding.ending {
            Ending::Released(_, Some(number)) => number,
            Ending::Open => u64::MAX,
            Ending::Released(_, None) | Ending::Unseen(_) => return false,
        };
        let gaps = self.all_gaps.get(holding.who.log.0 as usize);
        holding.watched && gaps.is_some_and(|gaps| !gaps.between(holding.number, last))
    }

    /// A record of the victim.
    pub(crate) fn own(&self, number: u64, role: Role) -> Evidence {
        Evidence { log: self.wait.who.log, number, role }
    }

    fn verdict(&self, cause: Cause) -> Option<Verdict> {
        Some(Verdict { cause, evidence: Vec::new() })
    }
}

/// What the victim met of a hold, in nanoseconds: how long it had lasted, and how much of that was which work.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Met {
    pub length: u64,
    pub syncs: u64,
    pub copies: u64,
    pub others: u64,
}

type Rule = fn(&Case<'_>) -> Option<Verdict>;

/// The order in which causes are tried.
const RULES: &[Rule] = &[
    // What the victim asked for tells.
    checkpoint::contended,
    checkpoint::refused_by_reader,
    recovery::wal_recovery,
    recovery::wal_protocol_retry,
    lifecycle::journal_mode_switch,
    lifecycle::exclusive_mode,
    // What it held and kept tells.
    upgrade::upgrade_refused,
    // Where nobody in the trace was in the way, what the kernel said tells.
    untraced_holder,
    // What the holder did tells.
    lifecycle::hot_journal,
    lifecycle::last_close,
    rollback::reader_blocks_commit,
    rollback::commit_blocks_reader,
    // How long it waited tells.
    timeout::no_busy_timeout,
    timeout::hold_exceeds_timeout,
];

/// No traced connection held what was asked for, and the kernel named a process outside the trace that did.
fn untraced_holder(case: &Case<'_>) -> Option<Verdict> {
    case.outside.then_some(())?;
    case.verdict(Cause::UntracedHolder)
}

/// The first rule that proves its cause.
pub(crate) fn decide(case: &Case<'_>) -> Verdict {
    let unexplained = || Verdict { cause: Cause::Unexplained, evidence: Vec::new() };
    RULES.iter().find_map(|rule| rule(case)).unwrap_or_else(unexplained)
}
