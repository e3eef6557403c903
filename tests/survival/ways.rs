//! Ways in which programs start others and load libraries while their own threads are recorded: `posix_spawn`, `vfork`,
//! `execve` in place, a library with SQLite behind it that is loaded and unloaded. All under `locktrace run`, with the same output as bare.
#![allow(clippy::unwrap_used)]

use crate::place::{PYTHON, Place, parts};
use shim::event::{FileKind, Kind};
use sqlite_locktrace::trace::Trace;
use std::collections::BTreeMap;
use std::path::Path;

/// Records by log: process, names of opened databases, whether all is there.
fn logs(place: &Place) -> Vec<(u32, Vec<String>)> {
    let trace = Trace::open(&place.path("locktrace-trace")).unwrap();
    assert_eq!(trace.problems(), []);
    let mut opened = BTreeMap::<_, Vec<String>>::new();
    let mut events = trace.events().unwrap();
    for event in events.by_ref() {
        if event.record.kind == Kind::OPEN && event.record.file_kind == FileKind::DATABASE {
            let path = &trace.log(event.log).names.file(event.record.file).unwrap().path.text;
            opened.entry(event.log).or_default().push(Path::new(path).file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    for tally in events.finish().tallies {
        assert_eq!(tally.read, tally.head, "{tally:?}");
    }
    opened.into_iter().map(|(log, paths)| (trace.log(log).pid, paths)).collect()
}

/// Runs it bare in one place and recorded in another; returns that one. What they print must be the same.
fn the_same(prepare: impl Fn(&Place) -> bool, command: &[&str]) -> Option<Place> {
    let (bare, recorded) = (Place::new(), Place::new());
    if !prepare(&bare) || !prepare(&recorded) {
        return None;
    }
    let expected = parts(&bare.command("timeout").arg("60").args(command).output().unwrap());
    // A ring that holds all that the threads record.
    let (code, out, err) = parts(&recorded.locktrace(&[&["run", "--limit", "256M", "--"], command].concat()));
    assert_eq!((expected.0, &*expected.2), (Some(0), ""));
    assert_eq!((code, out), (Some(0), expected.1), "{err}");
    assert!(err.lines().all(|line| line.starts_with("locktrace: ")), "{err}");
    Some(recorded)
}

/// Threads that write all the time, beside them processes started in both ways; each uses SQLite.
#[test]
fn spawned_while_threads_record() {
    const STARTED: usize = 40;
    let program = "
import os, sqlite3, subprocess, sys, threading
done, first = threading.Event(), threading.Event()
def write(n):
    db = sqlite3.connect('%d.db' % n, isolation_level=None)
    db.execute('PRAGMA synchronous=OFF')
    while not done.is_set():
        db.execute('CREATE TABLE IF NOT EXISTS t(x)')
        db.execute('SELECT count(*) FROM t').fetchall()
        first.set()
    db.close()
threads = [threading.Thread(target=write, args=(n,)) for n in range(2)]
# One after the other: who opens a database while another thread is still creating the log may lose its first record.
for thread in threads:
    thread.start()
    first.wait()
shell = ['/usr/bin/sqlite3', 'other.db', 'CREATE TABLE IF NOT EXISTS u(x); SELECT count(*) FROM u;']
for n in range(40):
    if n % 2:
        pid = os.posix_spawn(shell[0], shell, os.environ)
        assert os.waitpid(pid, 0)[1] == 0
    else:
        subprocess.run(shell, check=True)
done.set()
[thread.join() for thread in threads]
print('all', flush=True)
";
    let place = the_same(|_| true, &[PYTHON, "-c", program]).unwrap();
    let logs = logs(&place);
    assert_eq!(logs.len(), STARTED + 1, "{logs:?}");
    let (own, others): (Vec<_>, Vec<_>) = logs.iter().partition(|(_, paths)| !paths.contains(&"other.db".to_owned()));
    assert_eq!((own.len(), others.len()), (1, STARTED));
    let mut paths = own[0].1.clone();
    paths.sort();
    assert_eq!(paths, ["0.db", "1.db"]);
}

/// A process that becomes another program has two logs, and the second says nothing of what the first one held.
#[test]
fn another_program_in_its_place() {
    let program = "
import os, sqlite3, sys
db = sqlite3.connect('first.db', isolation_level=None)
db.execute('CREATE TABLE t(x)')
db.execute('BEGIN IMMEDIATE')
os.execv('/usr/bin/sqlite3', ['sqlite3', 'second.db', 'CREATE TABLE t(x); SELECT 7;'])
";
    let place = the_same(|_| true, &[PYTHON, "-c", program]).unwrap();
    let logs = logs(&place);
    assert_eq!(logs.len(), 2, "{logs:?}");
    assert_eq!(logs[0].0, logs[1].0, "one process");
    assert_eq!((&logs[0].1, &logs[1].1), (&vec!["first.db".to_owned()], &vec!["second.db".to_owned()]));
}

/// A plugin that links SQLite, loaded and unloaded again and again by a program that does not.
#[test]
fn a_library_that_comes_and_goes() {
    const TIMES: usize = 60;
    let prepare = |place: &Place| {
        let plugin = "int sqlite3_open(const char *, void **); int sqlite3_close(void *);\n\
            int sqlite3_exec(void *, const char *, void *, void *, void *);\n\
            int plugin(const char *name) { void *d = 0; int rc = sqlite3_open(name, &d);\n\
            if (!rc) rc = sqlite3_exec(d, \"CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES(1)\", 0, 0, 0);\n\
            sqlite3_close(d); return rc; }\n";
        let main = "#include <dlfcn.h>\n#include <stdio.h>\n#include <string.h>\n\
            int main(void) { for (int i = 0; i < 60; i++) { void *h = dlopen(\"./plugin.so\", i % 2 ? RTLD_NOW : RTLD_LAZY | RTLD_GLOBAL);\n\
            if (!h) { puts(dlerror()); return 1; }\n\
            int (*p)(const char *) = (int (*)(const char *))dlsym(h, \"plugin\"); printf(\"%d \", p(\"plugin.db\")); dlclose(h); }\n\
            puts(\"done\"); return 0; }\n";
        std::fs::write(place.path("plugin.c"), plugin).unwrap();
        std::fs::write(place.path("main.c"), main).unwrap();
        let build = "gcc -shared -fPIC -O0 -o plugin.so plugin.c -l:libsqlite3.so.0 && gcc -o main main.c -ldl";
        place.command("sh").args(["-c", build]).output().is_ok_and(|output| output.status.success())
    };
    let Some(place) = the_same(prepare, &["./main"]) else {
        return println!("SKIPPED: no C compiler, or no libsqlite3.so.0 to link");
    };
    let logs = logs(&place);
    assert_eq!((logs.len(), logs[0].1.len()), (1, TIMES), "{logs:?}");
}
