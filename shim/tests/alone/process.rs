//! What belongs to a process and must stay its own: `errno`, a standard error that nobody reads, and what `fork` inherits.
#![allow(missing_docs)]
#![allow(clippy::undocumented_unsafe_blocks)] // tests of a C interface

use crate::common::probe::{self, Opened};
use crate::common::{self, alone, one_note, own_trace, quiet, record_into, work};
use locktrace::event::{Flags, Kind};
use locktrace::format::record::Record;
use locktrace::recorder::config::Config;
use rusqlite::{Connection, ffi};
use std::path::Path;

fn errno() -> i32 {
    unsafe { *libc::__errno_location() }
}

#[test]
fn errno_is_the_bases_after_the_log_is_opened() {
    let body = |dir: &Path| {
        // Making a directory that is there already fails, harmlessly, and sets errno.
        std::fs::create_dir(dir.join("trace")).unwrap();
        locktrace::recorder::configure(Config { dir: dir.join("trace"), ..Config::default() }).unwrap();
        let (_, shim) = probe::shim_over("errno", 3);
        probe::on_open(ffi::SQLITE_OK, probe::methods(3, |_| {}));
        probe::leave_errno(77);
        let opened = Opened::new(shim, "/no/such/errno.db");
        assert_eq!((opened.rc, errno()), (ffi::SQLITE_OK, 77));
        // The log was opened during that call.
        assert_eq!(common::trace(&dir.join("trace")).of(Kind::OPEN).len(), 1);
    };
    alone(body, quiet);
}

#[test]
fn errno_is_the_bases_after_a_failed_open() {
    let body = |dir: &Path| {
        std::fs::create_dir(dir.join("trace")).unwrap();
        locktrace::recorder::configure(Config { dir: dir.join("trace"), ..Config::default() }).unwrap();
        let (_, shim) = probe::shim_over("errno", 3);
        probe::on_open(ffi::SQLITE_CANTOPEN, std::ptr::null());
        probe::leave_errno(76);
        let opened = Opened::new(shim, "/no/such/errno.db");
        assert_eq!((opened.rc, errno()), (ffi::SQLITE_CANTOPEN, 76));
    };
    alone(body, quiet);
}

#[test]
fn errno_is_the_bases_after_a_thread_is_named() {
    let body = |dir: &Path| {
        locktrace::recorder::configure(Config { dir: dir.join("trace"), ..Config::default() }).unwrap();
        let (_, shim) = probe::shim_over("errno", 3);
        probe::on_open(ffi::SQLITE_OK, probe::methods(3, |_| {}));
        let mut opened = Opened::new(shim, "/no/such/errno.db");
        let (file, methods) = (opened.file() as usize, opened.methods());
        std::fs::remove_dir_all(dir.join("trace")).unwrap();
        // A new thread is named at its first record.
        let lock = move || {
            probe::leave_errno(78);
            probe::answer(ffi::SQLITE_IOERR_LOCK, 1);
            let rc = unsafe { methods.xLock.unwrap()(file as *mut _, 1) };
            (rc, errno())
        };
        assert_eq!(std::thread::spawn(lock).join().unwrap(), (ffi::SQLITE_IOERR_LOCK, 78));
    };
    alone(body, quiet);
}

#[test]
fn errno_is_the_bases_after_we_asked_it_for_its_lock_state() {
    let body = |dir: &Path| {
        locktrace::recorder::configure(Config { dir: dir.join("trace"), ..Config::default() }).unwrap();
        let (_, shim) = probe::shim_over("errno", 3);
        // A base whose file control says something else through errno than its lock did.
        unsafe extern "C" fn control(_: *mut ffi::sqlite3_file, _: i32, _: *mut std::ffi::c_void) -> i32 {
            unsafe { *libc::__errno_location() = 99 };
            ffi::SQLITE_NOTFOUND
        }
        probe::on_open(ffi::SQLITE_OK, probe::methods(3, |table| table.xFileControl = Some(control)));
        let mut opened = Opened::new(shim, "/no/such/errno.db");
        let (file, methods) = (opened.file(), opened.methods());
        probe::leave_errno(79);
        probe::answer(ffi::SQLITE_BUSY, 0);
        assert_eq!(unsafe { methods.xLock.unwrap()(file, 4) }, ffi::SQLITE_BUSY);
        assert_eq!(errno(), 79);
    };
    alone(body, quiet);
}

#[test]
fn descriptor_2_is_the_programs() {
    let body = |dir: &Path| {
        // A daemon that closed its standard descriptors, and whose data file is number 2 now.
        let own = unsafe { libc::dup(2) };
        let path = std::ffi::CString::new(dir.join("data").to_str().unwrap()).unwrap();
        unsafe { libc::close(2) };
        assert_eq!(unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600) }, 2);
        std::fs::write(dir.join("file"), "").unwrap();
        record_into(&dir.join("file/trace"));
        let rows = work(&dir.join("a.db")).unwrap().1;
        assert_eq!(unsafe { libc::dup2(own, 2) }, 2);
        assert_eq!((rows, std::fs::read(dir.join("data")).unwrap()), (1, Vec::new()));
    };
    alone(body, |dir, output| {
        assert!(one_note(dir, output).contains("Not a directory"));
    });
}

/// Runs `child` in a forked process, and waits for its good end.
fn in_fork(child: impl FnOnce()) -> u32 {
    match unsafe { libc::fork() } {
        0 => {
            let well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).is_ok();
            unsafe { libc::_exit(i32::from(!well)) };
        }
        pid => {
            assert!(pid > 0);
            let mut status = -1;
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            assert_eq!(status, 0, "the child failed");
            pid as u32
        }
    }
}

