//! The `tracing` bridge: what a program's own log says of its locks, in which span, and that no layer blocks a lock.
#![allow(clippy::undocumented_unsafe_blocks)] // tests of fork

use crate::common::{alone, quiet};
use rusqlite::Connection;
use sqlite_locktrace::Builder;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, info_span};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

/// An event as a layer gets it.
#[derive(Clone, Debug)]
struct Logged {
    level: Level,
    spans: Vec<&'static str>,
    fields: BTreeMap<&'static str, String>,
}

impl Logged {
    fn get(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
    }
}

impl Visit for Logged {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

/// Hands every event of ours to a function.
struct Hear<F>(F);

impl<S: Subscriber + for<'a> LookupSpan<'a>, F: Fn(Logged) + 'static> Layer<S> for Hear<F> {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        assert_eq!(event.metadata().target(), "locktrace");
        let spans = context.event_scope(event).into_iter().flatten().map(|span| span.name()).collect();
        let mut logged = Logged { level: *event.metadata().level(), spans, fields: BTreeMap::new() };
        event.record(&mut logged);
        (self.0)(logged);
    }
}

fn hear(filter: &str, call: impl Fn(Logged) + Send + Sync + 'static) {
    let layers = tracing_subscriber::registry().with(EnvFilter::new(filter)).with(Hear(call));
    tracing::subscriber::set_global_default(layers).unwrap();
}

fn hear_all(filter: &str) -> Receiver<Logged> {
    let (sender, receiver): (Sender<Logged>, _) = channel();
    hear(filter, move |logged| sender.send(logged).unwrap());
    receiver
}

fn install(dir: &Path) {
    Builder::new().dir(dir.join("trace")).tracing(true).install().unwrap();
}

fn open(dir: &Path, timeout: u64) -> Connection {
    let db = Connection::open(dir.join("a.db")).unwrap();
    db.busy_timeout(Duration::from_millis(timeout)).unwrap();
    db
}

/// A database in WAL mode with a table, and a connection that keeps it so.
fn wal(dir: &Path) -> Connection {
    let db = open(dir, 0);
    db.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t(x)").unwrap();
    db
}

/// How long the system may keep a thread from running.
const DEADLINE: Duration = Duration::from_secs(60);

/// Repeats this until its warning names a holder. If the system interrupts the thread while it looks for holders, for longer than the lock has been
/// held, the bridge cannot be sure and names nobody.
fn until_named(refused: impl Fn() -> Logged) -> Logged {
    let begun = Instant::now();
    loop {
        let warning = refused();
        if !warning.get("holder").is_empty() {
            return warning;
        }
        assert!(begun.elapsed() < DEADLINE, "nobody is named: {warning:?}");
    }
}

#[test]
fn a_refusal_is_one_warning_in_the_span_it_hit_and_names_who_held_the_lock() {
    let body = |dir: &Path| {
        let logged = hear_all("info,locktrace=debug");
        install(dir);
        let first = wal(dir);
        let (begun, has_begun) = channel();
        let (end, ends) = channel();
        let warning = std::thread::scope(|scope| {
            let holder = std::thread::Builder::new().name("holder".into());
            let hold = move || {
                let db = open(dir, 0);
                db.execute_batch("BEGIN IMMEDIATE").unwrap();
                begun.send(()).unwrap();
                ends.recv().unwrap();
            };
            let holder = holder.spawn_scoped(scope, hold).unwrap();
            has_begun.recv().unwrap();
            let request = info_span!("request").entered();
            let victim = open(dir, 30);
            let warning = until_named(|| {
                assert!(victim.execute("INSERT INTO t VALUES (1)", []).is_err());
                // Several attempts, as the timeout has it, and one warning.
                let logged: Vec<Logged> = logged.try_iter().collect();
                let [warning] = &logged[..] else { panic!("{logged:?}") };
                warning.clone()
            });
            drop(request);
            end.send(()).unwrap();
            holder.join().unwrap();
            warning
        });
        drop(first);
        assert_eq!(logged.try_recv().ok().map(|logged| logged.fields), None);
        assert_eq!((warning.level, &warning.spans[..]), (Level::WARN, &["request"][..]));
        let path = dir.join("a.db");
        let expected = [
            ("message", "X WRITE refused"),
            ("lock", "X WRITE"),
            ("result", "BUSY"),
            ("connection", "3"),
            ("database", path.to_str().unwrap()),
            ("sql", "INSERT INTO t VALUES (1)"),
        ];
        assert_eq!(expected.map(|(field, _)| (field, warning.get(field))), expected);
        let holder = warning.get("holder");
        assert!(holder.starts_with("connection 2 (thread ") && holder.ends_with(", BEGIN IMMEDIATE"), "{holder}");
        assert!(holder.contains(" holder), X WRITE for "), "{holder}");
    };
    alone(body, quiet);
}

