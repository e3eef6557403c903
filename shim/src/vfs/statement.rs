//! The look-up of the running statement: SQLite is asked for it, and not hooked.
//!
//! The statement of a connection is its **newest prepared statement that is busy**; for a lock that only a writer takes, the newest one that can
//! write, where there is one. Several can be busy, such as an open cursor beside a write.
//! No public interface shows which of them makes the VFS call, so this is a rule, not a proof. SQLite is asked only
//! inside a VFS call, where the calling thread holds the connection's recursive mutex. It is asked while a lock is taken, and at the release of a
//! long one or of one under which another was refused. While a connection closes it finds no statement, and builds with
//! `SQLITE_ENABLE_API_ARMOR` log a misuse: those are not asked at a release.

use crate::api::Api;
use crate::event::Flags;
use crate::ffi::{sqlite3, sqlite3_stmt};
use crate::format::sql_hash;
use crate::recorder::Log;
use crate::recorder::config::{MAX_SQL_BYTES, SqlPolicy};
use std::cell::Cell;
use std::ffi::c_char;
use std::ptr;

/// The most statements that a look-up on a read lock examines: under a driver's full statement cache each costs about 5 ns.
const FEW: u32 = 4;
/// The same for write locks, refusals, releases after a refusal, and long holds. Bounded, too: a leak of statements must not make every
/// write quadratic.
const MANY: u32 = 1000;

/// The result of a look-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Running {
    /// The hash of its text; 0 = nothing was, or it is not known.
    pub sql: u64,
    /// The look-up reached its bound before the last statement, and none of those it examined was busy.
    pub unknown: bool,
}

impl Running {
    /// The flags of a record after this look-up.
    #[inline(always)]
    pub fn flags(self) -> Flags {
        if self.unknown { Flags::SQL_UNKNOWN } else { Flags(0) }
    }
}

/// How far to search, and for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Look {
    /// At the newest [`FEW`] statements.
    Briefly,
    /// At the newest [`MANY`].
    Thoroughly,
    /// Thoroughly, for one that is not read-only; a read-only one is second best.
    ForWriter,
}

/// No statement.
pub(super) const IDLE: Running = Running { sql: 0, unknown: false };

/// The texts that a connection used last: a text is hashed and named once, and then only compared.
#[derive(Debug, Default)]
pub(super) struct TextCache {
    entries: [Cell<Text>; 4],
    next: Cell<usize>,
    /// The log these texts are named in.
    log: Cell<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Text {
    /// Its address in SQLite's memory; 0 = the entry is empty. Another text may be there now, so it is compared.
    at: usize,
    hash: u64,
    /// The kept copy.
    kept: *const u8,
    /// The bytes that are compared: its length and the NUL, or [`MAX_SQL_BYTES`].
    compared: usize,
}

impl Default for Text {
    fn default() -> Text {
        Text { at: 0, hash: 0, kept: ptr::null(), compared: 0 }
    }
}

/// The running statement of a connection.
///
/// # Safety
/// `db` is null or an open connection of the library `api` belongs to, and the calling thread is inside a VFS call of it.
#[inline(never)] // one copy: see `Log::put`
pub(super) unsafe fn running(api: &Api, db: *mut sqlite3, texts: &TextCache, log: &Log, look: Look) -> Running {
    if db.is_null() || log.policy() == SqlPolicy::Off {
        return IDLE;
    }
    let mut reader: *mut sqlite3_stmt = std::ptr::null_mut();
    let mut statement: *mut sqlite3_stmt = std::ptr::null_mut();
    for _ in 0..if look == Look::Briefly { FEW } else { MANY } {
        // SAFETY: the caller vouches for `db`; `statement` is null or came from this list under the connection's mutex, which this
        // thread holds, so it has not been finalized.
        statement = unsafe { (api.next_stmt)(db, statement) };
        if statement.is_null() {
            // SAFETY: `reader` is null or a statement of this connection, alive as above.
            return unsafe { texts.of(api, reader, log) };
        }
        // SAFETY: a statement of this connection, alive as above.
        if unsafe { (api.stmt_busy)(statement) } != 0 {
            // SAFETY: as above.
            if look != Look::ForWriter || unsafe { (api.stmt_readonly)(statement) } == 0 {
                // SAFETY: as above.
                return unsafe { texts.of(api, statement, log) };
            }
            if reader.is_null() {
                reader = statement;
            }
        }
    }
    if !reader.is_null() {
        // SAFETY: as above.
        return unsafe { texts.of(api, reader, log) };
    }
    // SAFETY: as above.
    Running { sql: 0, unknown: !unsafe { (api.next_stmt)(db, statement) }.is_null() }
}

impl TextCache {
    /// # Safety
    /// `statement` is null or a statement of the library `api` belongs to.
    #[inline(always)]
    unsafe fn of(&self, api: &Api, statement: *mut sqlite3_stmt, log: &Log) -> Running {
        if statement.is_null() {
            return IDLE;
        }
        // SAFETY: the caller's promise.
        let sql = unsafe { (api.sql)(statement) };
        if sql.is_null() {
            return IDLE; // a schema load: SQLite's own statement
        }
        // SAFETY: sqlite3_sql returns NUL-terminated text that lives as long as its statement.
        Running { sql: unsafe { self.hash(sql, log) }, unknown: false }
    }

    /// # Safety
    /// `sql` points to NUL-terminated text.
    #[inline]
    unsafe fn hash(&self, sql: *const c_char, log: &Log) -> u64 {
        if self.log.get() == log.serial() {
            for text in &self.entries {
                let text = text.get();
                // SAFETY: both are readable until their NUL or for `compared` bytes: strncmp stops at the first NUL or
                // difference, and never reads past a NUL of either.
                if text.at == sql as usize && unsafe { libc::strncmp(sql, text.kept.cast(), text.compared) } == 0 {
                    return text.hash;
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.learn(sql, log) }
    }

    /// # Safety
    /// `sql` points to NUL-terminated text.
    #[cold]
    #[inline(never)]
    unsafe fn learn(&self, sql: *const c_char, log: &Log) -> u64 {
        // SAFETY: the caller's promise.
        let kept = unsafe { libc::strnlen(sql, MAX_SQL_BYTES) };
        // SAFETY: that many bytes are there before the NUL.
        let text = unsafe { std::slice::from_raw_parts(sql.cast::<u8>(), kept) };
        let hash = sql_hash(text);
        // SAFETY: the caller's promise.
        let len = if kept < MAX_SQL_BYTES { kept } else { unsafe { libc::strlen(sql) } };
        let copy = log.learn(hash, text, len);
        if self.log.replace(log.serial()) != log.serial() {
            self.entries.iter().for_each(|entry| entry.set(Text::default()));
        }
        // A text that is not kept is hashed each time.
        if let Some(copy) = copy {
            let next = self.next.get();
            if let Some(entry) = self.entries.get(next % self.entries.len()) {
                let compared = if kept < MAX_SQL_BYTES { kept + 1 } else { kept };
                entry.set(Text { at: sql as usize, hash, kept: copy.as_ptr(), compared });
                self.next.set(next.wrapping_add(1));
            }
        }
        hash
    }
}
