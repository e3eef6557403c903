//! `PRAGMA locktrace`, `locktrace_dir` and `locktrace_sql`: their answers, what they change, and other pragmas, which go to the base VFS. On the
//! linked SQLite, through the extension's own entry point.
#![allow(missing_docs)]
#![allow(clippy::undocumented_unsafe_blocks)] // tests of a C interface

use crate::common::probe::{self, Opened};
use crate::common::sql::{ask, load, one, open};
use crate::common::{self, alone, own_trace, quiet};
use locktrace::event::Kind;
use locktrace::recorder::config::Config;
use rusqlite::ffi;
use std::ffi::{CStr, CString};
use std::path::Path;

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
        // What is held now is shown all the same, but for the statement.
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
    alone(body, quiet);
}

/// As a program that was started so that statements may name another directory. Before anything is configured.
fn allow_directories() {
    unsafe { std::env::set_var("LOCKTRACE_PRAGMA_DIR", "1") };
}

#[test]
fn a_statement_makes_no_directory_unless_the_host_allowed_it() {
    let body = |dir: &Path| {
        let loader = load(dir);
        let connection = open(&dir.join("a.db"));
        connection.execute_batch("CREATE TABLE t(v)").unwrap();
        let error =
            connection.execute_batch(&format!("PRAGMA locktrace_dir='{}'", dir.join("b").display())).unwrap_err().to_string();
        assert!(error.contains("LOCKTRACE_PRAGMA_DIR=1") && !dir.join("b").exists(), "{error}");
        let trace = dir.join("trace").display().to_string();
        assert_eq!(one(&connection, "PRAGMA locktrace_dir"), trace);
        assert_eq!(one(&loader, "SELECT recording, directory FROM locktrace_status"), format!("on|{trace}"));
    };
    alone(body, quiet);
}

#[test]
fn another_directory_and_another_policy_are_another_log() {
    let body = |dir: &Path| {
        allow_directories();
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
    alone(body, quiet);
}

#[test]
fn what_is_not_understood_is_said_and_changes_nothing() {
    let body = |dir: &Path| {
        allow_directories();
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
    alone(body, quiet);
}

#[test]
fn a_pragma_that_is_not_ours_goes_to_the_base_as_it_is() {
    let body = |dir: &Path| {
        locktrace::recorder::configure(Config { dir: dir.join("trace"), ..Config::default() }).unwrap();
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
    alone(body, quiet);
}
