//! What SQL sees of us: the tables that the extension registers, and `PRAGMA locktrace`. On the linked SQLite, through the extension's own
//! entry point; `tests/sql_surface.rs` of the workspace does it on the system's, from outside.
#![allow(missing_docs)]
#![allow(clippy::undocumented_unsafe_blocks)] // tests of a C interface

mod common;

use common::probe::{self, Opened};
use common::{alone, own_trace, quiet};
use locktrace::event::Kind;
use locktrace::recorder::config::Config;
use rusqlite::types::Value;
use rusqlite::{Connection, ffi};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::time::Duration;

static ROUTINES: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

unsafe extern "C" fn entry(_: *mut ffi::sqlite3, _: *mut *mut c_char, routines: *const ffi::sqlite3_api_routines) -> c_int {
    ROUTINES.store(routines.cast_mut().cast(), Ordering::Relaxed);
    ffi::SQLITE_OK
}

/// A connection on `:memory:` that has loaded the extension, recording into `dir`; by hand, since this SQLite is not built to load it.
fn load(dir: &Path) -> Connection {
    locktrace::recorder::configure(Config { dir: dir.join("trace"), ..Config::default() });
    assert_eq!(unsafe { ffi::sqlite3_auto_extension(Some(entry)) }, ffi::SQLITE_OK);
    let loader = Connection::open_in_memory().unwrap();
    let mut error: *mut c_char = std::ptr::null_mut();
    let routines = ROUTINES.load(Ordering::Relaxed);
    let rc = unsafe { locktrace::extension::sqlite3_locktrace_init(loader.handle().cast(), &mut error, routines) };
    assert!(rc == ffi::SQLITE_OK_LOAD_PERMANENTLY && error.is_null());
    loader
}

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::ZERO).unwrap();
    connection
}

/// Every row of a query, a line each.
fn ask(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let mut all = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let cell = |i| match row.get_unwrap::<_, Value>(i) {
            Value::Null => "-".to_owned(),
            Value::Integer(value) => value.to_string(),
            Value::Real(value) => value.to_string(),
            Value::Text(value) => value,
            Value::Blob(_) => unreachable!(),
        };
        all.push((0..columns).map(cell).collect::<Vec<_>>().join("|"));
    }
    all
}

fn one(connection: &Connection, sql: &str) -> String {
    let mut rows = ask(connection, sql);
    assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
    rows.remove(0)
}

#[test]
fn who_holds_what_now() {
    let body = |dir: &Path| {
        let loader = load(dir);
        assert_eq!(ask(&loader, "SELECT * FROM locktrace_locks"), [""; 0]);
        let db = dir.join("a.db");
        let (writer, other) = (open(&db), open(&db));
        writer.execute_batch("CREATE TABLE t(v); BEGIN IMMEDIATE").unwrap();
        other.execute_batch("INSERT INTO t VALUES (1)").unwrap_err();
        let what = "connection, lock, slots, trim(sql), refused, refused_sql, flags";
        assert_eq!(
            ask(&loader, &format!("SELECT {what} FROM locktrace_locks ORDER BY 1")),
            ["1|RESERVED|-|BEGIN IMMEDIATE|-|-|-", "2|NONE|-|-|RESERVED|INSERT INTO t VALUES (1)|-"]
        );
        let me = (std::process::id(), unsafe { libc::gettid() });
        let who =
            "SELECT database, pid, thread_id, held BETWEEN 0 AND 60, reading >= held, since LIKE '20__-__-__ __:__:__.______',
                   abs(julianday('now') - julianday(since)) * 86400 < 60, handle, vfs, sqlite, length(sql_hash), thread NOT NULL
                   FROM locktrace_locks WHERE connection = 1";
        let handle = unsafe { writer.handle() } as usize;
        let expected = format!("{}|{}|{}|1|1|1|1|{handle}|locktrace|{}|16|1", db.display(), me.0, me.1, rusqlite::version());
        assert_eq!(one(&loader, who), expected);
        writer.execute_batch("COMMIT; PRAGMA journal_mode=WAL; BEGIN IMMEDIATE").unwrap();
        other.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        assert_eq!(
            ask(&loader, "SELECT connection, lock, slots, trim(sql) FROM locktrace_locks ORDER BY 1"),
            // Both read the WAL that has just been made, from its beginning on.
            ["1|SHARED|S READ0, X WRITE|BEGIN IMMEDIATE", "2|SHARED|S READ0|SELECT * FROM t"]
        );
        // Every way to ask is the same table: twice in one query, on a later connection, under another name.
        let all = "SELECT a.connection, b.slots FROM locktrace_locks a JOIN locktrace_locks b USING (connection)";
        assert_eq!(ask(&loader, all), ["1|S READ0, X WRITE", "2|S READ0"]);
        let late = Connection::open_in_memory().unwrap();
        late.execute_batch("CREATE VIRTUAL TABLE temp.held USING locktrace_locks").unwrap();
        assert_eq!(one(&late, "SELECT count(*) FROM temp.held WHERE slots LIKE '%WRITE'"), "1");
        late.execute_batch("DROP TABLE temp.held").unwrap();
        assert!(late.execute("DELETE FROM locktrace_locks", []).is_err(), "read-only");
        drop((writer, other));
        assert_eq!(ask(&loader, "SELECT * FROM locktrace_locks"), [""; 0]);
    };
    alone("who_holds_what_now", body, quiet);
}

