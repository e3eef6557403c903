//! `subscribe`: what a program gets of its own locks, and that a subscription never blocks them.
#![allow(clippy::undocumented_unsafe_blocks)] // tests of fork

use crate::common::{alone, own_trace, quiet};
use rusqlite::Connection;
use sqlite_locktrace::event::{Kind, ResultCode};
use sqlite_locktrace::{Builder, Event, SqlPolicy, Subscription, subscribe};
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A traced database in WAL mode, with a table.
fn traced(dir: &Path) -> Connection {
    Builder::new().dir(dir.join("trace")).install().unwrap();
    open(dir, "CREATE TABLE t(x)")
}

fn open(dir: &Path, sql: &str) -> Connection {
    let db = Connection::open(dir.join("a.db")).unwrap();
    db.busy_timeout(Duration::ZERO).unwrap();
    db.execute_batch(&format!("PRAGMA journal_mode = wal; {sql}")).unwrap();
    db
}

/// The numbers and records that this process's log has from this number on.
fn logged(dir: &Path, from: u64) -> Vec<(u64, shim::format::record::Record)> {
    let trace = own_trace(&dir.join("trace"), std::process::id());
    assert_eq!((trace.unreadable, trace.header.head), (0, trace.records.len() as u64), "the ring has not wrapped");
    (0..).zip(trace.records).filter(|(number, _)| *number >= from).collect()
}

fn heard(events: &Subscription) -> Vec<(u64, shim::format::record::Record)> {
    events.try_iter().map(|event| (event.number(), *event.record())).collect()
}

#[test]
fn every_record_of_the_log_is_heard_in_order_with_its_names() {
    let body = |dir: &Path| {
        let db = traced(dir);
        let from = logged(dir, 0).len() as u64;
        let before = SystemTime::now();
        let (events, others) = (subscribe(1000), subscribe(1000));
        std::thread::scope(|scope| {
            let writer = std::thread::Builder::new().name("writer".into());
            let write = || {
                let db = open(dir, "");
                db.execute("INSERT INTO t VALUES (?1)", ["bound-value-nobody-may-keep"]).unwrap();
            };
            writer.spawn_scoped(scope, write).unwrap().join().unwrap();
        });
        db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
        let after = SystemTime::now();

        let all: Vec<Event> = events.try_iter().collect();
        assert_eq!(all.iter().map(|event| (event.number(), *event.record())).collect::<Vec<_>>(), logged(dir, from));
        assert_eq!(heard(&others), logged(dir, from));
        assert_eq!((events.dropped(), others.dropped()), (0, 0));

        let write = all
            .iter()
            .find(|event| event.to_string() == "xShmLock X WRITE = OK" || event.to_string() == "xShmLock X WRITE")
            .unwrap();
        assert_eq!(write.sql_text().as_deref(), Some("INSERT INTO t VALUES (?1)"));
        assert_eq!(write.database(), Some(dir.join("a.db")));
        assert_eq!((write.call(), write.result(), write.connection()), (Kind::SHM_LOCK, ResultCode::OK, Some(2)));
        assert_eq!(write.held().iter().map(ToString::to_string).collect::<Vec<_>>(), ["SHARED", "X WRITE", "S READ1"]);
        assert_eq!(write.thread_name().as_deref(), Some("writer"));
        let read = all.iter().rfind(|event| event.to_string().starts_with("xShmLock S READ")).unwrap();
        assert_eq!(read.sql_text().as_deref(), Some("SELECT count(*) FROM t"));
        assert_eq!((read.connection(), read.database()), (Some(1), Some(dir.join("a.db"))));
        assert_ne!(read.thread(), write.thread());
        // A name that came after others were looked up.
        db.query_row("SELECT 'later' FROM t", [], |row| row.get::<_, String>(0)).unwrap();
        let later = events.try_iter().next().unwrap();
        assert_eq!(later.sql_text().as_deref(), Some("SELECT 'later' FROM t"));
        // A statement takes longer than any call it makes, and no clock of ours is off by a millisecond.
        let slack = Duration::from_millis(1);
        for event in &all {
            assert!(before - slack <= event.time() && event.time() <= after + slack, "{event}: {:?}", event.time());
            let released = event.to_string().starts_with("xShmLock U");
            assert_eq!(event.duration().is_none(), released, "{event}");
            assert!(event.duration().unwrap_or_default() <= after.duration_since(before).unwrap() + slack);
        }
    };
    alone(body, quiet);
}

