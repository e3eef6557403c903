//! The observer: the recorder calls it for every record, on the thread that made the call. Nothing that it does reaches the program.
#![allow(missing_docs)]
#![allow(clippy::undocumented_unsafe_blocks)] // tests of a C interface

use crate::common::{self, alone, own_trace, quiet, record_into, works_untouched};
use locktrace::event::Kind;
use locktrace::recorder::observer::{Observed, Observer, observe};
use rusqlite::Connection;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

fn listen(call: impl Fn(&Observed) + Send + Sync + 'static) {
    observe(Some(Box::leak(Box::new(Observer::new(call)))));
}

fn tid() -> u32 {
    (unsafe { libc::gettid() }) as u32
}

#[test]
fn it_hears_every_record_until_it_is_taken_away() {
    static HEARD: Mutex<Vec<(u64, locktrace::format::record::Record)>> = Mutex::new(Vec::new());
    let body = |dir: &Path| {
        record_into(&dir.join("trace"));
        listen(|seen| {
            assert_eq!((seen.record.tid, seen.nested), (tid(), false));
            HEARD.lock().unwrap().push((seen.number, seen.record));
        });
        works_untouched(&dir.join("a.db"));
        observe(None);
        let heard = std::mem::take(&mut *HEARD.lock().unwrap());
        let log = own_trace(&dir.join("trace"), std::process::id());
        assert!(heard.len() > 10);
        assert_eq!(heard, (0..).zip(log.records).collect::<Vec<_>>());
        works_untouched(&dir.join("b.db"));
        assert_eq!(*HEARD.lock().unwrap(), []);
    };
    alone(body, quiet);
}

#[test]
fn one_that_panics_is_called_again_and_nobody_else_notices() {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let body = |dir: &Path| {
        record_into(&dir.join("trace"));
        std::panic::set_hook(Box::new(|_| {}));
        listen(|_| {
            CALLS.fetch_add(1, Relaxed);
            panic!("on purpose");
        });
        works_untouched(&dir.join("a.db"));
        observe(None);
        let log = own_trace(&dir.join("trace"), std::process::id());
        assert_eq!(u64::from(CALLS.load(Relaxed)), log.header.head);
    };
    alone(body, quiet);
}

#[test]
fn one_that_uses_sqlite_hears_of_it_once_and_not_for_ever() {
    static DEEP: Mutex<Vec<(bool, u32)>> = Mutex::new(Vec::new());
    let body = |dir: &Path| {
        record_into(&dir.join("trace"));
        let (inner, innermost) = (dir.join("inner.db"), dir.join("innermost.db"));
        let depth = AtomicU32::new(0);
        listen(move |seen| {
            let depth_now = depth.fetch_add(1, Relaxed);
            assert!(depth_now < 2, "without end");
            let calls = {
                let mut deep = DEEP.lock().unwrap();
                deep.push((seen.nested, depth_now));
                deep.len()
            };
            // On a database of its own, whole: open, write, close. A few times.
            if seen.nested || calls < 50 {
                common::work(if seen.nested { &innermost } else { &inner }).unwrap();
            }
            depth.fetch_sub(1, Relaxed);
        });
        works_untouched(&dir.join("a.db"));
        observe(None);
        let heard = std::mem::take(&mut *DEEP.lock().unwrap());
        assert!(heard.iter().all(|&(nested, depth)| nested == (depth == 1)));
        let log = own_trace(&dir.join("trace"), std::process::id());
        let outer = log.file("/a.db");
        let of = |file: u32| log.records.iter().filter(|record| record.file == file).count();
        let [at_first, nested] = [false, true].map(|nested| heard.iter().filter(|(n, _)| *n == nested).count());
        // Those of the program reach it; those of its own calls, marked; those it makes while it hears these are only recorded.
        assert_eq!((at_first, nested), (of(outer), of(log.file("/inner.db"))));
        assert!(log.records.len() > at_first + nested);
        let rows: i64 =
            Connection::open(dir.join("inner.db")).unwrap().query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert!(rows > 1 && rows as usize <= at_first);
    };
    alone(body, quiet);
}

#[test]
fn what_it_does_leaves_no_mark_on_the_call() {
    let body = |dir: &Path| {
        record_into(&dir.join("trace"));
        let db = |name: &str, timeout: u64| {
            let db = Connection::open(dir.join(name)).unwrap();
            db.busy_timeout(Duration::from_millis(timeout)).unwrap();
            db
        };
        let (holder, victim) = (db("a.db", 0), db("a.db", 20));
        holder.execute_batch("CREATE TABLE t(v); BEGIN IMMEDIATE").unwrap();
        // The observer itself waits and is refused a lock, which makes the thread remember another connection: and forget it again.
        let (other_holder, other) = (db("b.db", 0), Mutex::new(db("b.db", 1)));
        other_holder.execute_batch("BEGIN IMMEDIATE").unwrap();
        listen(move |seen| {
            if !seen.nested && seen.record.rc.is_busy() {
                other.lock().unwrap().execute_batch("BEGIN IMMEDIATE").unwrap_err();
            }
            unsafe { *libc::__errno_location() = 77 };
        });
        unsafe { *libc::__errno_location() = 5 };
        let error = victim.execute_batch("INSERT INTO t VALUES (1)").unwrap_err();
        observe(None);
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy));
        assert_ne!(std::io::Error::last_os_error().raw_os_error(), Some(77));

        let log = own_trace(&dir.join("trace"), std::process::id());
        let refused = |conn: u32| log.records.iter().filter(|record| record.conn == conn && record.rc.is_busy()).count();
        let slept = |conn: u32| log.of(Kind::SLEEP).iter().filter(|record| record.conn == conn).count();
        // 1 and 2 are the program's, 3 and 4 the observer's. Each sleeps after every refusal but the last.
        assert!(refused(2) > 1 && refused(4) > 1);
        assert_eq!((slept(2), slept(0)), (refused(2) - 1, 0));
        assert!(slept(4) > 0);
    };
    alone(body, quiet);
}
