//! The recorder without the heap: it opens a log, writes a record and writes a name without one request.
#![allow(missing_docs)]
#![allow(clippy::undocumented_unsafe_blocks)] // tests of a C interface

use crate::common::{self, alone, quiet, trace};
use crate::heap;
use locktrace::event::Kind;
use locktrace::format::record::Record;
use locktrace::format::sql_hash;
use locktrace::recorder::line::Length;
use locktrace::recorder::{self, Library, control, notice};
use std::path::Path;

/// Whether this leaves the heap and `errno` alone.
fn untouched<R>(what: &str, f: impl FnOnce() -> R) -> R {
    unsafe { *libc::__errno_location() = 4711 };
    let mut result = None;
    let used = heap::used(|| result = Some(f()));
    let errno = unsafe { *libc::__errno_location() };
    assert_eq!((used, errno), (0, 4711), "{what}");
    result.unwrap()
}

#[test]
fn nothing_comes_from_the_heap() {
    let body = |dir: &Path| {
        let (fresh, again) =
            (dir.join("a.db").into_os_string().into_encoded_bytes(), dir.join("b.db").into_os_string().into_encoded_bytes());
        unsafe { std::env::set_var("LOCKTRACE_DIR", dir.join("trace")) };
        untouched("configure", recorder::configure_from_env).unwrap();
        let log = untouched("open", recorder::get).unwrap();
        let library = Library {
            number: 1,
            sqlite: "3.0.0",
            source_id: "id",
            options: Some(common::sqlite3_compileoption_get),
            vfs: "locktrace",
            base: "unix",
            linked: false,
        };
        untouched("file", || (log.file(&library, &fresh), log.file(&library, &again), log.file(&library, &fresh)));
        let text = b"SELECT '\xff' FROM t";
        let kept = untouched("learn", || log.learn(sql_hash(text), text, text.len())).unwrap();
        assert_eq!(kept, text);
        untouched("put", || (0..20_000).for_each(|_| log.write(&Record::new(Kind::SLEEP))));
        untouched("anchor", || log.anchor(u64::MAX));
        untouched("record", || log.record(19_000)).unwrap();
        untouched("pragma", || {
            let mut out = Length::default();
            for (name, value) in
                [("locktrace", None), ("locktrace_sql", Some("hash")), ("locktrace_dir", None), ("locktrace", Some("x"))]
            {
                control::pragma(name.as_bytes(), value.map(str::as_bytes), &mut out);
            }
            control::stop().unwrap();
            control::start().unwrap();
        });
        untouched("note", || notice::note(notice::Kind::NotCovered, b"/lib/x.so", format_args!("it is {}", 1)));
        std::thread::scope(|scope| {
            let thread = || untouched("thread", || recorder::get().unwrap().write(&Record::new(Kind::SLEEP)));
            scope.spawn(thread).join().unwrap();
        });
        let logs = common::traces(&dir.join("trace"));
        assert_eq!(logs.len(), 2, "one for each policy");
        let first = &logs[0];
        assert_eq!((first.unreadable, first.header.lost_space, first.header.lost_names), (0, 0, 0));
        let has = |what: &str| first.names.iter().filter(|line| line.contains(&format!(r#""t":"{what}""#))).count();
        assert_eq!([has("process"), has("library"), has("file"), has("sql"), has("thread"), has("recording")], [1, 1, 2, 1, 1, 1]);
        assert!(first.names.iter().any(|line| line.contains("THREADSAFE")), "{:?}", first.names);
    };
    alone(body, |dir, output| assert!(common::one_note(dir, output).contains(r#""why":"it is 1""#)));
}

/// A log that cannot be opened, and a child of a fork.
#[test]
fn failure_takes_nothing_from_the_heap_either() {
    let body = |dir: &Path| {
        std::fs::write(dir.join("file"), "").unwrap();
        unsafe { std::env::set_var("LOCKTRACE_DIR", dir.join("file/trace")) };
        untouched("configure", recorder::configure_from_env).unwrap();
        assert!(untouched("open", recorder::get).is_none());
        assert!(untouched("open again", || (0..5000).all(|_| recorder::get().is_none())));
    };
    alone(body, |dir, output| {
        assert!(common::one_note(dir, output).contains("Not a directory"));
    });
}

#[test]
fn a_child_takes_nothing_from_the_heap() {
    let body = |dir: &Path| {
        unsafe { std::env::set_var("LOCKTRACE_DIR", dir.join("trace")) };
        recorder::configure_from_env().unwrap();
        let child = unsafe { libc::fork() };
        if child == 0 {
            untouched("child", || recorder::get().unwrap().write(&Record::new(Kind::SLEEP)));
            unsafe { libc::_exit(0) };
        }
        let mut status = -1;
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
        assert_eq!(trace(&dir.join("trace")).records.len(), 1);
    };
    alone(body, quiet);
}
