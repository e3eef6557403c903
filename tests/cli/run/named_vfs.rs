//! Programs under `locktrace run` that name a VFS, bring their own, or call one themselves: the same results as bare, and a trace.
//!
//! Each program is a process of its own and prints what it sees; it runs bare and traced. What the machine lacks is skipped with a line.
#![allow(clippy::unwrap_used)]

use crate::place::{PYTHON, Place, parts};
use shim::event::{FileKind, Kind, Level};
use sqlite_locktrace::trace::Trace;
use std::collections::BTreeMap;
use std::path::Path;

/// What a trace says of each database, by its file's name: how often it was opened, and the statements that took RESERVED.
fn seen(place: &Place) -> BTreeMap<String, (u32, Vec<String>)> {
    let trace = Trace::open(&place.path("locktrace-trace")).unwrap();
    let mut seen: BTreeMap<String, (u32, Vec<String>)> = BTreeMap::new();
    let mut events = trace.events().unwrap();
    for event in &mut events {
        let (names, record) = (&trace.log(event.log).names, event.record);
        let Some(file) = names.file(record.file) else { continue };
        let name = Path::new(&file.path.text).file_name().unwrap().to_str().unwrap();
        let (opened, writers) = seen.entry(name.to_owned()).or_default();
        *opened += u32::from(record.kind == Kind::OPEN && record.file_kind == FileKind::DATABASE);
        if record.kind == Kind::LOCK && record.requested == Level::RESERVED && record.rc.is_ok() {
            writers.push(names.sql(record.sql).map_or_else(String::new, |sql| sql.text.text.clone()));
        }
    }
    assert_eq!(events.finish().problems, []);
    seen
}

/// Runs a command bare in one place and traced in another; it must print the same, and leave the same files.
fn same(make: impl Fn(&Place), command: &[&str]) -> Place {
    let (bare, traced) = (Place::new(), Place::new());
    let mut results = Vec::new();
    for place in [&bare, &traced] {
        make(place);
        let output = if std::ptr::eq(place, &raw const bare) {
            place.command("timeout").arg("60").args(command).output().unwrap()
        } else {
            place.run(command)
        };
        let (code, out, err) = parts(&output);
        assert_eq!(code, Some(0), "{out}{err}");
        let files = std::fs::read_dir(place.path(".")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<String> = files.filter(|name| name != "cache" && name != "locktrace-trace").collect();
        files.sort();
        results.push((out, files));
    }
    assert_eq!(results[0], results[1]);
    traced
}

fn compile(place: &Place) -> bool {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/named_vfs.c");
    let mut command = place.command("gcc");
    command.args(["-Wall", "-Werror", "-o", "program"]).arg(source).arg("-l:libsqlite3.so.0");
    command.output().is_ok_and(|output| output.status.success())
}

/// SQLite's own by name and in a URI (those of an ATTACH are not traced); the program's own before and after the first open, over SQLite's and over what is the
/// default; taken away, freed and registered again; names that nobody has; `sqlite3_vfs_find`; a file without a connection; and all of it
/// after `sqlite3_shutdown`.
#[test]
fn a_program_with_vfses_of_its_own() {
    if !compile(&Place::new()) {
        return println!("skipped: no C compiler, or no libsqlite3.so.0 to link");
    }
    for arguments in [&["./program"][..], &["./program", "uri"]] {
        let place = same(|place| assert!(compile(place)), arguments);
        let seen = seen(&place);
        let plain = if place.path("plain.db").exists() { "plain.db" } else { "file:plain.db?vfs=unix-none" };
        let databases = [
            "early", "named", "excl", "none", "uri", "both", "late", "late2", "late3", "late4", "dot", "late6", "again", "anew",
            "anew2",
        ];
        let databases = databases.iter().map(|name| format!("{name}.db")).chain([plain.to_owned()]);
        for name in databases {
            let (opened, writers) = seen.get(&name).unwrap_or_else(|| panic!("{name} is not in the trace: {seen:?}"));
            assert_eq!(*opened, 1, "{name}: seen once, though two of ours may lie over each other");
            assert_eq!(writers[0], "CREATE TABLE t(x)", "{name}");
        }
        assert!(!seen.keys().any(|name| name.contains("mem") || name.contains("nobody") || name == "late5.db"), "{seen:?}");
    }
}

/// Each of SQLite's own from Python; and the stack of VFSes, which the `sqlite3` shell shows as if nobody was there.
#[test]
fn each_of_sqlites_own() {
    let program = "
import os, sqlite3, sys
for vfs in ('unix', 'unix-none', 'unix-dotfile', 'unix-excl', 'no-such'):
    try:
        one, two = (sqlite3.connect(f'file:{vfs}.db?vfs={vfs}', uri=True, timeout=0, isolation_level=None) for _ in range(2))
    except sqlite3.OperationalError as error:
        print(vfs, error)
        continue
    one.execute('CREATE TABLE t(x)')
    print(vfs, one.execute('PRAGMA journal_mode=WAL').fetchone())
    for sql in ('BEGIN IMMEDIATE', 'INSERT INTO t VALUES(1)'):
        one.execute(sql)
    print([name for name in sorted(os.listdir('.')) if name.startswith(vfs + '.')])
    try:
        two.execute('BEGIN IMMEDIATE')
        print('both')
        two.rollback()
    except sqlite3.OperationalError as error:
        print(error)
    one.rollback()
    one.close()
    two.close()
";
    let place = same(|_| {}, &[PYTHON, "-c", program]);
    let seen = seen(&place);
    let opened: Vec<(&str, u32)> = seen.iter().map(|(name, (opened, _))| (name.as_str(), *opened)).collect();
    assert_eq!(opened, [("unix-dotfile.db", 2), ("unix-excl.db", 2), ("unix-none.db", 2), ("unix.db", 2)]);
    let trace = Trace::open(&place.path("locktrace-trace")).unwrap();
    let refused = trace.events().unwrap().filter(|event| event.record.rc.is_busy()).count();
    assert!(refused >= 3, "one for each but unix-none: {refused}");

    let shell = ["run", "--add", "--", "sqlite3", "file:shell.db?vfs=unix-excl", "CREATE TABLE t(x)", ".vfsname"];
    assert_eq!(parts(&place.locktrace(&shell)).1, "unix-excl\n", "the stack of VFSes is the program's own");
}