#[test]
fn what_happened_last() {
    let body = |dir: &Path| {
        let loader = load(dir);
        assert_eq!(ask(&loader, "SELECT * FROM locktrace_events"), [""; 0]);
        let db = dir.join("a.db");
        let (first, second) = (open(&db), open(&db));
        first.execute_batch("CREATE TABLE t(v); BEGIN IMMEDIATE").unwrap();
        second.execute_batch("INSERT INTO t VALUES (1)").unwrap_err();
        let last = "SELECT connection, call, lock, result, after, sql FROM locktrace_events ORDER BY number DESC LIMIT 3";
        assert_eq!(
            ask(&loader, last),
            [
                "2|xUnlock|NONE|OK|NONE|-",
                "2|xLock|RESERVED|BUSY|SHARED|INSERT INTO t VALUES (1)",
                "2|xLock|SHARED|OK|SHARED|INSERT INTO t VALUES (1)"
            ]
        );
        let sound = format!(
            "SELECT count(*), count(DISTINCT number), min(number), sum(database = '{}'), sum(duration < 0 OR duration > 60),
                    sum(abs(julianday('now') - julianday(time)) * 86400 > 60) FROM locktrace_events",
            db.display()
        );
        let trace = own_trace(&dir.join("trace"), std::process::id());
        let n = trace.records.len();
        assert_eq!(one(&loader, &sound), format!("{n}|{n}|0|{n}|0|0"));
        first.execute_batch("COMMIT; PRAGMA synchronous=OFF; PRAGMA journal_mode=WAL; INSERT INTO t VALUES (2)").unwrap();
        let wal = "SELECT lock, duration IS NULL FROM locktrace_events WHERE call = 'xShmLock' AND connection = 1
                   ORDER BY number DESC LIMIT 2";
        assert_eq!(ask(&loader, wal), ["U READ1|1", "U WRITE|1"]);
        // The ring wraps: the newest are there, each once.
        let (mut head, mut capacity) = (0, 0);
        for i in 0..20_000 {
            first.execute("UPDATE t SET v = ?1", [i]).unwrap();
            if i % 1000 == 0 {
                let header = own_trace(&dir.join("trace"), std::process::id()).header;
                (head, capacity) = (header.head, header.capacity);
                if head > capacity {
                    break;
                }
            }
        }
        assert!(head > capacity, "{head}");
        let what = "SELECT count(*), min(number), max(number) FROM locktrace_events";
        assert_eq!(one(&loader, what), format!("{capacity}|{}|{}", head - capacity, head - 1));
        // Without its file there is an error that says so, and nothing else.
        std::fs::remove_dir_all(dir.join("trace")).unwrap();
        let error = loader.query_row("SELECT * FROM locktrace_events", [], |_| Ok(())).unwrap_err().to_string();
        assert!(error.starts_with("locktrace_events: "), "{error}");
        assert_eq!(one(&loader, "SELECT count(*) FROM locktrace_locks"), "2");
    };
    alone("what_happened_last", body, quiet);
}

