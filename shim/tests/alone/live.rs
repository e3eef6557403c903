//! The table of what each traced connection holds now, read while others work, open, close and fork.
#![allow(missing_docs)]
#![allow(clippy::undocumented_unsafe_blocks)] // tests of a C interface

use crate::common::{self, alone, quiet, record_into};
use locktrace::event::{Level, Request, Slot};
use locktrace::recorder::{texts, thread_name};
use locktrace::vfs::live::{Connection as Row, connections, open_files};
use rusqlite::Connection;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::ZERO).unwrap();
    connection
}

fn row(number: u32) -> Row {
    connections().into_iter().find(|row| row.number == number).unwrap_or_else(|| panic!("no row {number}: {:?}", connections()))
}

fn text(hash: u64) -> String {
    texts([hash]).remove(&hash).unwrap_or_default()
}

fn tid() -> u32 {
    unsafe { libc::gettid() as u32 }
}

#[test]
fn a_writer_and_who_it_refuses() {
    let body = |dir: &Path| {
        record_into(&dir.join("trace"));
        assert_eq!((connections(), open_files()), (vec![], 0));
        let (db, begun) = (dir.join("a.db"), Instant::now());
        common::work(&db).unwrap();
        let writer = open(&db);
        let take = move || {
            let before = begun.elapsed();
            writer.execute_batch("BEGIN IMMEDIATE").unwrap();
            assert_eq!(thread_name(tid()).unwrap(), "the-writer");
            (writer, tid(), (before, begun.elapsed()))
        };
        let thread = std::thread::Builder::new().name("the-writer".to_owned()).spawn(take).unwrap();
        let (writer, writers_tid, taken) = thread.join().unwrap();
        let now = begun.elapsed();
        let held = row(2);
        let later = begun.elapsed();
        assert_eq!((open_files(), held.path.as_path(), held.level), (1, db.as_path(), Level::RESERVED));
        assert_eq!((held.shared, held.exclusive, held.wal, held.forked, held.shared_cache), (0, 0, false, false, false));
        assert_eq!((held.vfs, held.sqlite, held.refused), (c"locktrace", rusqlite::version(), None));
        assert_eq!(held.handle, unsafe { writer.handle() } as usize);
        let (writing, reading) = (held.writing.unwrap(), held.reading.unwrap());
        assert_eq!((writing.tid, text(writing.sql)), (writers_tid, "BEGIN IMMEDIATE".to_owned()));
        // Held for as long as it is, give or take what a tick's length is uncertain by.
        let ago = Duration::from_nanos(writing.ago_ns.unwrap());
        let slack = Duration::from_millis(1) + now / 100;
        assert!(ago + slack >= now - taken.1 && ago <= later - taken.0 + slack, "{ago:?} {taken:?} {now:?} {later:?}");
        assert!(reading.ago_ns >= writing.ago_ns && reading.real_ns <= writing.real_ns, "SHARED came before RESERVED");
        let real = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
        assert!(writing.real_ns.unwrap() < real && real - writing.real_ns.unwrap() < 60_000_000_000);
        assert_eq!(thread_name(writers_tid), None, "that thread has ended");

        let other = open(&db);
        other.execute_batch("INSERT INTO t VALUES (1)").unwrap_err();
        let refused = row(3).refused.unwrap();
        assert_eq!(refused.request, Request::File(Level::RESERVED));
        assert_eq!((refused.last.tid, text(refused.last.sql)), (tid(), "INSERT INTO t VALUES (1)".to_owned()));
        assert_eq!((row(3).level, row(3).writing, row(3).reading), (Level::NONE, None, None));

        writer.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        assert_eq!(text(row(2).writing.unwrap().sql), "BEGIN IMMEDIATE", "the statement that took it");
        writer.execute_batch("COMMIT").unwrap();
        let idle = row(2);
        assert_eq!((idle.level, idle.writing, idle.reading), (Level::NONE, None, None));
        other.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        assert_eq!(row(3).refused, None, "it got it since");
        drop(writer);
        assert_eq!(connections().iter().map(|row| row.number).collect::<Vec<_>>(), [3]);
        drop(other);
        assert_eq!((connections(), open_files()), (vec![], 0));
    };
    alone(body, quiet);
}

#[test]
fn a_commit_that_readers_hold_up_is_pending() {
    let body = |dir: &Path| {
        record_into(&dir.join("trace"));
        let db = dir.join("a.db");
        common::work(&db).unwrap();
        let (reader, writer) = (open(&db), open(&db));
        reader.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        writer.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").unwrap();
        writer.execute_batch("COMMIT").unwrap_err();
        let held = row(3);
        assert_eq!(held.level, Level::PENDING);
        assert_eq!(text(held.writing.unwrap().sql), "COMMIT");
        assert_eq!(held.refused.unwrap().request, Request::File(Level::EXCLUSIVE));
        let reading = row(2);
        assert_eq!((reading.level, reading.writing), (Level::SHARED, None));
        assert_eq!(text(reading.reading.unwrap().sql).trim(), "SELECT * FROM t");
    };
    alone(body, quiet);
}

