//! `locktrace run` and `locktrace extension` on programs that nobody changed: what their traces say, and that they cannot tell.
//!
//! Each program is a process of its own. What a machine lacks (a compiler, a second Python) is skipped with a printed line.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "cli")]

mod place;

use locktrace::event::{Kind, Level};
use place::{PYTHON, Place, parts, text};
use sqlite_locktrace::trace::Trace;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

fn seen(place: &Place) -> Seen {
    Seen::in_directory(&place.path("locktrace-trace"))
}

/// What a trace says.
struct Seen {
    processes: usize,
    versions: Vec<String>,
    /// Databases opened, by their file's name.
    opened: Vec<String>,
    /// Statements that took RESERVED.
    writers: Vec<String>,
    records: u64,
}

impl Seen {
    fn in_directory(dir: &Path) -> Seen {
        let trace = Trace::open(dir).unwrap();
        let mut seen = Seen { processes: trace.logs().len(), versions: vec![], opened: vec![], writers: vec![], records: 0 };
        for log in trace.logs() {
            seen.versions.extend(log.names.sqlite_versions().iter().map(|version| (*version).to_owned()));
        }
        for event in trace.events().unwrap() {
            let (names, record) = (&trace.log(event.log).names, event.record);
            seen.records += 1;
            if record.kind == Kind::OPEN {
                let path = Path::new(&names.file(record.file).unwrap().path.text);
                seen.opened.push(path.file_name().unwrap().to_str().unwrap().to_owned());
            }
            if record.kind == Kind::LOCK && record.requested == Level::RESERVED && record.rc.is_ok() {
                seen.writers.push(names.sql(record.sql).map_or_else(String::new, |sql| sql.text.text.clone()));
            }
        }
        seen
    }
}

