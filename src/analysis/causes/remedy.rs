//! Changes that every framework and driver has a setting or a call for.
#![forbid(unsafe_code)]

/// A change of the refused program. `report/framework_fixes` has the spelling of each framework.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Remedy {
    /// Begin with BEGIN IMMEDIATE.
    Immediate,
    /// Set or raise the busy timeout.
    Timeout,
    /// Switch to WAL.
    Wal,
}

impl Remedy {
    /// All remedies.
    pub const ALL: [Remedy; 3] = [Remedy::Immediate, Remedy::Timeout, Remedy::Wal];

    /// The change, in SQLite's words.
    pub fn what(self) -> &'static str {
        match self {
            Remedy::Immediate => "begin with BEGIN IMMEDIATE",
            Remedy::Timeout => "set the busy timeout",
            Remedy::Wal => "switch to WAL",
        }
    }

    /// What the change requires, and what it does not solve.
    pub fn limits(self) -> Option<&'static str> {
        match self {
            Remedy::Wal => Some(
                "WAL is kept in the file, so set it once. All processes must then be on one host, not on a network file system; writers \
                 still take turns; and before SQLite 3.51.3 it is safer without mmap_size.",
            ),
            Remedy::Immediate | Remedy::Timeout => None,
        }
    }
}
