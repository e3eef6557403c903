//! The kinds of records, one row each: a call of SQLite's VFS, or a note about the connection.
//!
//! A [`Kind`] is the number in a record, which a newer recorder may have written. A [`KnownKind`] is one of the kinds of this version. Code that
//! gives kinds a meaning matches on it without a wildcard, so that the compiler names every place that a new kind needs.

use std::fmt;

/// Defines [`KnownKind`], and for each variant a constant of [`Kind`]. The names are those in traces: SQLite's method name where there is one.
macro_rules! kinds {
    ($($(#[$doc:meta])* $constant:ident = $number:literal, $known:ident, $name:literal;)*) => {
        /// A kind of record that this version knows.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum KnownKind {
            $($(#[$doc])* $known = $number,)*
        }

        impl KnownKind {
            /// All of them, in the order of their numbers.
            pub const ALL: &[KnownKind] = &[$(KnownKind::$known),*];

            /// The name used in traces.
            pub const fn name(self) -> &'static str {
                match self {
                    $(KnownKind::$known => $name,)*
                }
            }
        }

        impl Kind {
            $($(#[$doc])* pub const $constant: Kind = Kind($number);)*

            /// The kind, if this version knows it; `None` for one of a newer recorder.
            #[inline(always)]
            pub const fn known(self) -> Option<KnownKind> {
                match self.0 {
                    $($number => Some(KnownKind::$known),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// A main database or WAL file was opened (or failed to: see the result code). `arg` holds the open flags.
    OPEN = 1, Open, "xOpen";
    /// A main database or WAL file was closed; every lock it had is gone.
    CLOSE = 2, Close, "xClose";
    /// `xLock(level)` on the main database file. Where it was refused, `arg` may be [`REFUSED_HERE`](super::REFUSED_HERE).
    LOCK = 3, Lock, "xLock";
    /// `xUnlock(level)` on the main database file.
    UNLOCK = 4, Unlock, "xUnlock";
    /// `xCheckReservedLock`; `arg` is its answer (0 or 1).
    CHECK_RESERVED = 5, CheckReserved, "xCheckReservedLock";
    /// `xShmLock(offset, n, flags)` on the wal-index. Where it was refused, `arg` may be [`REFUSED_HERE`](super::REFUSED_HERE).
    SHM_LOCK = 6, ShmLock, "xShmLock";
    /// The connection's first `xShmMap`. `arg` is `bExtend`.
    SHM_MAP = 7, ShmMap, "xShmMap";
    /// `xShmUnmap(deleteFlag)`; it releases every slot. `arg` is the flag.
    SHM_UNMAP = 8, ShmUnmap, "xShmUnmap";
    /// `xSync` of the file named by the file kind. `arg` holds the sync flags.
    SYNC = 9, Sync, "xSync";
    /// `xSleep`; `arg` is the time asked for, in microseconds. The connection is the one this thread was refused on
    /// since its sleep before.
    SLEEP = 10, Sleep, "xSleep";
    /// `xDelete` of a journal or WAL file: the commit point in DELETE mode, the last close in WAL mode.
    DELETE = 11, Delete, "xDelete";
    /// `SQLITE_FCNTL_CKPT_START`: a checkpoint begins to copy pages.
    CKPT_START = 12, CkptStart, "ckptStart";
    /// `SQLITE_FCNTL_CKPT_DONE`: it has finished copying.
    CKPT_DONE = 13, CkptDone, "ckptDone";
    /// Bytes (`arg`) this connection wrote to the file named by the file kind since its last record of this kind for that file
    /// kind; written just before the release of the lock that covered them.
    WROTE = 14, Wrote, "wrote";
    /// `SQLITE_FCNTL_PDB`: `arg` is the address of the `sqlite3` connection this file belongs to (attached databases share it).
    HANDLE = 15, Handle, "handle";
}

/// What a record is about: a [`KnownKind`], or the number of one that this version does not know.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u8);

impl Kind {
    /// The name used in traces, if this version knows the kind.
    pub const fn name(self) -> Option<&'static str> {
        match self.known() {
            Some(known) => Some(known.name()),
            None => None,
        }
    }

    /// The kind with this name, if this version knows one.
    pub fn from_name(name: &str) -> Option<Kind> {
        KnownKind::ALL.iter().find(|known| known.name() == name).map(|&known| Kind(known as u8))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "kind#{}", self.0),
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which of a connection's files a record is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKind(pub u8);

impl FileKind {
    /// No file: `xSleep`.
    pub const NONE: FileKind = FileKind(0);
    /// The main database file.
    pub const DATABASE: FileKind = FileKind(1);
    /// Its rollback journal.
    pub const JOURNAL: FileKind = FileKind(2);
    /// Its write-ahead log.
    pub const WAL: FileKind = FileKind(3);
    /// Its wal-index.
    pub const SHM: FileKind = FileKind(4);

    /// A short name, or `None` for a number this version does not know.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "none",
            1 => "database",
            2 => "journal",
            3 => "wal",
            4 => "shm",
            _ => return None,
        })
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "file#{}", self.0),
        }
    }
}

impl fmt::Debug for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_names_read_back() {
        for number in 0..=255 {
            let kind = Kind(number);
            assert_eq!(kind.known().map(|known| known as u8), kind.name().map(|_| number));
            if let Some(name) = kind.name() {
                assert_eq!(Kind::from_name(name), Some(kind));
            }
        }
        assert_eq!(KnownKind::ALL.len(), 15);
    }
}
