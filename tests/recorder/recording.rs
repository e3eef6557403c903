//! The handle of an installation: it shows who holds what now, and removes the installation again.
#![allow(clippy::undocumented_unsafe_blocks)] // tests of a C interface

use crate::common::{self, alone, find, own_trace, probe, quiet};
use rusqlite::{Connection, ffi};
use shim::event::Kind;
use sqlite_locktrace::{Builder, Installed, LiveLock, Recording, current_locks};
use std::ffi::CStr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

fn install(dir: &Path) -> Recording {
    Builder::new().dir(dir.join("trace")).install().unwrap()
}

fn default_name() -> String {
    unsafe { CStr::from_ptr((*find(None)).zName) }.to_str().unwrap().to_owned()
}

fn open(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::ZERO).unwrap();
    db
}

fn held(lock: &LiveLock) -> Vec<String> {
    lock.held.iter().map(ToString::to_string).collect()
}

#[test]
fn who_holds_what_is_known_while_everybody_is_stuck() {
    let body = |dir: &Path| {
        let recording = install(dir);
        assert_eq!(recording.current_locks(), []);
        let (a, b) = (dir.join("a.db"), dir.join("b.db"));
        open(&a).execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t(x)").unwrap();
        open(&b).execute_batch("CREATE TABLE t(x)").unwrap();
        let before = SystemTime::now();
        let (writer, refused, idle, rollback) = (open(&a), open(&a), open(&a), open(&b));
        writer.execute_batch("BEGIN IMMEDIATE").unwrap();
        let victim = std::thread::Builder::new().name("victim".into());
        let ask = move || (refused.execute("INSERT INTO t VALUES (1)", []).unwrap_err().to_string(), refused);
        let (error, _refused) = victim.spawn(ask).unwrap().join().unwrap();
        assert_eq!(error, "database is locked");
        idle.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
        rollback.execute_batch("BEGIN EXCLUSIVE").unwrap();

        // Asked on a thread that has no connection, while two transactions are open.
        let locks = std::thread::scope(|scope| scope.spawn(current_locks).join().unwrap());
        assert_eq!(
            locks,
            recording.current_locks().into_iter().zip(&locks).map(|(now, then)| same_time(now, then)).collect::<Vec<_>>()
        );
        let [writer, refused, idle, rollback] = &locks[..] else { panic!("{locks:?}") };
        assert_eq!(locks.iter().map(|lock| &lock.database).collect::<Vec<_>>(), [&a, &a, &a, &b]);
        assert!(locks.iter().all(|lock| lock.vfs == "locktrace" && !lock.forked && !lock.shared_cache));

        assert_eq!(held(writer), ["SHARED", "X WRITE", "S READ0"]);
        let writing = writer.writing.as_ref().unwrap();
        assert_eq!(writing.sql.as_deref(), Some("BEGIN IMMEDIATE"));
        let since = writing.since.unwrap();
        assert!(before - Duration::from_millis(5) < since && since < SystemTime::now(), "{since:?}");
        assert!(writing.ago.unwrap() < before.elapsed().unwrap() + Duration::from_millis(5));
        assert_eq!(writing.thread, unsafe { libc::gettid() } as u32);
        assert!(writing.thread_name.is_some());
        assert_eq!(writer.refused, None);

        assert_eq!(held(refused), ["SHARED"]);
        assert_eq!((&refused.writing, &refused.reading), (&None, &None));
        let (request, last) = refused.refused.as_ref().unwrap();
        assert_eq!((request.to_string().as_str(), last.sql.as_deref()), ("X WRITE", Some("INSERT INTO t VALUES (1)")));

        assert_eq!((held(idle), &idle.writing, &idle.reading, &idle.refused), (vec!["SHARED".to_owned()], &None, &None, &None));
        assert_eq!(held(rollback), ["EXCLUSIVE"]);
        assert_eq!(rollback.writing.as_ref().unwrap().sql.as_deref(), Some("BEGIN EXCLUSIVE"));
    };
    alone(body, quiet);
}

/// Ages grow, and instants worked out from them differ by what two conversions differ by.
fn same_time(mut now: LiveLock, then: &LiveLock) -> LiveLock {
    let refused = now.refused.as_mut().map(|(_, last)| last);
    let then_refused = then.refused.as_ref().map(|(_, last)| last);
    for (now, then) in
        [(now.writing.as_mut(), then.writing.as_ref()), (now.reading.as_mut(), then.reading.as_ref()), (refused, then_refused)]
    {
        if let (Some(now), Some(then)) = (now, then) {
            assert!(now.ago >= then.ago);
            (now.ago, now.since) = (then.ago, then.since);
        }
    }
    now
}

