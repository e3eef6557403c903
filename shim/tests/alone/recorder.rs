//! The recorder's side effects: what it leaves behind, and that none of its failures reaches the application.
#![allow(missing_docs)]
#![allow(clippy::undocumented_unsafe_blocks)] // tests of a C interface

use crate::common::{alone, alone_with, grep, one_note, quiet, record_into, record_with, selects, trace, work, works_untouched};
use locktrace::event::{Flags, Kind};
use locktrace::recorder::config::SqlPolicy;
use rusqlite::Connection;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

#[test]
fn a_directory_that_cannot_be_made_costs_one_line() {
    let body = |dir: &Path| {
        std::fs::write(dir.join("file"), "").unwrap();
        record_into(&dir.join("file/trace"));
        works_untouched(&dir.join("a.db"));
        works_untouched(&dir.join("b.db"));
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|i| scope.spawn(move || works_untouched(&dir.join(format!("{i}.db"))))).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    };
    alone(body, |dir, output| {
        let line = one_note(dir, output);
        assert!(line.contains("not-recording") && line.contains(&format!("{}/file/trace", dir.display())), "{line}");
        assert!(line.contains("Not a directory") && line.contains("LOCKTRACE_DIR"), "{line}");
    });
}

fn link_refused(named: &str) {
    let body = |dir: &Path| {
        std::fs::create_dir(dir.join("target")).unwrap();
        symlink(dir.join("target"), dir.join("link")).unwrap();
        record_into(&PathBuf::from(format!("{}/{named}", dir.display())));
        works_untouched(&dir.join("a.db"));
        assert_eq!(std::fs::read_dir(dir.join("target")).unwrap().count(), 0, "nothing was written through the link");
    };
    alone(body, |dir, output| assert!(one_note(dir, output).contains("it is a link")));
}

#[test]
fn a_link_is_no_trace_directory() {
    link_refused("link");
}

#[test]
fn a_link_with_a_slash_is_no_trace_directory() {
    link_refused("link/");
}

#[test]
fn a_link_with_a_dot_is_no_trace_directory() {
    link_refused("link/.");
}

#[test]
fn traces_are_private() {
    let body = |dir: &Path| {
        unsafe { libc::umask(0) };
        record_into(&dir.join("new/trace"));
        works_untouched(&dir.join("a.db"));
        let mode = |path: &Path| std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&dir.join("new")), mode(&dir.join("new/trace"))), (0o700, 0o700));
        let mut extensions = Vec::new();
        for entry in std::fs::read_dir(dir.join("new/trace")).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{path:?}");
            extensions.push(path.extension().unwrap().to_str().unwrap().to_owned());
        }
        extensions.sort();
        assert_eq!(extensions, ["names", "ring"]);
    };
    alone(body, quiet);
}

#[test]
fn a_process_that_opens_no_database_leaves_nothing() {
    let body = |dir: &Path| {
        record_into(&dir.join("trace"));
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t(v); INSERT INTO t VALUES (1); CREATE TEMP TABLE u(v)").unwrap();
        unsafe { rusqlite::ffi::sqlite3_sleep(1) };
        assert!(!dir.join("trace").exists());
    };
    alone(body, quiet);
}

/// What every open descriptor leads to.
fn descriptors() -> Vec<PathBuf> {
    let links = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| std::fs::read_link(entry.unwrap().path()));
    // The directory listing's own descriptor is gone again by the time it is read.
    let mut targets: Vec<PathBuf> = links.filter_map(Result::ok).filter(|path| !path.starts_with("/proc")).collect();
    targets.sort();
    targets
}

#[test]
fn no_descriptor_of_ours_stays_open() {
    let body = |dir: &Path| {
        // Four chunks: each is given its disk space through a descriptor.
        record_with(&dir.join("trace"), 1 << 20, SqlPolicy::Text);
        let before = descriptors();
        let connection = Connection::open(dir.join("a.db")).unwrap();
        connection.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(v); INSERT INTO t VALUES (1)").unwrap();
        // Several chunks, a thread and a second database: all that the recorder opens files for.
        selects(&connection, 5000);
        std::thread::scope(|scope| scope.spawn(|| works_untouched(&dir.join("b.db"))).join().unwrap());
        let mut expected = before.clone();
        expected.extend(["a.db", "a.db-shm", "a.db-wal"].map(|name| dir.join(name)));
        expected.sort();
        assert_eq!(descriptors(), expected);
        drop(connection);
        assert_eq!(descriptors(), before);
        assert!(trace(&dir.join("trace")).header.head > 10_000);
    };
    alone(body, quiet);
}

