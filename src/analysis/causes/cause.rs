//! The table of causes.
#![forbid(unsafe_code)]

use super::entry::Entry;
use super::identifiers::identifiers;
use super::{checkpoint, lifecycle, recovery, rollback, timeout, unproven, untraced, upgrade};

identifiers! {
    /// Why attempts were refused.
    Cause: Entry {
        /// A transaction that was reading wanted to write while another one wrote: refused at once, whatever the timeout.
        UpgradeRefused = upgrade::UPGRADE_REFUSED,
        /// A transaction that was reading wanted to write after another one had committed.
        StaleSnapshot = upgrade::STALE_SNAPSHOT,
        /// The victim waited for a writer, as long as its timeout allowed or until it got the lock.
        HoldExceedsTimeout = timeout::HOLD_EXCEEDS_TIMEOUT,
        /// The victim did not wait: it has no busy timeout.
        NoBusyTimeout = timeout::NO_BUSY_TIMEOUT,
        /// Readers kept a commit from the database file.
        ReaderBlocksCommit = rollback::READER_BLOCKS_COMMIT,
        /// A commit kept a reader from the database file.
        CommitBlocksReader = rollback::COMMIT_BLOCKS_READER,
        /// A reader kept checkpoints from finishing.
        CheckpointStarved = checkpoint::CHECKPOINT_STARVED,
        /// A checkpoint waited for readers while it kept writers out.
        CheckpointConvoy = checkpoint::CHECKPOINT_CONVOY,
        /// Another checkpoint was running.
        CheckpointContended = checkpoint::CHECKPOINT_CONTENDED,
        /// Another connection was rebuilding the wal-index.
        WalRecovery = recovery::WAL_RECOVERY,
        /// The wal-index was unusable and another connection held WRITE.
        WalProtocolRetry = recovery::WAL_PROTOCOL_RETRY,
        /// Another connection was the last to close.
        LastClose = lifecycle::LAST_CLOSE,
        /// Another connection was playing a journal back.
        HotJournal = lifecycle::HOT_JOURNAL,
        /// A connection keeps EXCLUSIVE beyond its transactions.
        ExclusiveMode = lifecycle::EXCLUSIVE_MODE,
        /// The journal mode was being changed.
        JournalModeSwitch = lifecycle::JOURNAL_MODE_SWITCH,
        /// The holder is outside the trace, and the system's lock table names it.
        UntracedHolder = untraced::UNTRACED_HOLDER,
        /// None of the above is proven.
        Unexplained = unproven::UNEXPLAINED,
    }
}