#[test]
fn a_wait_that_ends_well_says_how_long_it_was() {
    let body = |dir: &Path| {
        let logged = hear_all("info,locktrace=debug");
        install(dir);
        let holder = wal(dir);
        let warning = until_named(|| {
            holder.execute_batch("BEGIN IMMEDIATE").unwrap();
            let begun = Instant::now();
            let waiter = std::thread::spawn({
                let dir = dir.to_owned();
                move || {
                    let _request = info_span!("request").entered();
                    open(&dir, 60_000).execute("INSERT INTO t VALUES (1)", []).unwrap();
                }
            });
            // The warning shows that it waits. From here on it may have the lock.
            let warning = logged.recv().unwrap();
            assert_eq!((warning.level, warning.get("message")), (Level::WARN, "X WRITE refused"));
            holder.execute_batch("COMMIT").unwrap();
            waiter.join().unwrap();
            let took = begun.elapsed();
            let wait = logged.recv().unwrap();
            assert_eq!((wait.level, &wait.spans[..]), (Level::DEBUG, &["request"][..]));
            assert!(wait.get("message").starts_with("waited ") && wait.get("message").ends_with(" for X WRITE"), "{wait:?}");
            let waited = Duration::from_nanos(wait.get("waited_ns").parse().unwrap());
            assert!(waited > Duration::from_micros(100) && waited < took, "{waited:?} of {took:?}");
            assert!(wait.get("refusals").parse::<u32>().unwrap() >= 1);
            assert_eq!((wait.get("lock"), wait.get("sql")), ("X WRITE", "INSERT INTO t VALUES (1)"));
            assert_eq!(logged.try_recv().ok().map(|logged| logged.fields), None);
            warning
        });
        assert!(warning.get("holder").starts_with("connection 1 "), "{warning:?}");
    };
    alone(body, quiet);
}

#[test]
fn a_refusal_by_which_no_statement_fails_is_no_warning() {
    let body = |dir: &Path| {
        let logged = hear_all("info,locktrace=trace");
        install(dir);
        let (first, reader) = (wal(dir), open(dir, 0));
        reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
        reader.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
        // A checkpoint that cannot pass the reader, and a close that is not the last one.
        first.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        first.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(0)).unwrap();
        drop(open(dir, 0));
        first.execute_batch("SELECT 1; INSERT INTO t VALUES (2)").unwrap();
        drop(first);
        let logged: Vec<Logged> = logged.try_iter().collect();
        let refused: Vec<&str> = logged.iter().map(|logged| logged.get("message")).filter(|call| call.contains("BUSY")).collect();
        assert!(refused.contains(&"xLock EXCLUSIVE = BUSY"), "{refused:?}");
        assert!(refused.iter().any(|call| call.starts_with("xShmLock X READ")), "{refused:?}");
        let loud: Vec<&Logged> = logged.iter().filter(|logged| logged.level < Level::TRACE).collect();
        assert!(loud.is_empty(), "{loud:?}");
    };
    alone(body, quiet);
}

#[test]
fn an_exclusive_lock_that_a_statement_needs_is_a_warning_in_its_span() {
    let body = |dir: &Path| {
        let logged = hear_all("info,locktrace=debug");
        install(dir);
        let (first, second) = (wal(dir), open(dir, 0));
        second.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
        let span = info_span!("switch").entered();
        assert!(first.query_row("PRAGMA journal_mode = delete", [], |row| row.get::<_, String>(0)).is_err());
        drop(span);
        let logged: Vec<Logged> = logged.try_iter().collect();
        let [warning] = &logged[..] else { panic!("{logged:?}") };
        assert_eq!((warning.get("message"), &warning.spans[..]), ("EXCLUSIVE refused", &["switch"][..]));
        drop(second);
    };
    alone(body, quiet);
}

