//! Helpers of the shim's tests: the linked SQLite's functions as an [`Api`], a reader of trace directories on `locktrace::format`, and [`alone`], which
//! runs a test in a process of its own.
#![allow(dead_code, missing_docs)] // every test binary uses its own part of it
#![allow(clippy::undocumented_unsafe_blocks)] // tests call SQLite's C interface throughout; each call is SQLite's documented one

pub mod probe;
pub mod sql;

use locktrace::api::Api;
use locktrace::event::Kind;
use locktrace::ffi;
use locktrace::format::header::{self, Header};
use locktrace::format::record::{self, Record};
use locktrace::memory;
use locktrace::recorder::config::{Config, SqlPolicy};
use locktrace::vfs::{InstallError, Installed, Options, install};
use rusqlite as _; // links SQLite
use std::ffi::{CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

unsafe extern "C" {
    pub fn sqlite3_libversion() -> *const c_char;
    pub fn sqlite3_libversion_number() -> c_int;
    pub fn sqlite3_sourceid() -> *const c_char;
    pub fn sqlite3_compileoption_get(n: c_int) -> *const c_char;
    pub fn sqlite3_vfs_find(name: *const c_char) -> *mut ffi::sqlite3_vfs;
    pub fn sqlite3_vfs_register(vfs: *mut ffi::sqlite3_vfs, make_default: c_int) -> c_int;
    pub fn sqlite3_vfs_unregister(vfs: *mut ffi::sqlite3_vfs) -> c_int;
    pub fn sqlite3_mprintf(format: *const c_char, ...) -> *mut c_char;
    pub fn sqlite3_next_stmt(db: *mut ffi::sqlite3, statement: *mut ffi::sqlite3_stmt) -> *mut ffi::sqlite3_stmt;
    pub fn sqlite3_stmt_busy(statement: *mut ffi::sqlite3_stmt) -> c_int;
    pub fn sqlite3_stmt_readonly(statement: *mut ffi::sqlite3_stmt) -> c_int;
    pub fn sqlite3_sql(statement: *mut ffi::sqlite3_stmt) -> *const c_char;
    pub fn sqlite3_initialize() -> c_int;
    pub fn sqlite3_shutdown() -> c_int;
    pub fn sqlite3_free(memory: *mut c_char);
    pub fn sqlite3_memory_used() -> i64;
}

/// The linked SQLite's functions.
pub fn api() -> Api {
    unsafe { sqlite3_initialize() };
    Api {
        libversion: sqlite3_libversion,
        libversion_number: sqlite3_libversion_number,
        sourceid: Some(sqlite3_sourceid),
        compileoption_get: Some(sqlite3_compileoption_get),
        vfs_find: sqlite3_vfs_find,
        vfs_register: sqlite3_vfs_register,
        vfs_unregister: sqlite3_vfs_unregister,
        mprintf: sqlite3_mprintf,
        next_stmt: sqlite3_next_stmt,
        stmt_busy: sqlite3_stmt_busy,
        stmt_readonly: sqlite3_stmt_readonly,
        sql: sqlite3_sql,
    }
}

/// A registered VFS by name, or the default one.
pub fn find(name: Option<&str>) -> *mut ffi::sqlite3_vfs {
    unsafe { sqlite3_initialize() };
    let name = name.map(|name| CString::new(name).unwrap());
    unsafe { sqlite3_vfs_find(name.as_ref().map_or(std::ptr::null(), |name| name.as_ptr())) }
}

/// A C string for the life of the process.
pub fn kept(text: &str) -> &'static std::ffi::CStr {
    memory::keep_c_str(&CString::new(text).unwrap()).unwrap()
}

/// Installs under a name, over a base (`None`: the default one).
pub fn install_as(name: &str, base: Option<&str>, default: bool) -> Result<Installed, InstallError> {
    let options = Options { name: kept(name), base: base.map(kept), default, linked: false };
    unsafe { install(api(), &options) }
}

/// Installs as `locktrace` and default, recording into `dir`.
pub fn record_into(dir: &Path) -> Installed {
    record_with(dir, 256 << 10, SqlPolicy::Text)
}

/// The same with a limit and a policy.
pub fn record_with(dir: &Path, limit: u64, sql: SqlPolicy) -> Installed {
    locktrace::recorder::configure(Config { dir: dir.to_owned(), limit, sql }).unwrap();
    install_as("locktrace", None, true).unwrap()
}

/// One process's log, read back.
#[derive(Debug)]
pub struct Trace {
    pub header: Header,
    /// The readable records, oldest first.
    pub records: Vec<Record>,
    /// Slots that do not hold the record they should.
    pub unreadable: u64,
    /// The names file's lines.
    pub names: Vec<String>,
}

impl Trace {
    pub fn read(ring: &Path) -> Trace {
        let bytes = std::fs::read(ring).unwrap();
        let header = Header::decode(&bytes).unwrap();
        let (mut records, mut unreadable) = (Vec::new(), 0);
        for number in header.head.saturating_sub(header.capacity)..header.head {
            let at = header::SIZE + (number % header.capacity) as usize * record::SIZE;
            match Record::decode(bytes[at..at + record::SIZE].try_into().unwrap(), number) {
                Ok(record) => records.push(record),
                Err(_) => unreadable += 1,
            }
        }
        let names = std::fs::read(ring.with_extension("names")).unwrap();
        // The file is longer than what was written, and the rest is NULs.
        let end = names.iter().position(|&byte| byte == 0).unwrap_or(names.len());
        let names = std::str::from_utf8(&names[..end]).unwrap().lines().map(str::to_owned).collect();
        Trace { header, records, unreadable, names }
    }

