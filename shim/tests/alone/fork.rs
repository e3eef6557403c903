//! `fork` while another thread is inside the recorder: the child never hangs. A child that does not end is ended by its alarm, and the test fails.
#![allow(missing_docs)]
#![allow(clippy::undocumented_unsafe_blocks)] // tests of a C interface

use crate::common::{alone, api, find, quiet, record_into, traces, work};
use locktrace::api::Api;
use locktrace::event::{Flags, Kind};
use locktrace::format::record::Record;
use locktrace::recorder::config::Config;
use locktrace::vfs::{Installed, Options, install};
use rusqlite::{Connection, ffi};
use std::ffi::{c_char, c_int};
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// Seconds after which a child is taken to be stuck. What they do takes milliseconds.
const STUCK: u32 = 20;

/// Runs `child` in a forked process; its wait status.
fn forked(child: impl FnOnce()) -> i32 {
    match unsafe { libc::fork() } {
        0 => {
            unsafe { libc::alarm(STUCK) };
            let well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).is_ok();
            unsafe { libc::_exit(i32::from(!well)) };
        }
        pid => {
            assert!(pid > 0);
            let mut status = 0;
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            status
        }
    }
}

fn random(state: &mut u64) -> u64 {
    // Knuth's MMIX generator.
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Lets another thread do `other` and forks a child in the middle of it, which does `child`; in `rounds` fresh processes, because
/// both are done once in the life of a process.
fn race(rounds: u32, spins: u64, other: impl Fn() + Sync, child: impl Fn()) {
    let mut state = u64::from(std::process::id());
    for round in 0..rounds {
        let pause = random(&mut state) % spins;
        let status = forked(|| {
            let go = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !go.load(Ordering::Acquire) {
                        std::hint::spin_loop();
                    }
                    other();
                });
                go.store(true, Ordering::Release);
                for _ in 0..pause {
                    std::hint::spin_loop();
                }
                assert_eq!(forked(&child), 0, "the child was stuck, or failed");
            });
        });
        assert_eq!(status, 0, "round {round}");
    }
}

#[test]
fn while_another_thread_configures() {
    let body = |dir: &Path| {
        let config = || Config { dir: dir.join("trace"), ..Config::default() };
        let configure = || assert_eq!(locktrace::recorder::configure(config()).unwrap().config(), config());
        race(400, 2000, configure, configure);
    };
    alone(body, quiet);
}

/// SQLite's own part in it would take a mutex, which a child could wait for without us, too: it is played here.
#[test]
fn while_another_thread_installs() {
    static UNIX: AtomicPtr<locktrace::ffi::sqlite3_vfs> = AtomicPtr::new(std::ptr::null_mut());
    unsafe extern "C" fn vfs_find(name: *const c_char) -> *mut locktrace::ffi::sqlite3_vfs {
        if name.is_null() { UNIX.load(Ordering::Relaxed) } else { std::ptr::null_mut() }
    }
    unsafe extern "C" fn vfs_register(_: *mut locktrace::ffi::sqlite3_vfs, _: c_int) -> c_int {
        ffi::SQLITE_OK
    }
    let body = |_: &Path| {
        UNIX.store(find(Some("unix")), Ordering::Relaxed);
        let install = || {
            let api = Api { vfs_find, vfs_register, ..api() };
            assert_eq!(unsafe { install(api, &Options::default()) }, Ok(Installed::Fresh));
        };
        race(400, 3000, install, install);
    };
    alone(body, quiet);
}

