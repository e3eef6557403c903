//! The wal-index: `xShmLock` on its eight slots, and the calls that map and unmap it.
//!
//! Their records carry the masks of the slots held after the call. One call may cover several slots, and `xShmUnmap` releases them all.

use super::connection::{Connection, LockCall};
use super::file::{File, forward};
use super::statement::{IDLE, Look};
use crate::clock;
use crate::event::{FileKind, Flags, Kind, Request, ResultCode, Slot, slot_mask};
use crate::ffi::{self, sqlite3_file};
use crate::format::record::Record;
use std::ffi::{c_int, c_void};

const WRITE_OR_CKPT: u8 = 1 << Slot::WRITE.0 | 1 << Slot::CKPT.0;

pub(super) unsafe extern "C-unwind" fn x_shm_lock(file: *mut sqlite3_file, offset: c_int, n: c_int, flags: c_int) -> c_int {
    // SAFETY: SQLite calls our methods on files we opened.
    let Some(file) = (unsafe { File::of(file) }) else { return ffi::IOERR };
    let start = clock::now();
    let rc = forward!(file, xShmLock, offset, n, flags);
    if flags & ffi::SHM_UNLOCK != 0 {
        // Only the start of a release matters: until then the lock was certainly held. One clock read is enough.
        file.connection.shm_unlocked(offset, n, flags, rc, start);
    } else {
        file.connection.shm_locked(offset, n, flags, rc, start, clock::now());
    }
    rc
}

impl Connection {
    #[inline(always)]
    fn shm_locked(&self, offset: c_int, n: c_int, flags: c_int, rc: c_int, start: u64, end: u64) {
        let mask = slot_mask(offset as u8, n as u8);
        let exclusive = flags & ffi::SHM_EXCLUSIVE != 0;
        let before = if exclusive { self.locks.exclusive() } else { self.locks.shared() };
        // A writer keeps the instant of its first lock: since then it blocks others.
        let hold = match (rc, exclusive) {
            (ffi::OK, false) => Some(&self.locks.reading),
            (ffi::OK, true) if before == 0 => Some(&self.locks.writing),
            _ => None,
        };
        if let Some(hold) = hold {
            hold.begin();
        }
        if rc == ffi::OK {
            self.locks.set_slots(exclusive, before | mask);
        }
        let Some(log) = self.log() else {
            if let Some(hold) = hold {
                hold.finish(end, 0, 0);
            }
            return;
        };
        let refused = ResultCode(rc).is_busy();
        let mut arg = 0;
        if refused {
            arg = self.refused();
        }
        let look = if exclusive && mask == 1 << Slot::WRITE.0 {
            Look::ForWriter
        } else if exclusive || refused {
            Look::Thoroughly
        } else {
            Look::Briefly
        };
        let running = self.running(log, look);
        let flags = running
            .flags()
            .with(if exclusive { Flags::SHM_EXCLUSIVE } else { Flags(0) })
            .with(if rc == ffi::OK && before & mask == mask { Flags::REDUNDANT } else { Flags(0) });
        let call = LockCall { kind: Kind::SHM_LOCK, flags, start, duration: end.wrapping_sub(start), rc, sql: running.sql, arg };
        let tid = log.put(self.words(&call, self.shm_state(offset, n)));
        if let Some(hold) = hold {
            hold.finish(end, tid, running.sql);
        }
        if refused {
            self.locks.refuse(Request::Shm { mask, exclusive }, end, tid, running.sql);
        }
        if refused && arg == 0 {
            self.look_outside(log, Request::Shm { mask, exclusive }, self.locks.level(), start, running.sql);
        }
    }

    /// The part of a record's state word for the slots that a call was about.
    #[inline(always)]
    fn shm_state(&self, offset: c_int, n: c_int) -> u64 {
        let level = u64::from(self.locks.level().0);
        level | level << 16 | u64::from(offset as u8) << 24 | u64::from(n as u8) << 32 | u64::from(FileKind::SHM.0) << 56
    }

    #[inline(always)]
    fn shm_unlocked(&self, offset: c_int, n: c_int, flags: c_int, rc: c_int, start: u64) {
        let mask = slot_mask(offset as u8, n as u8);
        let exclusive = flags & ffi::SHM_EXCLUSIVE != 0;
        let before = if exclusive { self.locks.exclusive() } else { self.locks.shared() };
        let log = self.log();
        // Before the slots are released: these records show what was held while the bytes were written.
        if let Some(log) = log.filter(|_| exclusive && mask & WRITE_OR_CKPT != 0) {
            self.flush_written(log, start);
        }
        if rc == ffi::OK {
            self.locks.set_slots(exclusive, before & !mask);
        }
        let Some(log) = log else { return };
        let running = if exclusive { IDLE } else { self.running_at_release(log, start) };
        let flags = running
            .flags()
            .with(Flags::SHM_UNLOCK)
            .with(Flags::ONE_CLOCK)
            .with(if exclusive { Flags::SHM_EXCLUSIVE } else { Flags(0) })
            .with(if rc == ffi::OK && before & mask == 0 { Flags::REDUNDANT } else { Flags(0) });
        let call = LockCall { kind: Kind::SHM_LOCK, flags, start, duration: 0, rc, sql: running.sql, arg: 0 };
        log.put(self.words(&call, self.shm_state(offset, n)));
    }
}

pub(super) unsafe extern "C-unwind" fn x_shm_map(
    file: *mut sqlite3_file,
    page: c_int,
    page_size: c_int,
    extend: c_int,
    memory: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite calls our methods on files we opened.
    let Some(file) = (unsafe { File::of(file) }) else { return ffi::IOERR };
    let start = clock::now();
    // `extend` is passed on as it is: 3.54 sends 2, which is no boolean.
    let rc = forward!(file, xShmMap, page, page_size, extend, memory);
    if !file.connection.locks.mapped() {
        let end = clock::now();
        file.connection.locks.set_mapped(rc == ffi::OK);
        if let Some(log) = file.connection.log() {
            let record = file.record(Kind::SHM_MAP, start, end);
            log.write(&Record { rc: ResultCode(rc), arg: extend as u64, file_kind: FileKind::SHM, ..record });
        }
    }
    rc
}

pub(super) unsafe extern "C-unwind" fn x_shm_unmap(file: *mut sqlite3_file, delete: c_int) -> c_int {
    // SAFETY: SQLite calls our methods on files we opened.
    let Some(file) = (unsafe { File::of(file) }) else { return ffi::IOERR };
    let start = clock::now();
    let rc = forward!(file, xShmUnmap, delete);
    let end = clock::now();
    let log = file.connection.log();
    if let Some(log) = log {
        file.connection.flush_written(log, start);
    }
    file.connection.locks.set_mapped(false);
    file.connection.locks.set_slots(false, 0);
    file.connection.locks.set_slots(true, 0);
    if let Some(log) = log {
        let record = file.record(Kind::SHM_UNMAP, start, end);
        log.write(&Record { rc: ResultCode(rc), arg: delete as u64, file_kind: FileKind::SHM, ..record });
    }
    rc
}

pub(super) unsafe extern "C-unwind" fn x_shm_barrier(file: *mut sqlite3_file) {
    // SAFETY: SQLite calls our methods on files we opened.
    let Some(file) = (unsafe { File::of(file) }) else { return };
    if let Some(barrier) = file.base().xShmBarrier {
        // SAFETY: the base's own method on the base's own file.
        unsafe { barrier(file.inner()) }
    }
}