#[test]
fn every_lock_is_there_at_trace_and_none_when_nobody_wants_it() {
    let body = |dir: &Path| {
        let logged = hear_all("info,locktrace=trace");
        install(dir);
        let db = wal(dir);
        let select = || db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
        select();
        logged.try_iter().for_each(drop);
        select();
        let logged: Vec<Logged> = logged.try_iter().collect();
        let calls: Vec<&str> = logged.iter().map(|logged| logged.get("message")).collect();
        assert_eq!(calls, ["xShmLock S READ1", "xShmLock U READ1"]);
        assert_eq!((logged[0].get("sql"), logged[0].get("connection")), ("SELECT count(*) FROM t", "1"));
        assert!(logged[0].fields.contains_key("duration_ns") && !logged[1].fields.contains_key("duration_ns"));
    };
    alone(body, quiet);
}

#[test]
fn a_layer_that_writes_to_a_traced_database_and_panics_disturbs_nobody() {
    let body = |dir: &Path| {
        let database: Arc<Mutex<Option<Connection>>> = Arc::default();
        std::panic::set_hook(Box::new(|_| {}));
        hear("info,locktrace=trace", {
            let database = Arc::clone(&database);
            move |logged| {
                let guard = database.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if let Some(db) = guard.as_ref() {
                    // By the default VFS, traced: its own locks must not come here again, this is locked.
                    db.execute("INSERT INTO log VALUES (?1)", [logged.get("message")]).unwrap();
                    drop(guard);
                    panic!("on purpose");
                }
            }
        });
        install(dir);
        let db = wal(dir);
        let log = Connection::open(dir.join("log.db")).unwrap();
        log.execute_batch("CREATE TABLE log(message); PRAGMA synchronous = off").unwrap();
        *database.lock().unwrap() = Some(log);
        std::thread::scope(|scope| {
            for i in 0..8 {
                scope.spawn(move || {
                    let db = open(dir, 60_000);
                    for _ in 0..5 {
                        db.execute("INSERT INTO t VALUES (?1)", [i]).unwrap();
                    }
                });
            }
        });
        let log = database.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take().unwrap();
        let count = |db: &Connection, sql| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(count(&db, "SELECT count(*) FROM t"), 40);
        assert!(count(&log, "SELECT count(*) FROM log WHERE message = 'xShmLock X WRITE'") >= 40);
        // The log is a rollback database: if its own locks were logged, RESERVED would be among them.
        assert_eq!(count(&log, "SELECT count(*) FROM log WHERE message LIKE '%RESERVED%'"), 0);
    };
    alone(body, quiet);
}

#[test]
fn a_forked_child_logs_nothing_until_it_installs_itself() {
    let body = |dir: &Path| {
        let logged = hear_all("info,locktrace=trace");
        install(dir);
        drop(wal(dir));
        assert!(logged.try_iter().count() > 0);
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            drop(open(dir, 0));
            let read = || open(dir, 0).query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)) == Ok(0);
            let quiet = read() && logged.try_iter().count() == 0;
            install(dir);
            let loud = read() && logged.try_iter().count() > 0;
            unsafe { libc::_exit(i32::from(!(quiet && loud))) };
        }
        let mut status = 0;
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0);
    };
    alone(body, quiet);
}

#[test]
fn one_who_took_the_lock_after_the_refusal_is_not_accused() {
    let body = |dir: &Path| {
        let warnings: Arc<Mutex<Vec<Logged>>> = Arc::default();
        let others: Arc<Mutex<Option<(Connection, Connection)>>> = Arc::default();
        hear("info,locktrace=trace", {
            let (warnings, others) = (Arc::clone(&warnings), Arc::clone(&others));
            move |logged| {
                // Between the refusal and the warning the lock changes hands.
                if logged.get("message") == "xShmLock X WRITE = BUSY"
                    && let Some((holder, next)) = others.lock().unwrap().as_ref()
                {
                    holder.execute_batch("COMMIT").unwrap();
                    next.execute_batch("BEGIN IMMEDIATE").unwrap();
                }
                if logged.level == Level::WARN {
                    warnings.lock().unwrap().push(logged);
                }
            }
        });
        install(dir);
        let (holder, next, victim) = (wal(dir), open(dir, 0), open(dir, 0));
        holder.execute_batch("BEGIN IMMEDIATE").unwrap();
        *others.lock().unwrap() = Some((holder, next));
        victim.execute("INSERT INTO t VALUES (1)", []).unwrap_err();
        let warnings = warnings.lock().unwrap().clone();
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        assert_eq!((warning.get("message"), warning.get("holder")), ("X WRITE refused", ""));
        drop(others.lock().unwrap().take());
    };
    alone(body, quiet);
}