#[test]
fn while_another_thread_opens_the_log() {
    let body = |dir: &Path| {
        let trace = dir.join("trace");
        locktrace::recorder::configure(Config { dir: trace.clone(), limit: 256 << 10, ..Config::default() }).unwrap();
        let record = || locktrace::recorder::get().unwrap().write(&Record::new(Kind::SLEEP));
        race(200, 20_000, record, record);
        let logs = traces(&trace);
        assert_eq!(logs.len(), 400, "each process has a log of its own");
        for log in &logs {
            assert_eq!((log.header.head, log.records.len(), log.header.lost_space), (1, 1, 0), "{:?}", log.header);
        }
        // What a child recorded is its own.
        assert_eq!(logs.iter().filter(|log| log.names[0].contains(r#""forked":true"#)).count(), 400);
    };
    alone(body, quiet);
}

/// The main database's file of a connection: what SQLite itself calls, and so ours.
struct RawFile(*mut ffi::sqlite3_file);

unsafe impl Send for RawFile {}

impl RawFile {
    fn of(connection: &Connection) -> RawFile {
        let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
        let (op, out) = (ffi::SQLITE_FCNTL_FILE_POINTER, (&raw mut file).cast());
        assert_eq!(unsafe { ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), op, out) }, ffi::SQLITE_OK);
        RawFile(file)
    }

    /// Two transitions. Of SQLite's mutexes, they take this file's own only.
    fn lock_and_unlock(&self) {
        let methods = unsafe { &*(*self.0).pMethods };
        assert_eq!(unsafe { methods.xLock.unwrap()(self.0, ffi::SQLITE_LOCK_SHARED) }, ffi::SQLITE_OK);
        assert_eq!(unsafe { methods.xUnlock.unwrap()(self.0, ffi::SQLITE_LOCK_NONE) }, ffi::SQLITE_OK);
    }
}

/// Threads that never rest record all the time and are named, each on a database of its own; each child uses SQLite at once. (They
/// stay clear of the mutexes that all of SQLite shares: in a child, those would be held for ever without us, too.)
#[test]
fn while_other_threads_record() {
    let body = |dir: &Path| {
        let trace = dir.join("trace");
        record_into(&trace);
        work(&dir.join("first.db")).unwrap();
        let connections: Vec<Connection> = (0..3)
            .map(|thread| {
                let connection = Connection::open(dir.join(format!("{thread}.db"))).unwrap();
                connection.execute_batch("CREATE TABLE t(v)").unwrap();
                connection
            })
            .collect();
        let done = AtomicBool::new(false);
        let children = std::thread::scope(|scope| {
            for connection in &connections {
                let (file, done) = (RawFile::of(connection), &done);
                scope.spawn(move || {
                    let mut file = file;
                    while !done.load(Ordering::Relaxed) {
                        for _ in 0..50 {
                            file.lock_and_unlock();
                        }
                        let short = move || {
                            file.lock_and_unlock();
                            file
                        };
                        file = std::thread::spawn(short).join().unwrap();
                    }
                });
            }
            let children: Vec<u32> = (0..120)
                .map(|round| {
                    let mut pipe = [0; 2];
                    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
                    let status = forked(|| {
                        let pid = std::process::id().to_ne_bytes();
                        assert_eq!(unsafe { libc::write(pipe[1], pid.as_ptr().cast(), 4) }, 4);
                        assert_eq!(work(&dir.join(format!("child-{}.db", round % 4))).unwrap().1, 1 + round / 4);
                    });
                    assert_eq!(status, 0, "child {round} was stuck, or failed");
                    let mut pid = [0; 4];
                    assert_eq!(unsafe { libc::read(pipe[0], pid.as_mut_ptr().cast(), 4) }, 4);
                    for end in pipe {
                        unsafe { libc::close(end) };
                    }
                    u32::from_ne_bytes(pid)
                })
                .collect();
            done.store(true, Ordering::Relaxed);
            children
        });
        let traces = traces(&trace);
        for child in children {
            let log = traces.iter().find(|log| log.header.pid == child).unwrap_or_else(|| panic!("no log of child {child}"));
            assert!(log.header.head > 10, "{:?}", log.header);
            assert_eq!((log.records.len() as u64, log.unreadable, log.header.lost_space), (log.header.head, 0, 0));
            assert!(log.records.iter().all(|record| record.tid == child && !record.flags.has(Flags::FORKED)));
        }
        let parent = traces.iter().find(|log| log.header.pid == std::process::id()).unwrap();
        assert!(parent.header.head > 5000, "the other threads were at it: {:?}", parent.header);
        drop(connections);
    };
    alone(body, quiet);
}

/// Two threads meet at the first event: the log is made once, and every record of both is there or counted.
#[test]
fn two_threads_race_to_the_first_event() {
    const EACH: u64 = 40;
    let body = |dir: &Path| {
        let trace = dir.join("trace");
        locktrace::recorder::configure(Config { dir: trace.clone(), limit: 256 << 10, ..Config::default() }).unwrap();
        let records = |barrier: &Barrier| {
            barrier.wait();
            for _ in 0..EACH {
                if let Some(log) = locktrace::recorder::get() {
                    log.write(&Record::new(Kind::SLEEP));
                }
            }
        };
        for round in 0..150 {
            let status = forked(|| {
                let barrier = Barrier::new(2);
                std::thread::scope(|scope| {
                    scope.spawn(|| records(&barrier));
                    records(&barrier);
                });
            });
            assert_eq!(status, 0, "round {round}");
        }
        let logs = traces(&trace);
        assert_eq!(logs.len(), 150);
        for log in &logs {
            assert_eq!((log.header.head, log.unreadable), (2 * EACH, log.header.lost_space), "{:?}", log.header);
        }
    };
    alone(body, quiet);
}

/// A child that the C library knows nothing of, as sandboxes make them: it has a log of its own, and writes nothing into its parent's.
#[test]
fn a_child_of_a_raw_clone_has_a_log_of_its_own() {
    let body = |dir: &Path| {
        let trace = dir.join("trace");
        locktrace::recorder::configure(Config { dir: trace.clone(), limit: 256 << 10, ..Config::default() }).unwrap();
        let record = |n: u64| (0..n).for_each(|_| locktrace::recorder::get().unwrap().write(&Record::new(Kind::SLEEP)));
        record(3);
        let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } as libc::pid_t;
        if child == 0 {
            unsafe { libc::alarm(20) };
            record(5);
            unsafe { libc::_exit(0) };
        }
        let mut status = -1;
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
        record(1);
        let logs = traces(&trace);
        assert_eq!(logs.len(), 2);
        for log in &logs {
            let own = log.header.pid == std::process::id();
            assert_eq!((log.header.head, log.unreadable), (if own { 4 } else { 5 }, 0), "{:?}", log.header);
            assert!(log.names[0].contains(&format!(r#""forked":{}"#, !own)));
            assert!(own || log.records.iter().all(|record| record.tid == child as u32));
        }
    };
    alone(body, quiet);
}
