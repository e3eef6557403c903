//! The identifiers of causes and of what makes them worse, and the records that prove them.
#![forbid(unsafe_code)]

use crate::trace::LogId;

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
        /// Another connection was rebuilding the wal-index.
        WalRecovery = "wal-recovery",
        /// The wal-index was out of order and another connection held WRITE.
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
        /// None of the above is proven.
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

/// What a record shows in a proof.
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
    /// A holder released it.
    GaveUp,
    /// Another connection committed.
    Committed,
    /// The victim took WRITE.
    TookWrite,
    /// The victim released WRITE at once, with nothing written.
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
