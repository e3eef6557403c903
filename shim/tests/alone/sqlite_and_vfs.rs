//! The shim between a whole SQLite and real VFSes: the application must see what it sees without the shim.
#![allow(missing_docs)]
#![allow(clippy::undocumented_unsafe_blocks)] // tests of a C interface

use crate::common::{self, alone, install_as, quiet};
use locktrace::event::{FileKind, Kind, Level};
use locktrace::recorder::config::Config;
use rusqlite::{Connection, OpenFlags, ffi};
use std::ffi::{c_int, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

fn into(dir: &Path) {
    locktrace::recorder::configure(Config { dir: dir.join("trace"), ..Config::default() }).unwrap();
}

fn open(path: &Path, vfs: &str) -> Connection {
    Connection::open_with_flags_and_vfs(path, OpenFlags::default(), vfs).unwrap()
}

/// What a pragma answers, or the extended result code it fails with.
fn ask(connection: &Connection, sql: &str) -> Result<String, c_int> {
    let answer = connection.query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0));
    match answer {
        Ok(value) => Ok(format!("{value:?}")),
        Err(rusqlite::Error::SqliteFailure(error, _)) => Err(error.extended_code),
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok("no row".to_owned()),
        Err(error) => panic!("{error}"),
    }
}

/// Everything about journal modes that a VFS without shared memory decides.
fn journal_modes(path: &Path, vfs: &str) -> Vec<Result<String, c_int>> {
    let mut seen = Vec::new();
    let connection = open(path, vfs);
    for sql in [
        "PRAGMA journal_mode",
        "PRAGMA journal_mode=WAL",
        "CREATE TABLE t(v)",
        "INSERT INTO t VALUES (1) RETURNING v",
        "PRAGMA locking_mode=EXCLUSIVE",
        "PRAGMA journal_mode=WAL",
        "INSERT INTO t VALUES (2) RETURNING v",
        "PRAGMA locking_mode=NORMAL",
        "SELECT count(*) FROM t",
        "PRAGMA wal_checkpoint(TRUNCATE)",
    ] {
        seen.push(ask(&connection, sql));
    }
    drop(connection);
    // The database is in WAL mode now: opening it without exclusive locking mode must fail just the same.
    let connection = open(path, vfs);
    seen.push(ask(&connection, "SELECT count(*) FROM t"));
    seen.push(ask(&connection, "PRAGMA locking_mode=EXCLUSIVE"));
    seen.push(ask(&connection, "SELECT count(*) FROM t"));
    seen.push(ask(&connection, "PRAGMA journal_mode=DELETE"));
    seen
}

