//! The records that prove a conclusion.
#![forbid(unsafe_code)]

use crate::trace::LogId;

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