/// This process's POSIX locks on a file, as the kernel knows them.
fn kernel_locks(file: &Path) -> Vec<String> {
    let (pid, inode) = (std::process::id().to_string(), std::fs::metadata(file).unwrap().ino().to_string());
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    let fields = |line: &str| line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>();
    let mut mine: Vec<String> = locks
        .lines()
        .map(fields)
        .filter(|fields| fields.get(3) == Some(&pid) && fields.get(4).is_some_and(|id| id.ends_with(&format!(":{inode}"))))
        .map(|fields| fields.join(" "))
        .collect();
    mine.sort();
    mine
}

/// The same, as soon as they are what they should be. One reading of `/proc/locks` may miss a lock while other processes take and
/// drop theirs (the kernel makes the list in pieces); a lock that is really gone is missing from every one.
fn kernel_locks_settle(file: &Path, good: impl Fn(&[String]) -> bool) -> Vec<String> {
    let mut seen = kernel_locks(file);
    for _ in 0..1000 {
        if good(&seen) {
            break;
        }
        seen = kernel_locks(file);
    }
    seen
}

#[test]
fn the_databases_locks_survive_our_work() {
    let body = |dir: &Path| {
        record_with(&dir.join("trace"), 1 << 20, SqlPolicy::Text);
        let (a, b) = (dir.join("a.db"), dir.join("b.db"));
        works_untouched(&a);
        works_untouched(&b);
        let holder = Connection::open(&a).unwrap();
        holder.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (2)").unwrap();
        // SHARED is a range, RESERVED a byte.
        let held = kernel_locks_settle(&a, |locks| locks.len() == 2);
        assert_eq!(held.len(), 2, "{held:?}");
        // Names, threads, chunks, another file, a delete: everything the recorder touches files for.
        let other = Connection::open(&b).unwrap();
        selects(&other, 5000);
        std::thread::scope(|scope| scope.spawn(|| work(&b).unwrap()).join().unwrap());
        drop(other);
        let refused = Connection::open(&a).unwrap();
        refused.busy_timeout(std::time::Duration::ZERO).unwrap();
        refused.execute_batch("BEGIN IMMEDIATE").unwrap_err();
        drop(refused);
        assert_eq!(kernel_locks_settle(&a, |locks| locks == held), held);
        holder.execute_batch("COMMIT").unwrap();
        assert!(kernel_locks(&a).is_empty());
    };
    alone(body, quiet);
}

#[test]
fn a_deleted_trace_directory_costs_nothing() {
    let body = |dir: &Path| {
        record_with(&dir.join("trace"), 1 << 20, SqlPolicy::Text);
        works_untouched(&dir.join("a.db"));
        let connection = Connection::open(dir.join("a.db")).unwrap();
        selects(&connection, 10);
        std::fs::remove_dir_all(dir.join("trace")).unwrap();
        // Past the first chunk, around the ring, new names, new threads, new databases.
        selects(&connection, 20_000);
        std::thread::scope(|scope| scope.spawn(|| works_untouched(&dir.join("b.db"))).join().unwrap());
        assert!(!dir.join("trace").exists(), "what the user deleted stays deleted");
    };
    alone(body, quiet);
}

#[test]
fn a_names_file_that_was_replaced_is_not_written_to() {
    let body = |dir: &Path| {
        record_into(&dir.join("trace"));
        works_untouched(&dir.join("a.db"));
        let names = std::fs::read_dir(dir.join("trace")).unwrap().map(|entry| entry.unwrap().path());
        let names = names.into_iter().find(|path| path.extension().unwrap() == "names").unwrap();
        std::fs::remove_file(&names).unwrap();
        std::fs::write(&names, "somebody else's").unwrap();
        works_untouched(&dir.join("b.db"));
        assert_eq!(std::fs::read_to_string(&names).unwrap(), "somebody else's");
        // A pipe that nobody reads must not stop the application. If it does, this ends the process.
        unsafe { libc::alarm(20) };
        std::fs::remove_file(&names).unwrap();
        let path = std::ffi::CString::new(names.to_str().unwrap()).unwrap();
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        for i in 0..300 {
            Connection::open(dir.join(format!("{i}.db"))).unwrap().execute_batch("BEGIN IMMEDIATE; ROLLBACK").unwrap();
        }
    };
    alone(body, quiet);
}

