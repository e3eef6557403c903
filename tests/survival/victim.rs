//! A program that takes and releases locks on several threads as fast as it can, and counts what it has done, until it is killed.
//!
//! The environment gives it a database, a file of [`Counters`] and a number of threads. It writes rows `(pid, thread, n)` into the table
//! `t`. Each thread has two connections: one writes rows, and on the other the thread calls the locking methods
//! itself, as SQLite would, so that the recorder is busy for a good part of the time and every call is counted.

use super::counters::Counters;
use crate::live::child::tid;
use crate::live::host::again;
use rusqlite::{Connection, ffi};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

const ROLE: &str = "LOCKTRACE_TEST_VICTIM";

/// Starts a victim.
pub fn start(database: &Path, counters: &Path, threads: usize, traces: &Path, limit: &str) -> Child {
    let mut command: Command = again("victim::run");
    command
        .env(ROLE, database)
        .env("VICTIM_COUNTERS", counters)
        .env("VICTIM_THREADS", threads.to_string())
        .env("LOCKTRACE_DIR", traces)
        .env("LOCKTRACE_LIMIT", limit)
        .env_remove("LOCKTRACE_SQL")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command.spawn().unwrap()
}

/// The main database's file of a connection: what SQLite itself calls, and so the recorder's.
#[derive(Debug)]
pub struct RawFile(*mut ffi::sqlite3_file);

impl RawFile {
    pub fn of(connection: &Connection) -> RawFile {
        let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
        let (op, out) = (ffi::SQLITE_FCNTL_FILE_POINTER, (&raw mut file).cast());
        assert_eq!(unsafe { ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), op, out) }, ffi::SQLITE_OK);
        RawFile(file)
    }

    /// SQLite's result code.
    pub fn lock(&self) -> i32 {
        unsafe { (*(*self.0).pMethods).xLock.unwrap()(self.0, ffi::SQLITE_LOCK_SHARED) }
    }

    /// SQLite's result code.
    pub fn unlock(&self) -> i32 {
        unsafe { (*(*self.0).pMethods).xUnlock.unwrap()(self.0, ffi::SQLITE_LOCK_NONE) }
    }
}

#[test]
#[ignore = "the other tests start it as a child process"]
fn run() {
    // Somebody ran all ignored tests.
    let Some(database) = std::env::var_os(ROLE) else { return };
    // Should the test that kills it be gone.
    unsafe { libc::alarm(300) };
    let counters = Counters::at(Path::new(&std::env::var_os("VICTIM_COUNTERS").unwrap()));
    let threads: usize = std::env::var("VICTIM_THREADS").unwrap().parse().unwrap();
    sqlite_locktrace::Builder::new().install().unwrap();
    let connect = || {
        let connection = Connection::open(&database).unwrap();
        connection.busy_timeout(Duration::from_secs(100)).unwrap();
        connection
    };
    counters.stage.store(1, Ordering::Relaxed);
    let first = connect();
    counters.stage.store(2, Ordering::Relaxed);
    std::thread::scope(|scope| {
        for (number, mine) in counters.threads.iter().enumerate().take(threads) {
            scope.spawn(move || {
                mine.tid.store(tid().into(), Ordering::Relaxed);
                let (writes, locks) = (connect(), connect());
                writes.execute_batch("PRAGMA synchronous=OFF").unwrap();
                let raw = RawFile::of(&locks);
                for n in 0.. {
                    writes.execute("INSERT INTO t VALUES(?1, ?2, ?3)", (std::process::id(), number as i64, n)).unwrap();
                    mine.commits.fetch_add(1, Ordering::Relaxed);
                    for _ in 0..40 {
                        let locked = raw.lock();
                        mine.transitions.fetch_add(1, Ordering::Relaxed);
                        if locked == ffi::SQLITE_OK {
                            assert_eq!(raw.unlock(), ffi::SQLITE_OK);
                            mine.transitions.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    drop(first);
}