#[test]
fn it_is_not_taken_off_while_connections_are_open() {
    let body = |dir: &Path| {
        let recording = install(dir);
        assert_eq!((recording.installed(), recording.vfs_name()), (Installed::Fresh, c"locktrace"));
        let error = || recording.uninstall().unwrap_err().to_string();
        let first = open(&dir.join("a.db"));
        assert_eq!(error(), r#"1 database is open through the VFS "locktrace"; close its connection first"#);
        let second = open(&dir.join("b.db"));
        second.execute("ATTACH ?1 AS other", [dir.join("c.db").to_str().unwrap()]).unwrap();
        assert_eq!(error(), r#"3 databases are open through the VFS "locktrace"; close their connections first"#);
        assert_eq!(default_name(), "locktrace", "and nothing has changed");
        drop(first);
        second.execute_batch("DETACH other").unwrap();
        assert_eq!(error(), r#"1 database is open through the VFS "locktrace"; close its connection first"#);
        drop(second);
        assert_eq!(recording.uninstall(), Ok(()));
        assert_eq!(error(), r#"no VFS of this locktrace is installed as "locktrace""#);
    };
    alone(body, quiet);
}

#[test]
fn after_it_the_default_of_before_is_back_and_it_can_be_installed_again() {
    let body = |dir: &Path| {
        // Registered, but not the default; and one that comes later. Neither may become it.
        find(None);
        assert_eq!(unsafe { ffi::sqlite3_vfs_register(probe::vfs("earlier", 3), 0) }, ffi::SQLITE_OK);
        let recording = install(dir);
        assert_eq!(unsafe { ffi::sqlite3_vfs_register(probe::vfs("later", 3), 0) }, ffi::SQLITE_OK);
        let ours = find(Some("locktrace"));
        for round in 1..=3 {
            common::works_untouched(&dir.join(format!("traced{round}.db")));
            assert_eq!(recording.uninstall(), Ok(()));
            assert_eq!(default_name(), "unix");
            assert!(find(Some("locktrace")).is_null());
            common::works_untouched(&dir.join(format!("untraced{round}.db")));
            assert_eq!(install(dir).installed(), Installed::Fresh);
            assert_eq!((find(None), find(Some("locktrace"))), (ours, ours), "the same VFS as before");
        }
        // One log, with the traced connections and no other.
        let log = own_trace(&dir.join("trace"), std::process::id());
        assert_eq!(log.of(Kind::OPEN).len(), 3);
        assert!(log.names.iter().all(|line| !line.contains("untraced")), "{:?}", log.names);
        assert_eq!(log.names.iter().filter(|line| line.contains(r#""t":"library""#)).count(), 1);
    };
    alone(body, quiet);
}

#[test]
fn a_default_that_somebody_else_set_stays() {
    let body = |dir: &Path| {
        let recording = install(dir);
        assert_eq!(unsafe { ffi::sqlite3_vfs_register(probe::vfs("theirs", 3), 1) }, ffi::SQLITE_OK);
        assert_eq!(recording.uninstall(), Ok(()));
        assert_eq!(default_name(), "theirs");
        // And a VFS that is not the default is taken off without making another one it.
        let by_name = Builder::new().dir(dir.join("trace")).vfs_name("by name").base("unix").make_default(false).install().unwrap();
        assert_eq!(by_name.uninstall(), Ok(()));
        assert_eq!(default_name(), "theirs");
        assert!(find(Some("by name")).is_null());
    };
    alone(body, quiet);
}

#[test]
fn threads_that_open_and_close_meanwhile_are_never_in_trouble() {
    let body = |dir: &Path| {
        let recording = install(dir);
        let stop = AtomicBool::new(false);
        let (off, refused) = std::thread::scope(|scope| {
            for i in 0..4 {
                let (stop, path) = (&stop, dir.join(format!("{i}.db")));
                scope.spawn(move || {
                    while !stop.load(Relaxed) {
                        let db = open(&path);
                        db.execute_batch("CREATE TABLE IF NOT EXISTS t(x)").unwrap();
                    }
                });
            }
            let (mut off, mut refused) = (0, 0);
            // Until both were seen, and then some; with an end.
            let begun = std::time::Instant::now();
            while (off < 20 || refused < 20) && begun.elapsed() < Duration::from_secs(60) {
                match recording.uninstall() {
                    Ok(()) => off += 1,
                    Err(_) => refused += 1,
                }
                install(dir);
            }
            stop.store(true, Relaxed);
            (off, refused)
        });
        assert!(off >= 20 && refused >= 20, "{off} {refused}");
        assert_eq!(current_locks(), []);
    };
    alone(body, quiet);
}
