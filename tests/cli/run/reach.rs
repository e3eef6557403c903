//! Programs that `locktrace run` records, by their ways to SQLite.

use super::{Seen, WRITES, seen};
use crate::place::{PYTHON, Place, parts};
use std::path::Path;

#[test]
fn the_systems_python() {
    let place = Place::new();
    let (code, out, err) = parts(&place.run(&[PYTHON, "-c", WRITES, "a.db"]));
    assert_eq!((code, &*out), (Some(0), "1\n"), "{err}");
    let seen = seen(&place);
    assert_eq!((seen.processes, seen.opened), (1, vec!["a.db".to_owned()]));
    assert_eq!(seen.writers, ["CREATE TABLE t(x)", "INSERT INTO t VALUES(1)"]);
    assert!(
        err.contains(&format!("no lock was refused that an application could see: {} records from 1 process;", seen.records)),
        "{err}"
    );
}

#[test]
fn a_python_without_extensions() {
    let place = Place::new();
    if !place.has_plain_python() {
        return;
    }
    let (code, out, err) = parts(&place.run(&["python3", "-c", WRITES, "a.db"]));
    assert_eq!((code, &*out), (Some(0), "1\n"), "{err}");
    assert_eq!(seen(&place).writers, ["CREATE TABLE t(x)", "INSERT INTO t VALUES(1)"]);
}

#[test]
fn the_shell_where_the_caller_is_the_main_program() {
    let place = Place::new();
    let (code, out, err) = parts(&place.run(&["sqlite3", "a.db", "CREATE TABLE t(x); SELECT 7;"]));
    assert_eq!((code, &*out), (Some(0), "7\n"), "{err}");
    let seen = seen(&place);
    assert_eq!((seen.processes, seen.writers), (1, vec!["CREATE TABLE t(x);".to_owned()]));
}

#[test]
fn a_pipeline_of_several_and_a_fork() {
    let place = Place::new();
    let fork = "
import os, sqlite3
sqlite3.connect('a.db').execute('INSERT INTO t VALUES(1)').connection.commit()
child = os.fork()
sqlite3.connect('a.db').execute('INSERT INTO t VALUES(%d)' % (2 + (child == 0))).connection.commit()
if child:
    assert os.waitpid(child, 0)[1] == 0
else:
    os._exit(0)
";
    std::fs::write(place.path("fork.py"), fork).unwrap();
    let line =
        format!("sqlite3 a.db 'CREATE TABLE t(x)' && {PYTHON} fork.py && echo 'SELECT count(*) FROM t;' | sqlite3 a.db | cat");
    let (code, out, err) = parts(&place.run(&["sh", "-c", &line]));
    assert_eq!((code, &*out), (Some(0), "3\n"), "{err}");
    let seen = seen(&place);
    assert_eq!(seen.processes, 4);
    let mut writers = seen.writers;
    writers.sort();
    assert_eq!(writers, ["CREATE TABLE t(x)", "INSERT INTO t VALUES(1)", "INSERT INTO t VALUES(2)", "INSERT INTO t VALUES(3)"]);
}

#[test]
fn threads_that_all_open_first() {
    let place = Place::new();
    let program = "
import sqlite3, threading
barrier = threading.Barrier(8)
def work(n):
    barrier.wait()
    sqlite3.connect('%d.db' % n).execute('CREATE TABLE t(x)')
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
";
    let (code, _, err) = parts(&place.run(&[PYTHON, "-c", program]));
    assert_eq!(code, Some(0), "{err}");
    // Installed once. (A thread that opens its database while another is still creating the log may lose its first record.)
    let seen = seen(&place);
    assert_eq!((seen.versions.len(), seen.writers.len()), (1, 8));
}

/// The three functions, looked up in a library that was loaded late; and before that none of them, as without us.
#[test]
fn all_three_functions_and_none_before_there_is_a_sqlite() {
    let place = Place::new();
    let program = "
import ctypes
print(hasattr(ctypes.CDLL(None), 'sqlite3_open'))
sqlite = ctypes.CDLL('libsqlite3.so.0')
db = ctypes.c_void_p(1)
def use(rc):
    assert rc == 0, rc
    assert sqlite.sqlite3_exec(db, b'CREATE TABLE t(x)', None, None, None) == 0
    assert sqlite.sqlite3_close(db) == 0
use(sqlite.sqlite3_open(b'one.db', ctypes.byref(db)))
use(sqlite.sqlite3_open16('zw\\u00f6lf.db'.encode('utf-16-le') + b'\\0\\0', ctypes.byref(db)))
use(sqlite.sqlite3_open_v2(b'file:three.db?mode=rwc', ctypes.byref(db), 0x46, None))
use(sqlite.sqlite3_open_v2(b'other.db', ctypes.byref(db), 6, b'unix-none'))
use(sqlite.sqlite3_open_v2(b'file:other2.db?vfs=unix-excl', ctypes.byref(db), 0x46, None))
";
    let (code, out, err) = parts(&place.run(&[PYTHON, "-c", program]));
    assert_eq!((code, &*out), (Some(0), "False\n"), "{err}");
    assert_eq!(seen(&place).opened, ["one.db", "zw\u{f6}lf.db", "three.db", "other.db", "other2.db"]);
}