#[test]
fn what_finds_no_room_is_counted_to_the_last_one() {
    let body = |dir: &Path| {
        let db = traced(dir);
        let from = logged(dir, 0).len() as u64;
        let (one, ten, all) = (subscribe(1), subscribe(10), subscribe(1000));
        for i in 0..20 {
            db.execute("INSERT INTO t VALUES (?1)", [i]).unwrap();
        }
        let logged = logged(dir, from);
        let n = logged.len() as u64;
        assert!(n > 80, "{n}");
        assert_eq!((one.dropped(), ten.dropped(), all.dropped()), (n - 1, n - 10, 0));
        // The oldest ones are kept; room that is made is used.
        assert_eq!((heard(&one), heard(&ten), heard(&all)), (logged[..1].to_vec(), logged[..10].to_vec(), logged));
        db.execute("INSERT INTO t VALUES (1)", []).unwrap();
        assert_eq!(one.try_iter().map(|event| event.number()).collect::<Vec<_>>(), [from + n]);
    };
    alone(body, quiet);
}

#[test]
fn a_dropped_subscription_hears_nothing_more_and_frees_its_channel() {
    let body = |dir: &Path| {
        let db = traced(dir);
        let (first, second) = (subscribe(1000), subscribe(1000));
        let clone = first.receiver().clone();
        db.execute("INSERT INTO t VALUES (1)", []).unwrap();
        drop(first);
        let n = second.len();
        assert!(n > 0);
        db.execute("INSERT INTO t VALUES (2)", []).unwrap();
        assert!(second.len() > n);
        // What was sent before is still there, then comes the end.
        assert_eq!(clone.iter().count(), n);
        drop(second);
        db.execute("INSERT INTO t VALUES (3)", []).unwrap();
        // And again, after nobody had listened for a while.
        let third = subscribe(0);
        assert_eq!(third.receiver().capacity(), Some(1));
        db.execute("INSERT INTO t VALUES (4)", []).unwrap();
        assert_eq!(heard(&third).len(), 1);
    };
    alone(body, quiet);
}

#[test]
fn eight_threads_are_all_heard_while_subscriptions_come_and_go() {
    const EACH: i64 = 200;
    let body = |dir: &Path| {
        let db = traced(dir);
        let from = logged(dir, 0).len() as u64;
        let events = subscribe(64);
        let (heard, counted) = std::thread::scope(|scope| {
            let receiver = events.receiver().clone();
            let reader = scope.spawn(move || receiver.iter().map(|event| (event.number(), *event.record())).collect::<Vec<_>>());
            let workers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let db = open(dir, "");
                        for _ in 0..EACH {
                            let passing = subscribe(2);
                            assert_eq!(db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)), Ok(0));
                            assert!(!passing.is_empty());
                        }
                    })
                })
                .collect();
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            let dropped = events.dropped();
            drop(events);
            (reader.join().unwrap(), dropped)
        });
        drop(db);
        let log: HashMap<_, _> = logged(dir, from).into_iter().collect();
        // Everything is accounted for: heard once, as it was recorded, or counted. (What came after the count was read is the close above.)
        let mut numbers: Vec<u64> = heard.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), heard.len());
        for (number, record) in &heard {
            assert_eq!(log[number], *record);
        }
        let closing = log.len() as u64 - heard.len() as u64 - counted;
        assert!(closing < 20, "{} logged, {} heard, {counted} counted", log.len(), heard.len());
        assert!(log.len() as i64 > 8 * EACH * 2);
        // Each thread's own events are in its own order.
        let mut last = HashMap::new();
        for (number, record) in &heard {
            assert!(last.insert(record.tid, *number).is_none_or(|before| before < *number));
        }
    };
    alone(body, quiet);
}