const SECRET: &str = "a_table_whose_name_is_secret";

fn secret_sql(dir: &Path) {
    let connection = Connection::open(dir.join("a.db")).unwrap();
    connection.execute_batch(&format!("CREATE TABLE {SECRET}(v); INSERT INTO {SECRET} VALUES ('x')")).unwrap();
    let n: i64 = connection.query_row(&format!("SELECT count(*) FROM {SECRET}"), [], |row| row.get(0)).unwrap();
    assert_eq!(n, 1);
}

fn policy_keeps_no_text(policy: SqlPolicy) {
    let body = |dir: &Path| {
        record_with(&dir.join("trace"), 256 << 10, policy);
        secret_sql(dir);
        assert!(!grep(dir, SECRET.as_bytes()).is_empty(), "the search finds it where it is: in the database");
        assert_eq!(grep(&dir.join("trace"), SECRET.as_bytes()), Vec::<PathBuf>::new());
        let trace = trace(&dir.join("trace"));
        let known = trace.of(Kind::LOCK).iter().filter(|record| record.sql != 0).count();
        assert_eq!(known > 0, policy == SqlPolicy::Hash, "a hash is kept by that policy, and nothing by the other");
        assert!(!trace.names.iter().any(|line| line.contains(r#""t":"sql""#)));
    };
    // Statements come on command lines, too: `sqlite3 app.db "UPDATE …"`.
    alone_with(&[&format!("SELECT * FROM {SECRET}")], body, quiet);
}

#[test]
fn policy_hash_keeps_no_text() {
    policy_keeps_no_text(SqlPolicy::Hash);
}

#[test]
fn policy_off_keeps_no_text() {
    policy_keeps_no_text(SqlPolicy::Off);
}

#[test]
fn policy_text_keeps_the_statement_and_never_its_values() {
    let body = |dir: &Path| {
        record_into(&dir.join("trace"));
        secret_sql(dir);
        works_untouched(&dir.join("b.db"));
        assert_eq!(grep(&dir.join("trace"), SECRET.as_bytes()).len(), 1);
        let value = b"bound-value-nobody-may-keep";
        assert!(!grep(dir, value).is_empty(), "the search finds it where it is: in the database");
        assert_eq!(grep(&dir.join("trace"), value), Vec::<PathBuf>::new());
        assert_eq!(grep(&dir.join("trace"), b"INSERT INTO t VALUES (?1)").len(), 1);
    };
    alone(body, quiet);
}

#[test]
fn one_refusal_explains_one_sleep() {
    let body = |dir: &Path| {
        record_into(&dir.join("trace"));
        works_untouched(&dir.join("a.db"));
        let (holder, refused) = (Connection::open(dir.join("a.db")).unwrap(), Connection::open(dir.join("a.db")).unwrap());
        holder.execute_batch("BEGIN IMMEDIATE").unwrap();
        refused.busy_timeout(std::time::Duration::from_millis(5)).unwrap();
        refused.execute_batch("BEGIN IMMEDIATE").unwrap_err();
        holder.execute_batch("COMMIT").unwrap();
        refused.execute_batch("BEGIN IMMEDIATE; COMMIT").unwrap();
        // The last refusal was followed by no sleep of SQLite's: the application's first pause passes for it, and is marked as
        // assumed. What comes after has nothing to do with any refusal.
        unsafe { rusqlite::ffi::sqlite3_sleep(3) };
        unsafe { rusqlite::ffi::sqlite3_sleep(3) };
        let trace = trace(&dir.join("trace"));
        let busy = trace.of(Kind::LOCK).into_iter().filter(|record| record.rc.is_busy()).collect::<Vec<_>>();
        let sleeps = trace.of(Kind::SLEEP);
        assert!(busy.len() >= 2 && sleeps.len() >= 2, "{sleeps:?}");
        let (own, waits) = sleeps.split_last().unwrap();
        assert!(waits.iter().all(|sleep| (sleep.conn, sleep.flags) == (busy[0].conn, Flags::ASSUMED)), "{waits:?}");
        assert_eq!((own.conn, own.file, own.flags), (0, 0, Flags(0)));
    };
    alone(body, quiet);
}

#[test]
fn a_renamed_database_is_recorded_under_its_new_name() {
    let body = |dir: &Path| {
        record_into(&dir.join("trace"));
        works_untouched(&dir.join("a.db"));
        // The same inode under another path: what a file system also makes of a deleted and a new database.
        std::fs::rename(dir.join("a.db"), dir.join("b.db")).unwrap();
        drop(Connection::open(dir.join("b.db")).unwrap());
        let trace = trace(&dir.join("trace"));
        let opened: Vec<u32> = trace.of(Kind::OPEN).iter().map(|record| record.file).collect();
        assert_eq!(opened, [trace.file("/a.db"), trace.file("/b.db")]);
        assert_ne!(opened[0], opened[1]);
    };
    alone(body, quiet);
}

/// On a file system that cannot hold mapped files, they are in memory, and the directory has links.
#[test]
fn files_in_memory_have_links_in_the_directory() {
    let body = |dir: &Path| {
        unsafe { std::env::set_var("LOCKTRACE_PLACE", "memory") };
        record_into(&dir.join("trace"));
        works_untouched(&dir.join("a.db"));
        let memory = format!("{}{}/", locktrace::recorder::MEMORY_DIR, unsafe { libc::geteuid() });
        let links: Vec<PathBuf> = std::fs::read_dir(dir.join("trace")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(links.len(), 2);
        let read = trace(&dir.join("trace"));
        assert_eq!((read.header.pid, read.unreadable, read.header.lost_space), (std::process::id(), 0, 0));
        assert!(read.header.head > 10 && read.file("/a.db") == 1);
        let status = locktrace::recorder::control::status();
        assert_eq!(status.log.unwrap().parent(), Some(&*dir.join("trace")));
        for link in links {
            let target = std::fs::read_link(link).unwrap();
            assert!(target.starts_with(&memory), "{target:?}");
            assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
            std::fs::remove_file(target).unwrap();
        }
        assert_eq!(std::fs::metadata(memory).unwrap().permissions().mode() & 0o777, 0o700);
    };
    alone(body, quiet);
}

/// A statement comes from anywhere; directories are made where the host allows it only.
#[test]
fn a_statement_makes_no_directory_unless_it_was_allowed() {
    let body = |dir: &Path| {
        unsafe { std::env::remove_var("LOCKTRACE_PRAGMA_DIR") };
        record_into(&dir.join("trace"));
        let connection = Connection::open(dir.join("a.db")).unwrap();
        let set = format!("PRAGMA locktrace_dir='{}'", dir.join("other").display());
        let error = connection.execute_batch(&set).unwrap_err().to_string();
        assert!(error.contains("LOCKTRACE_PRAGMA_DIR=1") && !dir.join("other").exists(), "{error}");
        works_untouched(&dir.join("b.db"));
        assert_eq!(trace(&dir.join("trace")).file("/b.db"), 2);
    };
    alone(body, quiet);
}

/// Without `locktrace run` the notes are in the trace directory.
#[test]
fn without_a_file_for_notes_they_are_in_the_trace_directory() {
    let body = |dir: &Path| {
        unsafe { std::env::remove_var("LOCKTRACE_NOTES") };
        record_into(&dir.join("trace"));
        works_untouched(&dir.join("a.db"));
        locktrace::recorder::notice::once(locktrace::recorder::notice::Kind::Lost, format_args!("a \"reason\""));
        locktrace::recorder::notice::once(locktrace::recorder::notice::Kind::Lost, format_args!("another"));
        let notes = std::fs::read_to_string(dir.join("trace/notes")).unwrap();
        assert!(notes.ends_with("\"kind\":\"lost\",\"module\":\"\",\"why\":\"a \\\"reason\\\"\"}\n"), "{notes}");
        assert_eq!(notes.lines().count(), 1);
        assert_eq!(std::fs::metadata(dir.join("trace/notes")).unwrap().permissions().mode() & 0o777, 0o600);
    };
    alone(body, quiet);
}