#[test]
fn the_state_of_the_recorder() {
    let body = |dir: &Path| {
        let loader = load(dir);
        let what =
            "SELECT recording, directory, records, lost, names_lost, record_limit, sql, open_files, pid FROM locktrace_status";
        let (trace, pid) = (dir.join("trace"), std::process::id());
        let fixed =
            |state: &str, records: u64, open: u32| format!("{state}|{}|{records}|0|0|4194304|text|{open}|{pid}", trace.display());
        assert_eq!(one(&loader, what), fixed("waiting", 0, 0));
        assert_eq!(one(&loader, "SELECT log, version FROM locktrace_status"), format!("-|{}", env!("CARGO_PKG_VERSION")));
        let connection = open(&dir.join("a.db"));
        let head = own_trace(&trace, pid).header.head;
        assert_eq!(one(&loader, what), fixed("on", head, 1));
        let log = one(&loader, "SELECT log FROM locktrace_status");
        assert!(Path::new(&log).is_file() && log.ends_with(".ring"), "{log}");
        let line = format!("recording on, {head} records, 0 lost, SQL text, limit 4194304 bytes, {}", trace.display());
        assert_eq!(one(&connection, "PRAGMA locktrace"), line);
        assert_eq!(one(&connection, "PRAGMA main.LockTrace_SQL"), "text");
    };
    alone("the_state_of_the_recorder", body, quiet);
}