    pub fn of(&self, kind: Kind) -> Vec<Record> {
        self.records.iter().copied().filter(|record| record.kind == kind).collect()
    }

    /// The number of the database whose path ends so.
    pub fn file(&self, suffix: &str) -> u32 {
        let line = self.names.iter().find(|line| line.contains(r#""t":"file""#) && line.contains(&format!("{suffix}\"")));
        let line = line.unwrap_or_else(|| panic!("no file {suffix} in {:?}", self.names));
        let rest = line.split(r#""file":"#).nth(1).unwrap();
        rest.split(',').next().unwrap().parse().unwrap()
    }
}

/// Every log in a trace directory.
pub fn traces(dir: &Path) -> Vec<Trace> {
    let mut rings: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    rings.retain(|path| path.extension().is_some_and(|extension| extension == "ring"));
    rings.sort();
    rings.iter().map(|ring| Trace::read(ring)).collect()
}

/// The only log there is.
pub fn trace(dir: &Path) -> Trace {
    let mut all = traces(dir);
    assert_eq!(all.len(), 1, "one process, one log");
    all.remove(0)
}

/// The log of this process.
pub fn own_trace(dir: &Path, pid: u32) -> Trace {
    traces(dir).into_iter().find(|trace| trace.header.pid == pid).unwrap_or_else(|| panic!("no log of process {pid}"))
}

const CHILD: &str = "LOCKTRACE_TEST_ALONE";
/// Where its notes go.
const NOTES: &str = "notes.jsonl";

/// Runs the calling test in a process of its own, in a fresh directory, and hands that directory to `check` with the process's output.
///
/// The test calls this first of all, on its own thread: the test harness gives that thread the test's name. In the new process the same call
/// runs `body`.
pub fn alone(body: impl FnOnce(&Path), check: impl FnOnce(&Path, &Output)) {
    alone_with(&[], body, check);
}

/// The same, with more words on the new process's command line (to the test harness they are more names of tests).
pub fn alone_with(words: &[&str], body: impl FnOnce(&Path), check: impl FnOnce(&Path, &Output)) {
    if let Some(dir) = std::env::var_os(CHILD) {
        body(Path::new(&dir));
        return;
    }
    let thread = std::thread::current();
    let test = thread.name().expect("the test harness names a test's thread after the test");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(NOTES), "").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .args(words)
        .env(CHILD, dir.path())
        .env("LOCKTRACE_NOTES", dir.path().join(NOTES))
        .env_remove("LOCKTRACE_DIR")
        .env_remove("RUST_BACKTRACE")
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    check(dir.path(), &output);
}

/// The process ended well and wrote nothing on standard error.
fn well(output: &Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{:?}\n{out}\n{err}", output.status);
    assert!(out.contains("1 passed"), "the test of this name did not run: {out}");
    assert_eq!(err, "");
}

/// A check for [`alone`]: the process ended well, and there are no notes.
pub fn quiet(dir: &Path, output: &Output) {
    well(output);
    assert_eq!(std::fs::read_to_string(dir.join(NOTES)).unwrap(), "");
}

/// A check for [`alone`]: the process ended well, and there is exactly one note, which it returns.
pub fn one_note(dir: &Path, output: &Output) -> String {
    well(output);
    let notes = std::fs::read_to_string(dir.join(NOTES)).unwrap();
    assert_eq!(notes.matches('\n').count(), 1, "{notes:?}");
    assert!(notes.starts_with(r#"{"t":"note","pid":"#) && notes.ends_with("}\n"), "{notes:?}");
    notes
}

/// A little work that takes every kind of lock, on a new connection; returns what the application saw.
pub fn work(db: &Path) -> rusqlite::Result<(String, i64)> {
    let connection = rusqlite::Connection::open(db)?;
    let mode = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    connection.execute_batch("CREATE TABLE IF NOT EXISTS t(v)")?;
    connection.execute("INSERT INTO t VALUES (?1)", ["bound-value-nobody-may-keep"])?;
    let rows = connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?;
    Ok((mode, rows))
}

/// Whether these bytes occur in any file under this directory, and in which.
pub fn grep(dir: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(grep(&path, needle));
        } else if std::fs::read(&path).unwrap().windows(needle.len()).any(|window| window == needle) {
            found.push(path);
        }
    }
    found
}

/// The application's results on a fresh database, with nobody recording.
const UNTOUCHED: (&str, i64) = ("delete", 1);

/// The work, and that it went as without us.
pub fn works_untouched(db: &Path) {
    let (mode, rows) = work(db).unwrap();
    assert_eq!((mode.as_str(), rows), UNTOUCHED);
}

/// Selects in autocommit mode: two transitions each.
pub fn selects(connection: &rusqlite::Connection, n: u32) {
    let mut statement = connection.prepare("SELECT count(*) FROM t").unwrap();
    for _ in 0..n {
        assert_eq!(statement.query_row([], |row| row.get::<_, i64>(0)).unwrap(), 1);
    }
}
