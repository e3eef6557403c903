//! Installing the VFS: once, twice, again after a shutdown, beside other VFSes.
#![allow(missing_docs)]
#![allow(clippy::undocumented_unsafe_blocks)] // tests of a C interface

use crate::common::{self, alone, find, install_as, probe, quiet};
use locktrace::recorder::config::Config;
use locktrace::vfs::{InstallError, Installed};
use rusqlite::{Connection, OpenFlags, ffi};
use std::ffi::CStr;
use std::path::Path;

fn into(dir: &Path) {
    locktrace::recorder::configure(Config { dir: dir.join("trace"), ..Config::default() }).unwrap();
}

fn default_name() -> String {
    unsafe { CStr::from_ptr((*find(None)).zName) }.to_str().unwrap().to_owned()
}

/// The stack of VFS names under a connection.
fn stack(connection: &Connection) -> String {
    let mut name: *mut std::ffi::c_char = std::ptr::null_mut();
    let op = ffi::SQLITE_FCNTL_VFSNAME;
    let rc = unsafe { ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), op, (&raw mut name).cast()) };
    assert_eq!(rc, ffi::SQLITE_OK);
    let stack = unsafe { CStr::from_ptr(name) }.to_str().unwrap().to_owned();
    unsafe { common::sqlite3_free(name) };
    stack
}

fn open(path: &Path) -> Connection {
    Connection::open(path).unwrap()
}

fn open_by(path: &Path, vfs: &str) -> rusqlite::Result<Connection> {
    Connection::open_with_flags_and_vfs(path, OpenFlags::default(), vfs)
}

#[test]
fn twice_does_nothing() {
    let body = |dir: &Path| {
        into(dir);
        assert_eq!(install_as("locktrace", None, true), Ok(Installed::Fresh));
        let (ours, list) = (find(None), chain());
        for default in [true, false] {
            assert_eq!(install_as("locktrace", None, default), Ok(Installed::Already));
        }
        assert_eq!((find(None), chain()), (ours, list));
        assert_eq!(stack(&open(&dir.join("a.db"))), "locktrace/unix");
    };
    alone(body, quiet);
}

/// Every registered VFS by name, the default first.
fn chain() -> Vec<String> {
    let (mut names, mut vfs) = (Vec::new(), find(None));
    while let Some(this) = unsafe { vfs.as_ref() } {
        names.push(unsafe { CStr::from_ptr(this.zName) }.to_str().unwrap().to_owned());
        assert!(names.len() < 100, "the list is a ring");
        vfs = this.pNext;
    }
    names
}

#[test]
fn after_a_shutdown_it_is_the_default_again() {
    let body = |dir: &Path| {
        into(dir);
        assert_eq!(install_as("locktrace", None, true), Ok(Installed::Fresh));
        for _ in 0..3 {
            unsafe { common::sqlite3_shutdown() };
            unsafe { common::sqlite3_initialize() };
            assert_eq!(default_name(), "unix", "what SQLite does");
            assert_eq!(install_as("locktrace", None, true), Ok(Installed::Again));
            assert_eq!(default_name(), "locktrace");
            assert_eq!(chain().iter().filter(|name| *name == "locktrace").count(), 1);
        }
        assert_eq!(stack(&open(&dir.join("a.db"))), "locktrace/unix");
    };
    alone(body, quiet);
}