const WRITES: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute('CREATE TABLE t(x)')
db.execute('INSERT INTO t VALUES(1)')
db.commit()
print(db.execute('SELECT count(*) FROM t').fetchone()[0])
";

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
    let probe = "import sqlite3; print(hasattr(sqlite3.Connection, 'enable_load_extension'))";
    match place.command("python3").args(["-c", probe]).output() {
        Ok(output) if text(&output.stdout) == "False\n" => {}
        _ => return println!("skipped: the python3 on the path can load extensions, or there is none"),
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

/// The three functions, called by an object that has no SQLite of its own, and that another library brings.
#[test]
fn all_three_functions_and_none_behind_them() {
    let place = Place::new();
    let program = "
import ctypes, sys
everything = ctypes.CDLL(None)
db = ctypes.c_void_p(1)
print(everything.sqlite3_open(b'none.db', ctypes.byref(db)), db.value)
sqlite = ctypes.CDLL('libsqlite3.so.0', mode=ctypes.RTLD_GLOBAL)
def use(rc):
    assert rc == 0, rc
    assert sqlite.sqlite3_exec(db, b'CREATE TABLE t(x)', None, None, None) == 0
    assert sqlite.sqlite3_close(db) == 0
use(everything.sqlite3_open(b'one.db', ctypes.byref(db)))
use(everything.sqlite3_open16('zw\\u00f6lf.db'.encode('utf-16-le') + b'\\0\\0', ctypes.byref(db)))
use(everything.sqlite3_open_v2(b'file:three.db?mode=rwc', ctypes.byref(db), 0x46, None))
use(everything.sqlite3_open_v2(b'other.db', ctypes.byref(db), 6, b'unix-none'))
use(everything.sqlite3_open_v2(b'file:other2.db?vfs=unix-excl', ctypes.byref(db), 0x46, None))
";
    let (code, out, err) = parts(&place.run(&[PYTHON, "-c", program]));
    // Without any SQLite: SQLITE_CANTOPEN, no connection, and one line on stderr.
    assert_eq!((code, &*out), (Some(0), "14 None\n"), "{err}");
    assert!(err.contains("locktrace: sqlite3_open was called, and neither"), "{err}");
    // Those that name a VFS keep it, and are traced over it.
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
fn exit_codes_are_the_programs() {
    let place = Place::new();
    std::fs::write(place.path("plain"), "text").unwrap();
    std::fs::write(place.path("script"), "#!/no/such/interpreter\n").unwrap();
    std::os::unix::fs::symlink("/bin/sh", place.path("-odd")).unwrap();
    let set_mode = Command::new("chmod").args(["755"]).arg(place.path("script")).status().unwrap();
    assert!(set_mode.success());
    for (command, code, says) in [
        (&["true"][..], 0, "no database was recorded"),
        (&["sh", "-c", "exit 3"], 3, "no database was recorded"),
        (&["sh", "-c", "kill -9 $$"], 137, "no database was recorded"),
        (&["no-such-program-anywhere"], 127, "there is no such program"),
        (&["./no/such/program"], 127, "there is no such program"),
        (&["./plain"], 126, "cannot be executed"),
        (&["./script"], 126, "interpreter"),
        (&["./-odd", "-c", "exit 4"], 4, "no database was recorded"),
    ] {
        let (found, out, err) = parts(&place.run(command));
        assert_eq!((found, &*out), (Some(code), ""), "{command:?}: {err}");
        assert!(err.contains(says), "{command:?}: {err}");
        assert!(!place.path("locktrace-trace").exists(), "a process that opens no database leaves no file");
    }
    for arguments in [&["run"][..], &["run", "--"], &["run", "--limit", "1", "--", "true"], &["run", "--sql", "all", "true"]] {
        assert_eq!(place.locktrace(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_directory_that_cannot_be_made_stops_nothing() {
    let place = Place::new();
    let (code, out, err) = parts(&place.locktrace(&["run", "-o", "/proc/no/such", "--", PYTHON, "-c", WRITES, "a.db"]));
    assert_eq!((code, &*out), (Some(0), "1\n"), "{err}");
    assert!(err.contains("not recording: /proc/no/such") && err.contains("recording failed (a line above"), "{err}");
}

#[test]
fn a_static_program_runs_untraced_and_is_told_so() {
    let place = Place::new();
    std::fs::write(place.path("main.c"), "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 5; }\n").unwrap();
    let built = place.command("gcc").args(["-static", "-o", "main", "main.c"]).output();
    if !built.is_ok_and(|output| output.status.success()) {
        return println!("skipped: no static program can be built here");
    }
    let (code, out, err) = parts(&place.run(&["./main"]));
    assert_eq!((code, &*out), (Some(5), "hello\n"));
    assert!(err.contains("runs untraced: it is a static program") && err.contains("locktrace extension"), "{err}");
    let (_, _, err) = parts(&place.run(&["true"]));
    assert!(!err.contains("untraced"), "{err}");
}

#[test]
fn a_trace_that_is_there_stays_as_it_is() {
    let place = Place::new();
    assert_eq!(place.run(&[PYTHON, "-c", WRITES, "a.db"]).status.code(), Some(0));
    let before = seen(&place);
    let (code, out, err) = parts(&place.run(&[PYTHON, "-c", WRITES, "b.db"]));
    assert_eq!((code, &*out), (Some(2), ""));
    assert!(err.contains("-o DIR") && err.contains("--add"), "{err}");
    assert!(!place.path("b.db").exists(), "nothing was started");
    assert_eq!(seen(&place).records, before.records);
    let add = ["run", "--add", "--sql", "off", "--limit", "1M", "--report", PYTHON, "-c", WRITES, "b.db"];
    let (code, out, err) = parts(&place.locktrace(&add));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("1\n") && out.contains("No attempt to take a lock was refused.") && out.contains("b.db"), "{out}");
    assert!(err.contains("from 2 processes") && err.contains("with what was there before"), "{err}");
    assert_eq!(seen(&place).writers, ["CREATE TABLE t(x)", "INSERT INTO t VALUES(1)", "", ""]);
    // The directory may be there, as long as no trace is in it; and the environment names it where no option does.
    std::fs::create_dir(place.path("other")).unwrap();
    let other = place.path("other");
    let mut command = place.command(env!("CARGO_BIN_EXE_locktrace"));
    let output = command.env("LOCKTRACE_DIR", &other).args(["run", PYTHON, "-c", WRITES, "c.db"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(Seen::in_directory(&other).opened, ["c.db"]);
}

#[test]
fn the_summary_names_who_was_in_the_way() {
    let place = Place::new();
    let program = "
import sqlite3
a, b = sqlite3.connect('a.db'), sqlite3.connect('a.db', timeout=0)
a.execute('BEGIN IMMEDIATE')
try: b.execute('BEGIN IMMEDIATE')
except sqlite3.OperationalError as error: print(error)
";
    let (code, out, err) = parts(&place.run(&[PYTHON, "-c", program]));
    assert_eq!((code, &*out), (Some(0), "database is locked\n"), "{err}");
    let [saw, worst, next] = own_lines(&err)[..] else { panic!("{err}") };
    assert!(saw.starts_with("locktrace: the application saw 1 refused lock as an error ("), "{err}");
    assert!(worst.starts_with("locktrace: worst: no-busy-timeout (1 time, 1 error, "), "{err}");
    assert!(worst.contains("): in the way was pid ") && worst.ends_with(" c1, running, with RESERVED: BEGIN IMMEDIATE"), "{err}");
    let dir = next.split_once("locktrace explain ").unwrap().1.split(' ').next().unwrap();
    assert!(
        next.ends_with(&format!("; its proof: locktrace explain {dir} --incident 1; everything: locktrace report {dir}")),
        "{err}"
    );
    let explained = place.locktrace(&["explain", dir, "--incident", "1"]);
    assert!(parts(&explained).1.starts_with("Incident 1 of 1: no-busy-timeout; the application saw an error"));
}

#[test]
fn signals_reach_the_program_and_the_summary_still_comes() {
    for (signal, code) in [("TERM", 5), ("INT", 6), ("HUP", 7)] {
        let place = Place::new();
        let program = format!(
            "
import signal, sqlite3, sys
signal.alarm(50)
def stop(n, frame): sys.exit({code})
signal.signal(signal.SIG{signal}, stop)
sqlite3.connect('a.db').execute('CREATE TABLE t(x)')
print('ready', flush=True)
while True: signal.pause()
"
        );
        // A shell starts its background jobs with SIGINT ignored, which would be kept: whoever runs the tests may be one.
        let mut command = place.command("env");
        command.args([&format!("--default-signal={signal}"), env!("CARGO_BIN_EXE_locktrace")]);
        command.args(["run", "--", PYTHON, "-c", &program]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        assert!(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap().success());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}: {err}");
        assert!(err.contains("records from 1 process"), "{signal}: {err}");
    }
}

/// A key on the terminal reaches the whole group; passing it on would interrupt the program twice.
#[test]
fn the_terminals_interrupt_comes_once() {
    let place = Place::new();
    let program = "
import signal, sys
signal.alarm(50)
count = 0
def interrupt(n, frame):
    global count
    count += 1
    print('interrupted', flush=True)
signal.signal(signal.SIGINT, interrupt)
signal.signal(signal.SIGTERM, lambda n, frame: sys.exit(10 + count))
print('ready', flush=True)
while True: signal.pause()
";
    std::fs::write(place.path("program.py"), program).unwrap();
    let driver = "
import os, pty, signal, sys
signal.alarm(50)
pid, tty = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], [sys.argv[1], 'run', '--', sys.executable, 'program.py'])
said = b''
def until(word):
    global said
    while word not in said: said += os.read(tty, 1000)
until(b'ready')
os.write(tty, b'\\x03')
until(b'interrupted')
os.kill(pid, signal.SIGTERM)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";
    let output = place.command(PYTHON).args(["-c", driver, env!("CARGO_BIN_EXE_locktrace")]).output().unwrap();
    assert_eq!(output.status.code(), Some(11), "{output:?}");
}

#[test]
fn what_was_ignored_stays_ignored_and_a_preload_stays_preloaded() {
    let place = Place::new();
    let program = "import os, signal; print(signal.getsignal(signal.SIGHUP).name, os.environ['LD_PRELOAD'].split(':')[1:])";
    let line = format!("trap '' HUP; exec \"$0\" run -- {PYTHON} -c \"{program}\"");
    let mut command = place.command("sh");
    command.env("LD_PRELOAD", "/no/such/library.so").args(["-c", &line, env!("CARGO_BIN_EXE_locktrace")]);
    assert_eq!(text(&command.output().unwrap().stdout), "SIG_IGN ['/no/such/library.so']\n");
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

/// The lines of `locktrace run` itself.
fn own_lines(err: &str) -> Vec<&str> {
    err.lines().filter(|line| line.starts_with("locktrace: ")).collect()
}

#[test]
fn a_program_that_was_refused_nothing_gets_one_line() {
    let place = Place::new();
    let (code, _, err) = parts(&place.run(&[PYTHON, "-c", "import sqlite3; sqlite3.connect('a.db').execute('create table t(x)')"]));
    assert_eq!(code, Some(0), "{err}");
    let [line] = own_lines(&err)[..] else { panic!("{err}") };
    assert!(line.starts_with("locktrace: no lock was refused that an application could see: "), "{err}");
    assert!(line.contains(" records from 1 process; the trace is in /"), "{err}");
}

#[test]
fn a_huge_trace_does_not_keep_a_program_from_ending() {
    use locktrace::format::header::{Anchor, ClockKind, Header};
    let place = Place::new();
    let dir = place.path("huge");
    std::fs::create_dir(&dir).unwrap();
    // 64 GB of nothing: the file has a header and no blocks behind it.
    let capacity = 1 << 30;
    let header = Header {
        clock: ClockKind::Monotonic,
        capacity,
        pid: 1,
        boot_id: [1; 16],
        first: Anchor::default(),
        head: capacity,
        lost_space: 0,
        lost_names: 0,
        last: None,
    };
    let ring = std::fs::File::create(dir.join("1-1.ring")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&ring, &header.encode()[..], 0).unwrap();
    ring.set_len(4096 + 64 * capacity).unwrap();
    let begun = std::time::Instant::now();
    let program = "import sqlite3; sqlite3.connect('a.db').execute('create table t(x)'); raise SystemExit(7)";
    let output = place.locktrace(&["run", "--add", "-o", "huge", "--", PYTHON, "-c", program]);
    let (code, _, err) = parts(&output);
    assert_eq!(code, Some(7), "{err}");
    let [line] = own_lines(&err)[..] else { panic!("{err}") };
    assert!(line.contains("too large to be summed up in 3 seconds: locktrace report /"), "{err}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
}
