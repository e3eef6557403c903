//! The journal mode of a connection, WAL or not, as its records show it.
//!
//! A connection in WAL mode keeps SHARED on the database file for its whole life. That lock shows no transaction. The read locks of such a connection are
//! slots of the wal-index.
#![forbid(unsafe_code)]

use shim::event::{FileKind, Kind, Level};
use shim::format::record::Record;

/// The journal mode of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mode {
    /// The connection has the wal-index mapped, or the WAL file open.
    pub wal: bool,
    /// Its SHARED lock is the one that a connection in WAL mode keeps for its whole life.
    pub lifetime: bool,
}

impl Mode {
    /// Follows a record before the connection's lock state does.
    #[inline]
    pub(crate) fn before(&mut self, record: &Record) {
        let opened = record.kind == Kind::OPEN && record.file_kind == FileKind::WAL;
        // A connection that asks for a slot, refused or not, is in WAL mode.
        self.wal |= record.kind == Kind::SHM_LOCK || (record.rc.is_ok() && (opened || record.kind == Kind::SHM_MAP));
        self.lifetime |= self.wal;
    }

    /// Follows a record after the connection's lock state has. `level` is the new level.
    #[inline]
    pub(crate) fn after(&mut self, record: &Record, level: Level) {
        if level == Level::NONE {
            self.lifetime = self.wal;
        }
        if record.kind == Kind::SHM_UNMAP && record.rc.is_ok() {
            self.wal = false;
        }
    }
}