#[test]
fn the_slots_of_a_wal_index() {
    let body = |dir: &Path| {
        record_into(&dir.join("trace"));
        let db = dir.join("a.db");
        let (reader, writer) = (open(&db), open(&db));
        writer.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(v)").unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        let idle = row(2);
        assert_eq!((idle.level, idle.wal), (Level::SHARED, true));
        assert_eq!((idle.reading, idle.writing), (None, None), "SHARED alone is no transaction in WAL mode");
        writer.execute_batch("BEGIN IMMEDIATE").unwrap();
        let (reads, writes) = (row(1), row(2));
        assert_eq!((reads.shared.count_ones(), reads.exclusive, reads.writing), (1, 0, None));
        assert!(Slot(reads.shared.trailing_zeros() as u8).is_read());
        assert_eq!(text(reads.reading.unwrap().sql).trim(), "SELECT * FROM t");
        assert_eq!(writes.exclusive, 1 << Slot::WRITE.0);
        assert_eq!(text(writes.writing.unwrap().sql), "BEGIN IMMEDIATE");
        let third = open(&db);
        third.execute_batch("INSERT INTO t VALUES (1)").unwrap_err();
        let refused = row(3).refused.unwrap();
        assert_eq!(refused.request, Request::Shm { mask: 1 << Slot::WRITE.0, exclusive: true });
        writer.execute_batch("ROLLBACK").unwrap();
        assert_eq!((row(2).exclusive, row(2).writing), (0, None));
        // A writer's hold began with its first exclusive slot. The first page written after a checkpoint restarts the log, which takes and
        // gives READ1..4; and a cache of one page writes at once.
        reader.execute_batch("COMMIT").unwrap();
        writer.execute_batch("INSERT INTO t VALUES (2); PRAGMA wal_checkpoint; PRAGMA cache_size=1; BEGIN IMMEDIATE").unwrap();
        let restarts = || common::trace(&dir.join("trace")).records.iter().filter(|record| record.shm_n == 4).count();
        let before = restarts();
        writer.execute_batch("INSERT INTO t SELECT zeroblob(5000) FROM (SELECT 1 UNION SELECT 2 UNION SELECT 3)").unwrap();
        assert_eq!(restarts() - before, 2, "the log was restarted");
        assert_eq!((row(2).exclusive, text(row(2).writing.unwrap().sql).trim()), (1 << Slot::WRITE.0, "BEGIN IMMEDIATE"));
    };
    alone(body, quiet);
}

/// Opens, uses and closes connections until it has to end.
fn churn(dir: &Path, number: u32, done: &AtomicBool) {
    let db = dir.join(format!("{number}.db"));
    while !done.load(Ordering::Relaxed) {
        let all: Vec<Connection> = (0..5).map(|_| open(&db)).collect();
        all[0].execute_batch("BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS t(v); INSERT INTO t VALUES (1); ROLLBACK").unwrap();
    }
}

#[test]
fn it_is_read_while_connections_come_and_go() {
    let body = |dir: &Path| {
        record_into(&dir.join("trace"));
        let done = AtomicBool::new(false);
        let (looks, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for number in 0..8 {
                let done = &done;
                scope.spawn(move || churn(dir, number, done));
            }
            let lookers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let until = Instant::now() + Duration::from_secs(30);
                        // An optimised build looks 4,000 times before the first connection is open.
                        let enough = || looks.fetch_add(1, Ordering::Relaxed) >= 4000 && most.load(Ordering::Relaxed) >= 5;
                        while !enough() && Instant::now() < until {
                            let rows = connections();
                            most.fetch_max(rows.len() as u32, Ordering::Relaxed);
                            for row in rows {
                                let name = row.path.file_stem().unwrap().to_str().unwrap();
                                assert!(name.parse::<u32>().unwrap() < 8, "{row:?}");
                                assert!(row.level <= Level::EXCLUSIVE, "{row:?}");
                            }
                        }
                    })
                })
                .collect();
            lookers.into_iter().for_each(|looker| looker.join().unwrap());
            done.store(true, Ordering::Relaxed);
        });
        assert!(most.into_inner() >= 5, "open connections were seen");
        assert_eq!(connections(), []);
        // More than one block of places.
        let many: Vec<Connection> = (0..100).map(|_| open(&dir.join("0.db"))).collect();
        assert_eq!((connections().len(), open_files()), (100, 100));
        drop(many);
        assert_eq!(open_files(), 0);
    };
    alone(body, quiet);
}

#[test]
fn a_child_of_a_fork_can_look_whatever_its_parents_threads_were_doing() {
    let body = |dir: &Path| {
        record_into(&dir.join("trace"));
        common::work(&dir.join("a.db")).unwrap();
        let carried = open(&dir.join("a.db"));
        carried.execute_batch("BEGIN IMMEDIATE").unwrap();
        let (own, mine) = (row(2), tid());
        assert!(!own.forked);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        connections();
                    }
                });
            }
            for _ in 0..100 {
                match unsafe { libc::fork() } {
                    0 => {
                        // Allocates nothing: a thread of the parent may have been inside the allocator, and glibc sees to that, but
                        // only the places' locks are at issue here. If one hangs, this ends the process, and with it the test.
                        unsafe { libc::alarm(20) };
                        let row = row(2);
                        let well = row.forked && row.level == Level::RESERVED && row.writing.is_some_and(|hold| hold.tid == mine);
                        unsafe { libc::_exit(i32::from(!well)) };
                    }
                    pid => {
                        let mut status = -1;
                        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
                        done.store(status != 0, Ordering::Relaxed);
                        assert_eq!(status, 0, "the child failed or hung");
                    }
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(!row(2).forked);
    };
    alone(body, quiet);
}