#[test]
fn recording_stops_and_goes_on() {
    let body = |dir: &Path| {
        let loader = load(dir);
        let (db, trace, pid) = (dir.join("a.db"), dir.join("trace"), std::process::id());
        let connection = open(&db);
        connection.execute_batch("CREATE TABLE t(v); BEGIN IMMEDIATE").unwrap();
        assert!(one(&connection, "PRAGMA locktrace=off").starts_with("recording off, "));
        assert!(one(&connection, "PRAGMA locktrace=OFF").starts_with("recording off, "));
        let before = own_trace(&trace, pid).header;
        connection.execute_batch("COMMIT").unwrap();
        let meanwhile = open(&db);
        meanwhile.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert_eq!(own_trace(&trace, pid).header.head, before.head, "nothing is recorded");
        assert_eq!(one(&loader, "SELECT recording, lost FROM locktrace_status"), "off|0");
        // What is held now is told all the same, but for the statement.
        let held = "SELECT connection, lock, sql, held < 60 FROM locktrace_locks WHERE lock <> 'NONE'";
        assert_eq!(ask(&loader, held), ["2|RESERVED|-|1"]);
        // What was recorded can still be asked for.
        assert_eq!(one(&loader, "SELECT count(*) FROM locktrace_events"), before.head.to_string());
        // A child of a fork stays off.
        match unsafe { libc::fork() } {
            0 => {
                let own = open(&dir.join("b.db"));
                own.execute_batch("CREATE TABLE t(v)").unwrap();
                let off =
                    one(&own, "PRAGMA locktrace").starts_with("recording off, 0 records") && common::traces(&trace).len() == 1;
                let on = one(&own, "PRAGMA locktrace=on").starts_with("recording waiting, ");
                own.execute_batch("INSERT INTO t VALUES (1)").unwrap();
                let two = common::traces(&trace).len() == 2;
                unsafe { libc::_exit(i32::from(!(off && on && two))) };
            }
            child => {
                let mut status = -1;
                assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
                assert_eq!(status, 0);
            }
        }
        assert!(one(&connection, "PRAGMA locktrace=on").starts_with("recording on, "));
        meanwhile.execute_batch("COMMIT").unwrap();
        let after = own_trace(&trace, pid);
        assert!(after.header.head > before.head + 2, "it goes on in the same log");
        // Two records are missing, so that no reader takes for certain what was held before.
        assert_eq!((after.unreadable, after.header.lost_space), (2, before.lost_space + 2));
        let named: Vec<&String> = after.names.iter().filter(|line| line.contains(r#""t":"recording""#)).collect();
        assert!(named.len() == 2 && named[0].contains(r#""on":false"#) && named[1].contains(r#""on":true"#), "{named:?}");
        // And the one that was opened meanwhile is known to it.
        let file = after.file("/a.db");
        assert!(
            after
                .records
                .iter()
                .filter(|record| record.conn == 2)
                .all(|record| record.file == file && record.sql != 0 || record.kind != Kind::LOCK)
        );
        assert!(after.records.iter().any(|record| record.conn == 2));
    };
    alone("recording_stops_and_goes_on", body, quiet);
}

#[test]
fn another_directory_and_another_policy_are_another_log() {
    let body = |dir: &Path| {
        let loader = load(dir);
        let (db, first, second) = (dir.join("a.db"), dir.join("trace"), dir.join("deep/er"));
        let connection = open(&db);
        connection.execute_batch("CREATE TABLE t(v); INSERT INTO t VALUES ('secret-1')").unwrap();
        let holder = open(&db);
        holder.execute_batch("BEGIN IMMEDIATE").unwrap();
        let set = format!("PRAGMA locktrace_dir='{}'", second.display());
        assert_eq!(one(&connection, &set), second.display().to_string());
        assert_eq!(one(&connection, &set), second.display().to_string());
        // A statement from the log of before is still known.
        assert_eq!(one(&loader, "SELECT trim(sql) FROM locktrace_locks WHERE lock = 'RESERVED'"), "BEGIN IMMEDIATE");
        holder.execute_batch("COMMIT").unwrap();
        let before = common::trace(&first);
        connection.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        assert_eq!(common::trace(&first).header.head, before.header.head);
        assert!(before.names.last().unwrap().contains(r#""t":"recording","on":false"#));
        let after = common::trace(&second);
        assert!(after.records.iter().any(|record| record.conn == 1 && record.file == after.file("/a.db")));
        assert!(common::grep(&second, b"INSERT INTO t VALUES (2)").len() == 1);
        assert_eq!(one(&connection, "PRAGMA locktrace_sql=hash"), "hash");
        connection.execute_batch("INSERT INTO t VALUES ('secret-3')").unwrap();
        let all = common::traces(&second);
        assert_eq!(all.len(), 2);
        assert!(all.iter().any(|log| log.names[0].contains(r#""policy":"hash""#)));
        assert_eq!(common::grep(&second, b"secret-3"), [""; 0].map(std::path::PathBuf::from));
        let last = "SELECT sql, length(sql_hash) FROM locktrace_events WHERE lock = 'RESERVED' ORDER BY number DESC LIMIT 1";
        assert_eq!(one(&loader, last), "-|16");
        assert_eq!(one(&connection, "PRAGMA locktrace_sql='OFF'"), "off");
        connection.execute_batch("INSERT INTO t VALUES (4)").unwrap();
        assert_eq!(one(&loader, last), "-|-");
    };
    alone("another_directory_and_another_policy_are_another_log", body, quiet);
}

#[test]
fn what_is_not_understood_is_said_and_changes_nothing() {
    let body = |dir: &Path| {
        let loader = load(dir);
        let connection = open(&dir.join("a.db"));
        connection.execute_batch("CREATE TABLE t(v)").unwrap();
        std::fs::write(dir.join("file"), "").unwrap();
        let file = dir.join("file/x");
        for (pragma, says) in [
            ("locktrace='maybe'", r#"locktrace = "maybe"; expected on or off"#.to_owned()),
            ("locktrace_sql=everything", r#"locktrace_sql = "everything"; expected text, hash or off"#.to_owned()),
            ("locktrace_dir=''", "locktrace_dir is empty; expected a directory".to_owned()),
            (&format!("locktrace_dir='{}'", file.display()), format!("{}: Not a directory", file.display())),
        ] {
            let error = connection.execute_batch(&format!("PRAGMA {pragma}")).unwrap_err();
            assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::Unknown), "SQLITE_ERROR");
            assert!(error.to_string().starts_with(&says), "{error}");
        }
        let what = "SELECT recording, directory, sql FROM locktrace_status";
        assert_eq!(one(&loader, what), format!("on|{}|text", dir.join("trace").display()));
        let before = own_trace(&dir.join("trace"), std::process::id()).header.head;
        connection.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        assert!(own_trace(&dir.join("trace"), std::process::id()).header.head > before);
        // A process may not fill the disk with logs: after many changes there are no more, and recording goes on.
        let mut refused = None;
        for i in 0..200 {
            let set = format!("PRAGMA locktrace_dir='{}'", dir.join(format!("many/{i}")).display());
            refused = connection.execute_batch(&set).err();
            if refused.is_some() {
                break;
            }
        }
        assert!(refused.unwrap().to_string().contains("64 times"));
        connection.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        assert_eq!(one(&loader, "SELECT recording, lost FROM locktrace_status"), "on|0");
    };
    alone("what_is_not_understood_is_said_and_changes_nothing", body, quiet);
}

#[test]
fn a_pragma_that_is_not_ours_goes_to_the_base_as_it_is() {
    let body = |dir: &Path| {
        locktrace::recorder::configure(Config { dir: dir.join("trace"), ..Config::default() });
        let (_, shim) = probe::shim_over("pragma", 3);
        probe::on_open(ffi::SQLITE_OK, probe::methods(3, |_| {}));
        let mut opened = Opened::new(shim, "/no/such/pragma.db");
        let (file, control) = (opened.file(), opened.methods().xFileControl.unwrap());
        probe::calls();
        let ask = |name: &CStr, value: Option<&CStr>| {
            let value = value.map_or(std::ptr::null(), CStr::as_ptr);
            let mut strings = [std::ptr::null_mut(), name.as_ptr().cast_mut(), value.cast_mut(), std::ptr::null_mut()];
            let rc = unsafe { control(file, ffi::SQLITE_FCNTL_PRAGMA, strings.as_mut_ptr().cast()) };
            let answer = (!strings[0].is_null()).then(|| unsafe { CStr::from_ptr(strings[0]) }.to_str().unwrap().to_owned());
            unsafe { common::sqlite3_free(strings[0]) };
            (rc, answer, probe::calls().len())
        };
        for rc in [ffi::SQLITE_NOTFOUND, ffi::SQLITE_OK, ffi::SQLITE_ERROR] {
            probe::answer(rc, 0);
            for name in [c"journal_mode", c"", c"lock", c"locktracer", c"locktrace_", c"xlocktrace"] {
                assert_eq!(ask(name, Some(c"off")), (rc, None, 1), "{name:?}");
            }
        }
        let (rc, answer, calls) = ask(c"LOCKTRACE", None);
        assert_eq!((rc, calls), (ffi::SQLITE_OK, 0));
        assert!(answer.unwrap().starts_with("recording on"));
        // A value is never a format.
        let percent = CString::new("%s%n%z").unwrap();
        let (rc, answer, calls) = ask(c"locktrace", Some(&percent));
        assert_eq!((rc, calls, answer.as_deref()), (ffi::SQLITE_ERROR, 0, Some(r#"locktrace = "%s%n%z"; expected on or off"#)));
        probe::answer(ffi::SQLITE_OK, 0);
        assert_eq!(opened.close(), ffi::SQLITE_OK);
    };
    alone("a_pragma_that_is_not_ours_goes_to_the_base_as_it_is", body, quiet);
}

#[test]
fn asking_never_waits_for_what_it_shows() {
    let body = |dir: &Path| {
        let loader = load(dir);
        // If anything hangs, this ends the process, and with it the test.
        unsafe { libc::alarm(300) };
        let db = dir.join("a.db");
        let holder = open(&db);
        holder.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(v)").unwrap();
        let locked = dir.join("locked.db");
        let exclusive = open(&locked);
        exclusive.execute_batch("CREATE TABLE t(v); BEGIN EXCLUSIVE").unwrap();
        let (asked, named, done) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (db, asked, done) = (&db, &asked, &done);
                scope.spawn(move || {
                    let connection = open(db);
                    connection.busy_timeout(Duration::from_secs(250)).unwrap();
                    connection.execute_batch("PRAGMA synchronous=OFF").unwrap();
                    let mut written = 0;
                    // Until everybody has asked often enough, and at least so much.
                    while written < 20 || !done.load(Ordering::Relaxed) {
                        connection.execute_batch(&format!("INSERT INTO t VALUES ({number})")).unwrap();
                        written += 1;
                    }
                    assert!(asked.load(Ordering::Relaxed) > 0);
                });
            }
            let askers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let mine = Connection::open_in_memory().unwrap();
                        for _ in 0..25 {
                            let rows =
                                ask(&mine, "SELECT sql FROM locktrace_locks WHERE slots LIKE '%X WRITE%' AND sql LIKE 'INSERT%'");
                            named.fetch_add(rows.len() as u32, Ordering::Relaxed);
                            let held = "SELECT lock FROM locktrace_locks WHERE database LIKE '%locked.db'";
                            assert_eq!(one(&mine, held), "EXCLUSIVE");
                            one(&mine, "SELECT recording FROM locktrace_status");
                            asked.fetch_add(1, Ordering::Relaxed);
                        }
                        assert_ne!(ask(&mine, "SELECT * FROM locktrace_events LIMIT 10"), [""; 0]);
                    })
                })
                .collect();
            askers.into_iter().for_each(|asker| asker.join().unwrap());
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(asked.into_inner(), 200);
        assert!(named.into_inner() > 0, "a writer was seen at work");
        // It took no lock of theirs: nothing of the askers is among the records.
        assert_eq!(one(&loader, "SELECT count(*) FROM locktrace_events WHERE sql LIKE '%locktrace_locks%'"), "0");
        assert_eq!(one(&exclusive, "PRAGMA integrity_check"), "ok");
        // A pragma needs no lock either, even where no statement could be prepared.
        let refused = open(&locked);
        assert!(refused.prepare("SELECT * FROM locktrace_locks").is_err(), "SQLite reads the schema first");
        assert!(one(&refused, "PRAGMA locktrace").starts_with("recording on"));
    };
    alone("asking_never_waits_for_what_it_shows", body, quiet);
}