#[test]
fn a_forked_child_has_a_log_of_its_own() {
    let body = |dir: &Path| {
        let trace = dir.join("trace");
        record_into(&trace);
        work(&dir.join("a.db")).unwrap();
        let carried = Connection::open(dir.join("a.db")).unwrap();
        let before = own_trace(&trace, std::process::id()).header.head;
        let child = in_fork(|| {
            // Nothing yet: a log is made at the first event.
            assert_eq!(common::traces(&trace).len(), 1);
            let own = Connection::open(dir.join("b.db")).unwrap();
            own.execute_batch("CREATE TABLE t(v)").unwrap();
            carried.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
            drop(own);
        });
        let parent_log = own_trace(&trace, std::process::id());
        assert_eq!(parent_log.header.head, before, "the child wrote nothing into its parent's log");
        let child_log = own_trace(&trace, child);
        assert!(child_log.names[0].contains(r#""forked":true"#), "{:?}", child_log.names[0]);
        assert!(parent_log.names[0].contains(r#""forked":false"#));
        assert!(child_log.records.iter().all(|record| record.tid == child), "a thread's number is its own in the child");
        let (a, b) = (child_log.file("/a.db"), child_log.file("/b.db"));
        for record in &child_log.records {
            let is_carried = record.file == a;
            assert!(is_carried || record.file == b, "{record:?}");
            assert_eq!(record.flags.has(Flags::FORKED), is_carried, "{record:?}");
        }
        let carried_records: Vec<_> = child_log.records.iter().filter(|record| record.file == a).collect();
        let parents_conn = parent_log.of(Kind::OPEN).last().unwrap().conn;
        assert!(carried_records.len() >= 2 && carried_records.iter().all(|record| record.conn == parents_conn));
        // Numbers of connections are not given twice across a fork.
        let childs_conn = child_log.of(Kind::OPEN)[0].conn;
        assert!(!parent_log.records.iter().any(|record| record.conn == childs_conn));
        carried.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
        assert!(own_trace(&trace, std::process::id()).header.head > before, "the parent goes on");
    };
    alone(body, quiet);
}

#[test]
fn what_the_opener_wrote_before_a_fork_is_not_the_childs() {
    let body = |dir: &Path| {
        locktrace::recorder::configure(Config { dir: dir.join("trace"), ..Config::default() }).unwrap();
        let (_, shim) = probe::shim_over("fork", 3);
        probe::on_open(ffi::SQLITE_OK, probe::methods(3, |_| {}));
        let mut carried = Opened::new(shim, "/no/such/carried.db");
        let (file, methods) = (carried.file(), carried.methods());
        for level in [1, 2, 4] {
            assert_eq!(unsafe { methods.xLock.unwrap()(file, level) }, ffi::SQLITE_OK);
        }
        assert_eq!(unsafe { methods.xWrite.unwrap()(file, [0u8; 100].as_ptr().cast(), 100, 0) }, ffi::SQLITE_OK);
        let child = in_fork(|| {
            // The first file of this process's log; the carried one must not pass for it.
            let own = Opened::new(shim, "/no/such/own.db");
            assert_eq!(unsafe { methods.xClose.unwrap()(file) }, ffi::SQLITE_OK);
            own.close();
        });
        let log = own_trace(&dir.join("trace"), child);
        let closed: Vec<_> = log.of(Kind::CLOSE).iter().map(|record| (record.file, record.flags)).collect();
        assert_eq!(closed, [(log.file("/carried.db"), Flags::FORKED), (log.file("/own.db"), Flags(0))]);
        assert_eq!(log.of(Kind::WROTE), []);
        assert_eq!(carried.close(), ffi::SQLITE_OK);
        let wrote = own_trace(&dir.join("trace"), std::process::id()).of(Kind::WROTE);
        assert_eq!(wrote.iter().map(|record| record.arg).collect::<Vec<_>>(), [100]);
    };
    alone(body, quiet);
}

#[test]
fn a_carried_connection_that_is_only_closed_is_recorded_as_carried() {
    let body = |dir: &Path| {
        let trace = dir.join("trace");
        record_into(&trace);
        work(&dir.join("first.db")).unwrap();
        for mode in ["DELETE", "WAL"] {
            let carried = Connection::open(dir.join(format!("{mode}.db"))).unwrap();
            carried.execute_batch(&format!("PRAGMA journal_mode={mode}; CREATE TABLE t(v); INSERT INTO t VALUES (1)")).unwrap();
            let child = in_fork(|| {
                // It is number 1 in this process's log; the closed one must not pass for it.
                let own = Connection::open(dir.join("own.db")).unwrap();
                // The handle's destructor closes it here; the parent's own copy is not touched.
                drop(unsafe { std::ptr::read(&carried) });
                drop(own);
            });
            let log = own_trace(&trace, child);
            let closed = log.of(Kind::CLOSE);
            let carried_file = log.file(&format!("/{mode}.db"));
            let (theirs, own): (Vec<&Record>, Vec<&Record>) = closed.iter().partition(|record| record.flags.has(Flags::FORKED));
            assert_eq!(own.len(), 1, "{closed:?}");
            assert_eq!(theirs.len(), if mode == "WAL" { 2 } else { 1 }, "{closed:?}");
            assert!(theirs.iter().all(|record| record.file == carried_file), "{closed:?}");
            assert_eq!(own[0].file, log.file("/own.db"));
            // What the parent wrote before the fork is the parent's.
            assert!(log.of(Kind::WROTE).iter().all(|record| record.file != carried_file), "{:?}", log.of(Kind::WROTE));
            std::mem::forget(carried);
        }
    };
    alone(body, quiet);
}
