//! The lock of the main database file: `xLock`, `xUnlock`, `xCheckReservedLock`.
//!
//! Their records carry the level before, the level asked for and the level after. Where a call failed, only the base knows what it holds now, and is
//! asked.

use super::connection::LockCall;
use super::file::{File, forward};
use super::statement::{IDLE, Look};
use crate::clock;
use crate::errno::SavedErrno;
use crate::event::{FileKind, Flags, Kind, Level, Request, ResultCode};
use crate::ffi::{self, sqlite3_file};
use crate::format::record::Record;
use std::ffi::c_int;

pub(super) unsafe extern "C-unwind" fn x_lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite calls our methods on files we opened.
    let Some(file) = (unsafe { File::of(file) }) else { return ffi::IOERR };
    let start = clock::now();
    let rc = forward!(file, xLock, level);
    file.locked(Kind::LOCK, level, rc, start, clock::now());
    rc
}

pub(super) unsafe extern "C-unwind" fn x_unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite calls our methods on files we opened.
    let Some(file) = (unsafe { File::of(file) }) else { return ffi::IOERR };
    let start = clock::now();
    let rc = forward!(file, xUnlock, level);
    file.locked(Kind::UNLOCK, level, rc, start, clock::now());
    rc
}

pub(super) unsafe extern "C-unwind" fn x_check_reserved_lock(file: *mut sqlite3_file, answer: *mut c_int) -> c_int {
    // SAFETY: SQLite calls our methods on files we opened.
    let Some(file) = (unsafe { File::of(file) }) else { return ffi::IOERR };
    let start = clock::now();
    let rc = forward!(file, xCheckReservedLock, answer);
    let end = clock::now();
    if let Some(log) = file.connection.log() {
        // SAFETY: SQLite passes a pointer to an int, which the base has set if it succeeded.
        let arg = if rc == ffi::OK { u64::from(unsafe { *answer } != 0) } else { 0 };
        log.write(&Record { rc: ResultCode(rc), arg, ..file.record(Kind::CHECK_RESERVED, start, end) });
    }
    rc
}

impl File {
    /// The level the base believes it holds, where it reports one.
    #[cold]
    fn base_level(&self) -> Option<Level> {
        let mut level: c_int = -1;
        // The base's xLock has just set it, perhaps for its xGetLastError.
        let _errno = SavedErrno::save();
        // SAFETY: LOCKSTATE writes one int.
        let rc = unsafe { self.base().xFileControl?(self.inner(), ffi::FCNTL_LOCKSTATE, (&raw mut level).cast()) };
        (rc == ffi::OK).then(|| u8::try_from(level).ok()).flatten().map(Level)
    }

    /// Records an `xLock` or `xUnlock` and notes its outcome.
    #[inline(always)]
    fn locked(&self, kind: Kind, requested: c_int, rc: c_int, start: u64, end: u64) {
        let connection = &self.connection;
        let locks = &connection.locks;
        let before = locks.level();
        let requested = Level(requested as u8);
        let mut flags = Flags(0);
        let after = if rc == ffi::OK {
            if kind == Kind::LOCK { before.max(requested) } else { before.min(requested) }
        } else {
            // A failed EXCLUSIVE may leave PENDING, and a failed unlock any level: only the base knows.
            let asked = if kind == Kind::LOCK && requested <= Level::RESERVED { Some(before) } else { self.base_level() };
            asked.unwrap_or_else(|| {
                flags = Flags::ASSUMED;
                before
            })
        };
        let log = connection.log();
        // Before the new level is noted: these records show what was held while the bytes were written.
        if let Some(log) = log.filter(|_| kind == Kind::UNLOCK && before >= Level::RESERVED) {
            connection.flush_written(log, start);
        }
        // What the call takes: a lock to read, or one that blocks others.
        let hold = match after {
            _ if kind == Kind::UNLOCK || after <= before => None,
            Level::SHARED => Some(&locks.reading),
            _ => Some(&locks.writing),
        };
        if let Some(hold) = hold {
            hold.begin();
        }
        locks.set_level(after);
        if after == before && rc == ffi::OK {
            flags = flags.with(Flags::REDUNDANT);
        }
        let Some(log) = log else {
            if let Some(hold) = hold {
                hold.finish(end, 0, 0);
            }
            return;
        };
        let refused = ResultCode(rc).is_busy() && kind == Kind::LOCK;
        let mut arg = 0;
        let running = if kind == Kind::LOCK {
            if refused {
                arg = connection.refused();
            }
            // EXCLUSIVE straight from SHARED is the last close or a hot journal: a closing connection must not be asked for its statements.
            match requested {
                Level::SHARED if !refused => connection.running(log, Look::Briefly),
                Level::EXCLUSIVE if before <= Level::SHARED => IDLE,
                _ => {
                    connection.worked_on();
                    connection.running(log, Look::ForWriter)
                }
            }
        } else if before > after {
            connection.running_at_release(log, start)
        } else {
            IDLE
        };
        let flags = flags.with(running.flags());
        let call = LockCall { kind, flags, start, duration: end.wrapping_sub(start), rc, sql: running.sql, arg };
        let levels = u64::from(before.0) | u64::from(requested.0) << 8 | u64::from(after.0) << 16;
        let tid = log.put(connection.words(&call, levels | u64::from(FileKind::DATABASE.0) << 56));
        if let Some(hold) = hold {
            hold.finish(end, tid, running.sql);
        }
        if refused {
            locks.refuse(Request::File(requested), end, tid, running.sql);
        }
        if refused && arg == 0 {
            connection.look_outside(log, Request::File(requested), before, start, running.sql);
        }
    }
}