#[test]
fn wal_is_refused_and_allowed_as_without_us() {
    let body = |dir: &Path| {
        into(dir);
        for base in ["unix-none", "unix-dotfile", "unix"] {
            let shim = format!("locktrace-{base}");
            install_as(&shim, Some(base), false).unwrap();
            let bare = journal_modes(&dir.join(format!("bare-{base}.db")), base);
            let traced = journal_modes(&dir.join(format!("traced-{base}.db")), &shim);
            assert_eq!(traced, bare, "{base}");
            // The comparison is worth something: bare SQLite refuses WAL here, and then allows it in exclusive mode.
            let refused = if base == "unix" { r#"Text("wal")"# } else { r#"Text("delete")"# };
            assert_eq!(bare[1].as_deref(), Ok(refused), "{base}");
            assert_eq!(bare[5].as_deref(), Ok(r#"Text("wal")"#), "{base}");
        }
    };
    alone(body, quiet);
}

/// The method table of the real VFS, whose `xFetch` is wrapped to count.
static REAL: AtomicPtr<ffi::sqlite3_io_methods> = AtomicPtr::new(std::ptr::null_mut());
static FETCHED: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" fn counting_fetch(file: *mut ffi::sqlite3_file, offset: i64, amount: c_int, page: *mut *mut c_void) -> c_int {
    let rc = unsafe { (*REAL.load(Ordering::Relaxed)).xFetch.unwrap()(file, offset, amount, page) };
    if rc == ffi::SQLITE_OK && !unsafe { *page }.is_null() {
        FETCHED.fetch_add(1, Ordering::Relaxed);
    }
    rc
}

unsafe extern "C" fn counting_open(
    _: *mut ffi::sqlite3_vfs,
    name: *const std::ffi::c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let unix = unsafe { ffi::sqlite3_vfs_find(c"unix".as_ptr()) };
    let rc = unsafe { (*unix).xOpen.unwrap()(unix, name, file, flags, out) };
    let methods = unsafe { (*file).pMethods };
    if !methods.is_null() && flags & ffi::SQLITE_OPEN_MAIN_DB != 0 {
        REAL.store(methods.cast_mut(), Ordering::Relaxed);
        let counting = ffi::sqlite3_io_methods { xFetch: Some(counting_fetch), ..unsafe { *methods } };
        unsafe { (*file).pMethods = Box::leak(Box::new(counting)) };
    }
    rc
}

#[test]
fn memory_mapped_reads_reach_the_bases_fetch() {
    let body = |dir: &Path| {
        into(dir);
        let unix = common::find(Some("unix")).cast::<ffi::sqlite3_vfs>();
        let counting = ffi::sqlite3_vfs { zName: c"counting".as_ptr(), xOpen: Some(counting_open), ..unsafe { *unix } };
        unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(counting)), 0) };
        install_as("locktrace", Some("counting"), false).unwrap();
        let connection = open(&dir.join("a.db"), "locktrace");
        let mapped = ask(&connection, "PRAGMA mmap_size=1048576");
        assert_eq!(mapped.as_deref(), Ok("Integer(1048576)"));
        connection.execute_batch("CREATE TABLE t(v); INSERT INTO t SELECT randomblob(500) FROM generate_series(1, 1)").unwrap_err();
        connection
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS t(v);
                 WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) INSERT INTO t SELECT zeroblob(500) FROM n",
            )
            .unwrap();
        drop(connection);
        let connection = open(&dir.join("a.db"), "locktrace");
        ask(&connection, "PRAGMA mmap_size=1048576").unwrap();
        FETCHED.store(0, Ordering::Relaxed);
        assert_eq!(ask(&connection, "SELECT count(*), sum(length(v)) FROM t").as_deref(), Ok("Integer(200)"));
        assert!(FETCHED.load(Ordering::Relaxed) > 20, "{FETCHED:?}");
    };
    alone(body, quiet);
}

/// Turns SQLite's allocation statistics on, which the test of leaks counts with.
fn count_allocations() {
    unsafe {
        assert_eq!(ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 1 as c_int), ffi::SQLITE_OK);
    }
}

#[test]
fn asking_for_the_vfs_name_leaks_nothing() {
    let body = |dir: &Path| {
        count_allocations();
        into(dir);
        install_as("locktrace", None, true).unwrap();
        let connection = open(&dir.join("a.db"), "locktrace");
        let ask = || {
            let mut name: *mut std::ffi::c_char = std::ptr::null_mut();
            let op = ffi::SQLITE_FCNTL_VFSNAME;
            let rc = unsafe { ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), op, (&raw mut name).cast()) };
            assert_eq!(rc, ffi::SQLITE_OK);
            assert_eq!(unsafe { std::ffi::CStr::from_ptr(name) }, c"locktrace/unix");
            unsafe { common::sqlite3_free(name) };
        };
        ask();
        let before = unsafe { common::sqlite3_memory_used() };
        assert!(before > 0, "SQLite counts");
        (0..1000).for_each(|_| ask());
        assert_eq!(unsafe { common::sqlite3_memory_used() }, before);
    };
    alone(body, quiet);
}

