//! The records that prove a conclusion.
#![forbid(unsafe_code)]

use crate::trace::LogId;

/// What a record shows in a proof.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// The victim took the lock it read under.
    Reading,
    /// A holder took the lock that refused the victim.
    Took,
    /// The victim was refused for the first time.
    FirstRefused,
    /// The victim was refused for the last time.
    LastRefused,
    /// The victim's next call, which shows how it went on.
    Next,
    /// The victim got the lock.
    Granted,
    /// A holder released the lock.
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
    /// The record's log.
    pub log: LogId,
    /// The record's number in that log.
    pub number: u64,
    /// What the record shows.
    pub role: Role,
}