/// The dynamic linker's own choice, where it is not the caller's: a plugin with a function of its own in a program that links SQLite.
#[test]
fn a_plugin_reaches_the_sqlite_its_program_links() {
    let place = Place::new();
    std::fs::write(
        place.path("plugin.c"),
        "int sqlite3_open(const char *n, void **d) { return 77; }\nint plugin(void **d) { int rc = sqlite3_open(\"p.db\", d); return rc; }\n",
    )
    .unwrap();
    std::fs::write(
        place.path("main.c"),
        "#include <dlfcn.h>\n#include <stdio.h>\nint sqlite3_libversion_number(void); int sqlite3_open(const char *, void **);\n\
         int sqlite3_exec(void *, const char *, void *, void *, void *);\n\
         int main(void) { void *d = 0; sqlite3_libversion_number();\n\
         int (*p)(void **) = (int (*)(void **))dlsym(dlopen(\"./plugin.so\", RTLD_NOW), \"plugin\");\n\
         int rc = p(&d); printf(\"%d\\n\", rc); return rc ? 1 : sqlite3_exec(d, \"CREATE TABLE t(x)\", 0, 0, 0); }\n",
    )
    .unwrap();
    let build = "gcc -shared -fPIC -O0 -o plugin.so plugin.c && gcc -o main main.c -l:libsqlite3.so.0 -ldl";
    if !place.command("sh").args(["-c", build]).output().is_ok_and(|output| output.status.success()) {
        return println!("skipped: no C compiler, or no libsqlite3.so.0 to link");
    }
    let bare = parts(&place.command("./main").output().unwrap());
    assert_eq!((bare.0, &*bare.1), (Some(0), "0\n"), "{}", bare.2);
    std::fs::remove_file(place.path("p.db")).unwrap();
    let (code, out, err) = parts(&place.run(&["./main"]));
    assert_eq!((code, &*out), (Some(0), "0\n"), "{err}");
    assert_eq!(seen(&place).writers, ["CREATE TABLE t(x)"]);
}

#[test]
fn a_static_program_runs_untraced_and_a_line_says_so() {
    let place = Place::new();
    if !place.built("#include <stdio.h>\nint main(void) { puts(\"hello\"); return 5; }\n", &["-static"]) {
        return;
    }
    let (code, out, err) = parts(&place.run(&["./main"]));
    assert_eq!((code, &*out), (Some(5), "hello\n"));
    assert!(err.contains("runs untraced: it is a static program") && err.contains("locktrace extension"), "{err}");
    let (_, _, err) = parts(&place.run(&["true"]));
    assert!(!err.contains("untraced"), "{err}");
}

#[test]
fn the_extension_is_where_it_says() {
    let place = Place::new();
    let (code, out, err) = parts(&place.locktrace(&["extension"]));
    assert_eq!((code, &*err), (Some(0), ""));
    let path = out.trim_end();
    assert!(path.ends_with("/liblocktrace.so") && Path::new(path).starts_with(place.path("cache")), "{path}");
    let script = format!(".load {path}\n.open a.db\nCREATE TABLE t(x);\n");
    std::fs::write(place.path("script"), &script).unwrap();
    for traced in [false, true] {
        // By itself, and under `run`, where it is there already: recorded once, not twice.
        let mut command = place.command(if traced { env!("CARGO_BIN_EXE_locktrace") } else { "sqlite3" });
        let dir = place.path(if traced { "both" } else { "loaded" });
        command.env("LOCKTRACE_DIR", &dir).stdin(std::fs::File::open(place.path("script")).unwrap());
        command.args(if traced { &["run", "--", "sqlite3"][..] } else { &[] });
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let seen = Seen::in_directory(&dir);
        assert_eq!((seen.opened.len(), &*seen.writers.concat()), (1, "CREATE TABLE t(x);"));
        std::fs::remove_file(place.path("a.db")).unwrap();
    }
}