#[test]
fn nothing_of_ours_is_left_in_sqlites_memory() {
    let body = |dir: &Path| {
        count_allocations();
        into(dir);
        unsafe { common::sqlite3_initialize() };
        let cycle = || {
            common::work(&dir.join("a.db")).unwrap();
        };
        cycle();
        let bare = unsafe { common::sqlite3_memory_used() };
        install_as("locktrace", None, true).unwrap();
        for _ in 0..10 {
            cycle();
        }
        assert_eq!(unsafe { common::sqlite3_memory_used() }, bare);
    };
    alone(body, quiet);
}

/// A VFS of somebody else's, kept in memory, through the `sqlite-vfs` crate.
mod foreign {
    use sqlite_vfs::{DatabaseHandle, LockKind, OpenOptions, Vfs, WalDisabled};
    use std::collections::HashMap;
    use std::io::{Error, ErrorKind};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    #[derive(Default)]
    struct Shared {
        bytes: Vec<u8>,
        readers: usize,
        writer: bool,
        exclusive: bool,
    }

    #[derive(Clone, Default)]
    pub struct Memory(Arc<Mutex<HashMap<String, Arc<Mutex<Shared>>>>>);

    pub struct Handle {
        file: Arc<Mutex<Shared>>,
        held: LockKind,
    }

    impl Vfs for Memory {
        type Handle = Handle;

        fn open(&self, db: &str, _: OpenOptions) -> Result<Handle, Error> {
            let file = Arc::clone(self.0.lock().unwrap().entry(db.to_owned()).or_default());
            Ok(Handle { file, held: LockKind::None })
        }
        fn delete(&self, db: &str) -> Result<(), Error> {
            self.0.lock().unwrap().remove(db).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
        }
        fn exists(&self, db: &str) -> Result<bool, Error> {
            Ok(self.0.lock().unwrap().contains_key(db))
        }
        fn temporary_name(&self) -> String {
            "temporary".to_owned()
        }
        fn random(&self, buffer: &mut [i8]) {
            buffer.iter_mut().enumerate().for_each(|(i, byte)| *byte = i as i8);
        }
        fn sleep(&self, duration: Duration) -> Duration {
            std::thread::yield_now();
            duration
        }
    }

    impl DatabaseHandle for Handle {
        type WalIndex = WalDisabled;

        fn size(&self) -> Result<u64, Error> {
            Ok(self.file.lock().unwrap().bytes.len() as u64)
        }
        fn read_exact_at(&mut self, buf: &mut [u8], offset: u64) -> Result<(), Error> {
            let file = self.file.lock().unwrap();
            let end = offset as usize + buf.len();
            let from = file.bytes.get(offset as usize..end).ok_or(ErrorKind::UnexpectedEof)?;
            buf.copy_from_slice(from);
            Ok(())
        }
        fn write_all_at(&mut self, buf: &[u8], offset: u64) -> Result<(), Error> {
            let (mut file, end) = (self.file.lock().unwrap(), offset as usize + buf.len());
            let len = file.bytes.len().max(end);
            file.bytes.resize(len, 0);
            file.bytes[offset as usize..end].copy_from_slice(buf);
            Ok(())
        }
        fn sync(&mut self, _: bool) -> Result<(), Error> {
            Ok(())
        }
        fn set_len(&mut self, size: u64) -> Result<(), Error> {
            self.file.lock().unwrap().bytes.resize(size as usize, 0);
            Ok(())
        }
        fn lock(&mut self, lock: LockKind) -> Result<bool, Error> {
            let mut file = self.file.lock().unwrap();
            let writer = self.held >= LockKind::Reserved;
            match lock {
                LockKind::None | LockKind::Shared if self.held >= lock => {
                    if writer {
                        (file.writer, file.exclusive) = (false, false);
                    }
                    if lock == LockKind::None && self.held >= LockKind::Shared {
                        file.readers -= 1;
                    }
                }
                LockKind::None => {}
                LockKind::Shared => {
                    if file.exclusive {
                        return Ok(false);
                    }
                    file.readers += 1;
                }
                LockKind::Reserved | LockKind::Pending | LockKind::Exclusive => {
                    if file.writer && !writer {
                        return Ok(false);
                    }
                    if lock == LockKind::Exclusive && file.readers > 1 {
                        return Ok(false);
                    }
                    (file.writer, file.exclusive) = (true, lock == LockKind::Exclusive);
                }
            }
            self.held = lock;
            Ok(true)
        }
        fn reserved(&mut self) -> Result<bool, Error> {
            Ok(self.file.lock().unwrap().writer)
        }
        fn current_lock(&self) -> Result<LockKind, Error> {
            Ok(self.held)
        }
        fn wal_index(&self, _: bool) -> Result<WalDisabled, Error> {
            Ok(WalDisabled)
        }
    }
}