#[test]
fn a_receiver_may_use_the_same_database_on_its_own_thread() {
    let body = |dir: &Path| {
        let db = traced(dir);
        db.execute_batch("CREATE TABLE heard(number)").unwrap();
        let hearing = open(dir, "");
        let events = subscribe(16);
        std::thread::scope(|scope| {
            let receiver = events.receiver().clone();
            let busy = scope.spawn(move || {
                let db = hearing;
                db.busy_timeout(Duration::from_secs(60)).unwrap();
                let mut n = 0;
                // It hears of its own inserts, too: without end, if this did not stop.
                for event in receiver.iter().take(200) {
                    db.execute("INSERT INTO heard VALUES (?1)", [event.number() as i64]).unwrap();
                    n += 1;
                }
                n
            });
            db.busy_timeout(Duration::from_secs(60)).unwrap();
            for _ in 0..50 {
                db.execute("INSERT INTO t VALUES (1)", []).unwrap();
            }
            assert_eq!(busy.join().unwrap(), 200);
        });
        let rows = db.query_row("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM heard)", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        });
        assert_eq!(rows, Ok((50, 200)));
    };
    alone(body, quiet);
}

#[test]
fn without_a_policy_for_texts_there_is_none() {
    let body = |dir: &Path| {
        Builder::new().dir(dir.join("trace")).sql(SqlPolicy::Hash).install().unwrap();
        let db = open(dir, "CREATE TABLE t(x)");
        let events = subscribe(100);
        db.execute("INSERT INTO t VALUES (1)", []).unwrap();
        let write = events.try_iter().find(|event| event.to_string().starts_with("xShmLock X WRITE")).unwrap();
        assert!(write.sql().is_some());
        assert_eq!(write.sql_text(), None);
    };
    alone(body, quiet);
}

#[test]
fn names_are_known_after_the_trace_is_deleted() {
    let body = |dir: &Path| {
        let db = traced(dir);
        let events = subscribe(100);
        std::fs::remove_dir_all(dir.join("trace")).unwrap();
        db.execute("INSERT INTO t VALUES (1)", []).unwrap();
        let all: Vec<Event> = events.try_iter().collect();
        assert!(all.len() >= 4);
        // The process has its files mapped, whatever became of their names.
        assert!(all.iter().all(|event| event.database().is_some() && event.thread_name().is_some()));
        assert!(all.iter().any(|event| event.sql_text().is_some_and(|text| text.starts_with("INSERT"))));
    };
    alone(body, quiet);
}

#[test]
fn a_forked_child_hears_nothing_until_it_subscribes_itself() {
    let body = |dir: &Path| {
        let db = traced(dir);
        let (inherited, from_parent) = (subscribe(100), subscribe(100));
        db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
        let event = from_parent.recv().unwrap();
        // The worst moment: other threads are inside the list of subscribers, a channel and the names, all the time. (Not inside
        // SQLite: that leaves its own mutexes behind in a child.)
        let stop = std::sync::atomic::AtomicBool::new(false);
        let statuses = std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        drop(subscribe(1));
                        assert!(inherited.try_recv().is_err() || event.database().is_some());
                    }
                });
            }
            let children: Vec<bool> = (0..50).map(|_| in_child(|| child(dir, &inherited))).collect();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            children
        });
        assert_eq!(statuses, vec![true; 50]);
        drop(db);
    };
    alone(body, quiet);
}

/// What the child does. The inherited channel is left alone: it may be in any state.
fn child(dir: &Path, inherited: &Subscription) -> bool {
    let before = inherited.dropped();
    let db = open(dir, "");
    let unheard = inherited.dropped() == before;
    let own = subscribe(100);
    let count = db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0));
    let events: Vec<Event> = own.try_iter().collect();
    let database = events.first().and_then(Event::database);
    // What was inherited is dropped without touching its locks.
    drop(unsafe { std::ptr::read(inherited) });
    drop(own);
    unheard && count == Ok(0) && events.len() >= 2 && database == Some(dir.join("a.db"))
}

/// Whether this is true in a forked child, which has 20 seconds to say so.
fn in_child(body: impl FnOnce() -> bool) -> bool {
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        unsafe { libc::alarm(20) };
        let good = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(false);
        unsafe { libc::_exit(i32::from(!good)) };
    }
    let mut status = 0;
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}