#[test]
fn after_a_shutdown_it_is_the_default_again_over_any_base() {
    let body = |dir: &Path| {
        into(dir);
        assert_eq!(install_as("locktrace", Some("unix-excl"), true), Ok(Installed::Fresh));
        unsafe { common::sqlite3_shutdown() };
        assert_eq!(default_name(), "unix");
        assert_eq!(install_as("locktrace", Some("unix-excl"), true), Ok(Installed::Again));
        assert_eq!(stack(&open(&dir.join("a.db"))), "locktrace/unix-excl");
    };
    alone(body, quiet);
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let body = |dir: &Path| {
        into(dir);
        find(None);
        assert_eq!(unsafe { ffi::sqlite3_vfs_register(probe::vfs("locktrace", 3), 0) }, ffi::SQLITE_OK);
        let before = chain();
        assert_eq!(install_as("locktrace", None, true), Err(InstallError::NameTaken(c"locktrace")));
        assert_eq!(chain(), before);
        assert_eq!(default_name(), "unix");
        let error = install_as("locktrace", None, true).unwrap_err().to_string();
        assert_eq!(error, r#"a VFS named "locktrace" is registered already, and it is not locktrace's"#);
    };
    alone(body, quiet);
}

/// Linked in *and* loaded as an extension: two copies of this library, one SQLite.
#[test]
fn a_second_copy_of_the_library_stands_back() {
    let body = |dir: &Path| {
        into(dir);
        let library = std::env::current_exe().unwrap().with_file_name("liblocktrace.so");
        assert!(library.exists(), "{} is missing: run `cargo build -p locktrace-shim`", library.display());
        assert_eq!(install_as("mine", None, true), Ok(Installed::Fresh));
        let path = std::ffi::CString::new(library.to_str().unwrap()).unwrap();
        let db = rusqlite::Connection::open_in_memory().unwrap();
        let rc = unsafe {
            ffi::sqlite3_enable_load_extension(db.handle(), 1);
            let entry = c"sqlite3_locktrace_init".as_ptr();
            ffi::sqlite3_load_extension(db.handle(), path.as_ptr(), entry, std::ptr::null_mut())
        };
        assert_eq!(rc, ffi::SQLITE_OK);
        assert_eq!(default_name(), "mine");
        assert!(find(Some("locktrace")).is_null());
        assert_eq!(stack(&open(&dir.join("a.db"))), "mine/unix");
    };
    alone(body, quiet);
}

#[test]
fn a_base_that_is_not_there_is_named() {
    let body = |dir: &Path| {
        into(dir);
        assert_eq!(install_as("locktrace", Some("no-such"), true), Err(InstallError::NoBase(Some(c"no-such"))));
        assert!(find(Some("locktrace")).is_null());
    };
    alone(body, quiet);
}

#[test]
fn an_install_that_is_not_the_default_is_used_by_name_only() {
    let body = |dir: &Path| {
        into(dir);
        assert_eq!(install_as("locktrace", None, false), Ok(Installed::Fresh));
        assert_eq!(default_name(), "unix");
        assert_eq!(stack(&open(&dir.join("a.db"))), "unix");
        common::work(&dir.join("a.db")).unwrap();
        assert!(!dir.join("trace").exists(), "untraced connections leave nothing");
        let by_name = open_by(&dir.join("a.db"), "locktrace").unwrap();
        assert_eq!(stack(&by_name), "locktrace/unix");
        assert!(dir.join("trace").exists());
        // Later it may become the default after all.
        assert_eq!(install_as("locktrace", None, true), Ok(Installed::Again));
        assert_eq!(stack(&open(&dir.join("a.db"))), "locktrace/unix");
    };
    alone(body, quiet);
}

#[test]
fn another_default_on_top_is_left_in_place() {
    let body = |dir: &Path| {
        into(dir);
        assert_eq!(install_as("locktrace", None, true), Ok(Installed::Fresh));
        assert_eq!(unsafe { ffi::sqlite3_vfs_register(probe::vfs("theirs", 3), 1) }, ffi::SQLITE_OK);
        let before = chain();
        assert_eq!(install_as("locktrace", None, true), Ok(Installed::Already));
        assert_eq!(chain(), before);
        assert_eq!(default_name(), "theirs");
    };
    alone(body, quiet);
}

#[test]
fn two_names_are_two_ways_to_one_base_and_never_two_layers() {
    let body = |dir: &Path| {
        into(dir);
        let db = dir.join("a.db");
        assert_eq!(install_as("one", None, true), Ok(Installed::Fresh));
        assert_eq!(install_as("two", None, false), Ok(Installed::Fresh));
        assert_eq!(install_as("three", Some("one"), false), Ok(Installed::Fresh));
        assert_eq!(install_as("four", Some("unix-dotfile"), false), Ok(Installed::Fresh));
        assert_eq!(default_name(), "one");
        for (name, expected) in [("one", "one/unix"), ("two", "two/unix"), ("three", "three/unix"), ("four", "four/unix-dotfile")] {
            assert_eq!(stack(&open_by(&db, name).unwrap()), expected);
        }
        assert_eq!(stack(&open(&db)), "one/unix");
        // Each connection is recorded once, and each VFS is a library of its own in the names.
        let trace = common::trace(&dir.join("trace"));
        assert_eq!(trace.of(locktrace::event::Kind::OPEN).len(), 5);
        assert_eq!(trace.names.iter().filter(|line| line.contains(r#""t":"library""#)).count(), 4);
    };
    alone(body, quiet);
}