/// What an application does and sees: two connections that get into each other's way.
fn two_connections(path: &Path, vfs: &str) -> Vec<Result<String, c_int>> {
    let (a, b) = (open(path, vfs), open(path, vfs));
    for connection in [&a, &b] {
        connection.busy_timeout(std::time::Duration::ZERO).unwrap();
    }
    let mut seen = vec![];
    for (connection, sql) in [
        (&a, "CREATE TABLE t(v)"),
        (&a, "BEGIN IMMEDIATE"),
        (&a, "INSERT INTO t VALUES (1) RETURNING v"),
        (&b, "BEGIN IMMEDIATE"),
        (&b, "SELECT count(*) FROM t"),
        (&a, "COMMIT"),
        (&b, "SELECT count(*) FROM t"),
        (&b, "BEGIN"),
        (&b, "SELECT count(*) FROM t"),
        (&a, "INSERT INTO t VALUES (2)"),
        (&b, "COMMIT"),
        (&a, "INSERT INTO t VALUES (3) RETURNING v"),
        (&b, "SELECT sum(v) FROM t"),
        (&b, "PRAGMA integrity_check"),
        // This crate's VFS promises shared memory and then fails at it: so must ours.
        (&a, "PRAGMA journal_mode=WAL"),
        (&a, "SELECT sum(v) FROM t"),
    ] {
        seen.push(ask(connection, sql));
    }
    seen
}

#[test]
fn a_foreign_vfs_works_as_without_us() {
    let body = |dir: &Path| {
        into(dir);
        common::find(None);
        sqlite_vfs::register("memory", foreign::Memory::default(), false).unwrap();
        install_as("locktrace", Some("memory"), false).unwrap();
        let bare = two_connections(Path::new("bare.db"), "memory");
        let traced = two_connections(Path::new("traced.db"), "locktrace");
        assert_eq!(traced, bare);
        assert_eq!(bare[bare.len() - 3].as_deref(), Ok(r#"Text("ok")"#));
        assert_eq!(bare[bare.len() - 1], Err(ffi::SQLITE_IOERR_SHMLOCK));
        assert_eq!(bare.iter().filter(|seen| **seen == Err(ffi::SQLITE_BUSY)).count(), 2, "{bare:?}");
        // And the trace shows the two refusals, on the right connections.
        let trace = common::trace(&dir.join("trace"));
        let refused: Vec<_> = trace.of(Kind::LOCK).into_iter().filter(|record| record.rc.is_busy()).collect();
        let told: Vec<_> = refused.iter().map(|r| (r.conn, r.requested, r.before, r.after, r.file_kind)).collect();
        let database = FileKind::DATABASE;
        assert_eq!(told[0], (2, Level::RESERVED, Level::SHARED, Level::SHARED, database));
        assert_eq!((told.len(), told[1].0, told[1].1), (2, 1, Level::EXCLUSIVE), "{told:?}");
    };
    alone(body, quiet);
}
