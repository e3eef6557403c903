//! The size of each database's -wal: the bytes written to it since its log last restarted.
#![forbid(unsafe_code)]

use shim::event::{FileKind, Flags, Kind, KnownKind as Known, Slot, slot_mask};
use shim::format::record::Record;

/// The bytes written to each database's -wal since its log last restarted.
#[derive(Default)]
pub(crate) struct WalSizes(Vec<u64>);

impl WalSizes {
    /// Follows one record about this database. Returns the new size if the record changed it.
    ///
    /// The log restarts when a call locks all readers' slots but the first together (wal.c: `walRestartLog`, `walRestartHdr` after it; a
    /// checkpoint of mode RESTART or TRUNCATE). It also restarts when the -wal is deleted.
    pub(crate) fn record(&mut self, db: u32, record: &Record) -> Option<u64> {
        const ALL_BUT_FIRST: u8 = slot_mask(Slot::READ0.0 + 1, 4);
        let of_wal = record.file_kind == FileKind::WAL;
        let restarts = match record.kind.known()? {
            Known::Wrote if of_wal => false,
            Known::Delete if of_wal => record.rc.is_ok(),
            Known::ShmLock => {
                record.rc.is_ok()
                    && !record.flags.has(Flags::SHM_UNLOCK)
                    && slot_mask(record.shm_offset, record.shm_n) == ALL_BUT_FIRST
                    && record.shm_exclusive & ALL_BUT_FIRST == ALL_BUT_FIRST
            }
            Known::Open | Known::Close | Known::Lock | Known::Unlock | Known::CheckReserved | Known::ShmMap | Known::ShmUnmap => {
                return None;
            }
            Known::Sync | Known::Sleep | Known::Delete | Known::CkptStart | Known::CkptDone | Known::Wrote | Known::Handle => {
                return None;
            }
        };
        let index = db as usize;
        if self.0.len() <= index {
            self.0.resize(index + 1, 0);
        }
        let size = &mut self.0[index];
        let before = *size;
        *size = match (restarts, record.kind) {
            (true, _) => 0,
            (false, Kind::WROTE) => before.saturating_add(record.arg),
            _ => before,
        };
        (*size != before).then_some(*size)
    }
}
