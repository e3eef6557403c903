//! What a program could notice: a used heap, a changed `errno`, a cancellation point, a query that ends it. Recording and the tables for SQL
//! cause none of these. If memory is short, a query returns `SQLITE_NOMEM`.
#![allow(missing_docs)]
#![allow(clippy::undocumented_unsafe_blocks)] // tests of a C interface

use crate::common::sql::{ask, load, one, open};
use crate::common::{self, alone, one_note, own_trace, quiet};
use crate::heap;
use locktrace::event::Kind;
use locktrace::format::record::Record;
use locktrace::recorder::line::Fixed;
use locktrace::recorder::{self, Library, config::Config};
use rusqlite::{Connection, ffi};
use std::ffi::{CString, OsStr, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

const TABLES: [&str; 3] = ["locktrace_locks", "locktrace_events", "locktrace_status"];

/// Connections with a writer, somebody refused, and a path that is no text.
fn busy(dir: &Path) -> Vec<Connection> {
    let db = dir.join("a.db");
    let all = vec![open(&db), open(&db), open(&dir.join(OsStr::from_bytes(b"\xff\xc3.db")))];
    all[0].execute_batch("CREATE TABLE t(v); PRAGMA journal_mode=WAL; BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").unwrap();
    all[1].execute_batch("INSERT INTO t VALUES (2)").unwrap_err();
    all[2].execute_batch("CREATE TABLE t(v); BEGIN EXCLUSIVE").unwrap();
    all
}

/// A statement, prepared; or what went wrong.
fn prepare(connection: &Connection, sql: &CString) -> Result<*mut ffi::sqlite3_stmt, c_int> {
    let mut statement = std::ptr::null_mut();
    match unsafe { ffi::sqlite3_prepare_v2(connection.handle(), sql.as_ptr(), -1, &mut statement, std::ptr::null_mut()) } {
        ffi::SQLITE_OK => Ok(statement),
        rc => Err(rc),
    }
}

/// Every cell of every row of a statement, as text: how many rows, and the last result. Uses no heap itself.
fn run(statement: *mut ffi::sqlite3_stmt) -> (u32, c_int) {
    let mut rows = 0;
    loop {
        match unsafe { ffi::sqlite3_step(statement) } {
            ffi::SQLITE_ROW => rows += 1,
            rc => return (rows, rc),
        }
        for column in 0..unsafe { ffi::sqlite3_column_count(statement) } {
            unsafe { ffi::sqlite3_column_text(statement, column) };
        }
    }
}

#[test]
fn a_program_does_not_notice_that_it_is_recorded() {
    let body = |dir: &Path| {
        locktrace::recorder::configure(Config { dir: dir.join("new/trace"), ..Config::default() }).unwrap();
        let db = dir.join("a.db");
        std::fs::write(&db, "").unwrap();
        let path = db.as_os_str().as_bytes();
        let (vfs, base) = ("locktrace", "unix");
        let library = Library { number: 1, sqlite: "3.0.0", source_id: "", options: None, vfs, base, linked: false };
        let mut file = 0;
        heap::unnoticed(|| {
            let log = recorder::get().unwrap();
            file = log.file(&library, path);
            for n in 0..100_000 {
                log.write(&Record { file, sql: 1 + n / 100, ..Record::new(Kind::LOCK) });
                if n % 100 == 0 {
                    log.learn(1 + n / 100, b"SELECT 1", 8).unwrap();
                }
            }
        });
        let trace = own_trace(&dir.join("new/trace"), std::process::id());
        assert_eq!((trace.header.head, trace.header.lost_space, trace.unreadable), (100_000, 0, 0));
        assert_eq!(trace.file("/a.db"), file);
        assert_eq!(trace.names.iter().filter(|line| line.contains(r#""t":"sql""#)).count(), 1000);
    };
    alone(body, quiet);
}

#[test]
fn a_program_does_not_notice_pragmas() {
    let body = |dir: &Path| {
        unsafe { std::env::set_var("LOCKTRACE_PRAGMA_DIR", "1") };
        recorder::configure(Config { dir: dir.join("trace"), ..Config::default() }).unwrap();
        recorder::get().unwrap();
        let other = dir.join("other").display().to_string();
        for (name, value, well) in [
            ("locktrace", None, true),
            ("LockTrace", Some("off"), true),
            ("locktrace", Some("on"), true),
            ("locktrace", Some("maybe"), false),
            ("locktrace_sql", Some("hash"), true),
            ("locktrace_sql", Some("\u{e9}"), false),
            ("locktrace_dir", None, true),
            ("locktrace_dir", Some(&*other), true),
            ("locktrace_dir", Some("/proc/nowhere"), false),
        ] {
            let (mut memory, mut answer) = ([0; 4096], None);
            let mut out = Fixed::new(&mut memory);
            let ask = || answer = recorder::control::pragma(name.as_bytes(), value.map(str::as_bytes), &mut out);
            heap::unnoticed(ask);
            assert_eq!((answer, out.bytes().is_empty()), (Some(well), false), "{name} = {value:?}");
        }
        assert_eq!(common::traces(&dir.join("trace")).len(), 2);
        assert_eq!(common::traces(Path::new(&other)).len(), 1);
    };
    alone(body, quiet);
}

#[test]
fn a_program_does_not_notice_that_it_cannot_be_recorded() {
    let body = |dir: &Path| {
        std::fs::write(dir.join("file"), "").unwrap();
        locktrace::recorder::configure(Config { dir: dir.join("file/trace"), ..Config::default() }).unwrap();
        let mut logs = 0;
        heap::unnoticed(|| logs = (0..3000).filter_map(|_| recorder::get()).count());
        assert_eq!((logs, recorder::control::brief().lost), (0, 3000));
    };
    alone(body, |dir, output| {
        assert!(one_note(dir, output).contains("Not a directory"));
    });
}

#[test]
fn a_program_does_not_notice_that_rows_are_made() {
    let body = |dir: &Path| {
        let loader = load(dir);
        let _busy = busy(dir);
        for table in TABLES {
            let sql = CString::new(format!("SELECT * FROM {table}")).unwrap();
            let statement = prepare(&loader, &sql).unwrap();
            let mut whole = (0, 0);
            heap::unnoticed(|| whole = run(statement));
            assert!(whole.0 > 0 && whole.1 == ffi::SQLITE_DONE, "{table}: {whole:?}");
            heap::unnoticed(|| assert_eq!(unsafe { ffi::sqlite3_finalize(statement) }, ffi::SQLITE_OK));
        }
        // Declaring the tables on another connection, and connecting to them.
        let sql = CString::new("SELECT * FROM locktrace_status").unwrap();
        let mut rows = (0, 0);
        let other = || {
            let mut db = std::ptr::null_mut();
            assert_eq!(unsafe { ffi::sqlite3_open(c":memory:".as_ptr(), &mut db) }, ffi::SQLITE_OK);
            let mut statement = std::ptr::null_mut();
            unsafe { ffi::sqlite3_prepare_v2(db, sql.as_ptr(), -1, &mut statement, std::ptr::null_mut()) };
            rows = run(statement);
            unsafe { ffi::sqlite3_finalize(statement) };
            unsafe { ffi::sqlite3_close(db) };
        };
        heap::unnoticed(other);
        assert_eq!(rows, (1, ffi::SQLITE_DONE));
        let texts = "SELECT trim(sql, ' ;') FROM locktrace_locks WHERE sql LIKE '%BEGIN%' ORDER BY 1";
        assert_eq!(ask(&loader, texts), ["BEGIN EXCLUSIVE", "BEGIN IMMEDIATE"]);
        let names = ask(&loader, "SELECT substr(database, -5), lock FROM locktrace_locks WHERE connection = 3");
        assert_eq!(names, ["\u{fffd}\u{fffd}.db|EXCLUSIVE"]);
    };
    alone(body, quiet);
}

/// A process that holds RESERVED on this database until it is ended.
fn holder(db: &Path) -> libc::pid_t {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(db).unwrap();
    let mut ends = [0; 2];
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut lock = unsafe { std::mem::zeroed::<libc::flock>() };
        (lock.l_type, lock.l_start, lock.l_len) = (libc::F_WRLCK as libc::c_short, 0x4000_0001, 1);
        unsafe {
            let rc = libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&file), libc::F_SETLK, &raw const lock);
            libc::write(ends[1], [rc as u8].as_ptr().cast(), 1);
            loop {
                libc::pause();
            }
        }
    }
    let mut rc = [1];
    assert_eq!(unsafe { libc::read(ends[0], rc.as_mut_ptr().cast(), 1) }, 1);
    assert_eq!(rc, [0]);
    ends.into_iter().for_each(|end| assert_eq!(unsafe { libc::close(end) }, 0));
    child
}

#[test]
fn a_program_that_is_short_of_descriptors_has_them_to_itself() {
    let body = |dir: &Path| {
        common::record_into(&dir.join("trace"));
        let db = dir.join("a.db");
        common::work(&db).unwrap();
        // Closing the file drops no lock of ours: none is held.
        let child = holder(&db);
        let connection = open(&db);
        connection.query_row("SELECT count(*) FROM t", [], |_| Ok(())).unwrap();
        let refused = |n: u32| connection.execute_batch(&format!("INSERT INTO t VALUES ({n})")).unwrap_err();
        let null = || std::fs::File::open("/dev/null");
        let limit = |soft| {
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
            limit.rlim_cur = soft;
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        };
        let free: Vec<_> = (0..5).map(|_| null().unwrap()).collect();
        let last = std::os::fd::AsRawFd::as_raw_fd(&free[4]);
        drop(free);
        // Five are left, and three of them are in use now and then.
        limit(last as u64 + 1);
        let done = std::sync::atomic::AtomicBool::new(false);
        let opened = std::thread::scope(|scope| {
            let opener = scope.spawn(|| {
                let mut opened = 0;
                while !done.load(Ordering::Relaxed) || opened == 0 {
                    let all: Result<Vec<_>, _> = (0..3).map(|_| null()).collect();
                    opened += all.map(|all| all.len()).unwrap();
                }
                opened
            });
            (0..300).for_each(|n| drop(refused(n)));
            done.store(true, Ordering::Relaxed);
            opener.join().unwrap()
        });
        limit(1000);
        refused(301);
        assert!(opened > 0);
        let trace = own_trace(&dir.join("trace"), std::process::id());
        let answers: Vec<_> = trace.names.iter().filter(|line| line.contains(r#""t":"outside""#)).collect();
        assert!(answers.len() == 1 && answers[0].contains(r#""failed":"descriptors are short""#), "{answers:?}");
        unsafe { libc::kill(child, libc::SIGKILL) };
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    };
    alone(body, quiet);
}

#[test]
fn a_holder_outside_is_named() {
    let body = |dir: &Path| {
        common::record_into(&dir.join("trace"));
        let db = dir.join("a.db");
        common::work(&db).unwrap();
        let child = holder(&db);
        let connection = open(&db);
        connection.execute_batch("INSERT INTO t VALUES (1)").unwrap_err();
        unsafe { libc::kill(child, libc::SIGKILL) };
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        connection.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        let trace = own_trace(&dir.join("trace"), std::process::id());
        let answers: Vec<_> = trace.names.iter().filter(|line| line.contains(r#""t":"outside""#)).collect();
        let holder =
            format!(r#""holders":[{{"pid":{child},"how":"posix","mode":"write","locks":["RESERVED"],"exact":true,"own":false,"#);
        assert!(answers.len() == 1 && answers[0].contains(&holder), "{answers:?}");
    };
    alone(body, quiet);
}

/// SQLite's own allocator, with a request that fails: which one, counted down to 0.
static UNTIL: AtomicI64 = AtomicI64::new(i64::MAX);
static mut BEHIND: Option<ffi::sqlite3_mem_methods> = None;

fn fails() -> bool {
    UNTIL.fetch_sub(1, Ordering::Relaxed) == 0
}

unsafe extern "C" fn malloc(n: c_int) -> *mut c_void {
    if fails() { std::ptr::null_mut() } else { unsafe { BEHIND.unwrap().xMalloc.unwrap()(n) } }
}

unsafe extern "C" fn realloc(memory: *mut c_void, n: c_int) -> *mut c_void {
    if fails() { std::ptr::null_mut() } else { unsafe { BEHIND.unwrap().xRealloc.unwrap()(memory, n) } }
}

#[test]
fn whatever_request_sqlite_refuses_the_answer_is_nomem() {
    let body = |dir: &Path| {
        unsafe {
            let mut methods = std::mem::zeroed::<ffi::sqlite3_mem_methods>();
            assert_eq!(ffi::sqlite3_config(ffi::SQLITE_CONFIG_GETMALLOC, &raw mut methods), ffi::SQLITE_OK);
            BEHIND = Some(methods);
            methods.xMalloc = Some(malloc);
            methods.xRealloc = Some(realloc);
            assert_eq!(ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw mut methods), ffi::SQLITE_OK);
        }
        let loader = load(dir);
        let _busy = busy(dir);
        for table in TABLES {
            let sql = CString::new(format!("SELECT * FROM {table}")).unwrap();
            let (mut refused, mut inside) = (0, 0);
            for n in 0.. {
                // A connection that has never asked: it connects to the table, too.
                let mut db = std::ptr::null_mut();
                assert_eq!(unsafe { ffi::sqlite3_open(c":memory:".as_ptr(), &mut db) }, ffi::SQLITE_OK);
                UNTIL.store(n, Ordering::Relaxed);
                let mut statement = std::ptr::null_mut();
                let rc = unsafe { ffi::sqlite3_prepare_v2(db, sql.as_ptr(), -1, &mut statement, std::ptr::null_mut()) };
                let rc = if rc == ffi::SQLITE_OK { run(statement).1 } else { rc };
                let unspent = UNTIL.swap(i64::MAX, Ordering::Relaxed) >= 0;
                inside += u32::from(!statement.is_null() && rc == ffi::SQLITE_NOMEM);
                unsafe { ffi::sqlite3_finalize(statement) };
                assert_eq!(unsafe { ffi::sqlite3_close(db) }, ffi::SQLITE_OK);
                if unspent {
                    assert_eq!(rc, ffi::SQLITE_DONE);
                    break;
                }
                // Some requests SQLite can do without.
                assert!(rc == ffi::SQLITE_NOMEM || rc == ffi::SQLITE_DONE, "{table}: request {n}: {rc}");
                refused += u32::from(rc == ffi::SQLITE_NOMEM);
            }
            assert!(refused > 5 && inside > 0, "{table}: {refused} {inside}");
            assert_ne!(ask(&loader, &format!("SELECT * FROM {table}")), [""; 0]);
        }
        // Opening: the tables are given to each new connection.
        for n in 0.. {
            UNTIL.store(n, Ordering::Relaxed);
            let mut db = std::ptr::null_mut();
            let rc = unsafe { ffi::sqlite3_open(c":memory:".as_ptr(), &mut db) };
            let unspent = UNTIL.swap(i64::MAX, Ordering::Relaxed) >= 0;
            unsafe { ffi::sqlite3_close(db) };
            assert!(rc == ffi::SQLITE_OK || rc == ffi::SQLITE_NOMEM, "{n}: {rc}");
            if unspent {
                assert_eq!(rc, ffi::SQLITE_OK);
                break;
            }
        }
    };
    alone(body, quiet);
}

#[test]
fn where_the_kernel_has_no_memory_for_rows_the_answer_is_nomem() {
    let body = |dir: &Path| {
        let loader = load(dir);
        let _busy = busy(dir);
        for (table, needs) in TABLES.iter().zip([true, true, false]) {
            let statement = prepare(&loader, &CString::new(format!("SELECT * FROM {table}")).unwrap()).unwrap();
            run(statement);
            unsafe { ffi::sqlite3_reset(statement) };
            let limit = |soft| {
                let limit = libc::rlimit { rlim_cur: soft, rlim_max: libc::RLIM_INFINITY };
                assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
            };
            let mut without = (0, 0);
            let without_memory = || {
                // From here on nothing more is mapped.
                limit(1 << 20);
                without = run(statement);
                limit(libc::RLIM_INFINITY);
            };
            assert_eq!(heap::used(without_memory), 0);
            let expected = if needs { (0, ffi::SQLITE_NOMEM) } else { (1, ffi::SQLITE_DONE) };
            assert_eq!(without, expected, "{table}");
            unsafe { ffi::sqlite3_reset(statement) };
            let (rows, rc) = run(statement);
            assert!(rows > 0 && rc == ffi::SQLITE_DONE, "{table}: {rc}");
            unsafe { ffi::sqlite3_finalize(statement) };
        }
        assert_eq!(one(&loader, "SELECT count(*) FROM locktrace_locks"), "3");
    };
    alone(body, quiet);
}
