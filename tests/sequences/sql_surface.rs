//! What SQL can read once the extension is loaded, in programs on the system's SQLite: the `sqlite3` shell and Python. And what it cannot
//! read without it, under `locktrace run`.
#![allow(clippy::unwrap_used)]

use crate::live::host::{extension, system};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs a program in this directory with this input, traced into `trace` there; its output, if it ended well and said nothing else.
fn run(mut command: Command, dir: &Path, input: &str) -> String {
    command.current_dir(dir).env("LOCKTRACE_DIR", dir.join("trace")).env_remove("LOCKTRACE_SQL").env_remove("LOCKTRACE_LIMIT");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&stderr);
    assert!(status.success() && error.is_empty(), "{status}: {error}");
    String::from_utf8(stdout).unwrap()
}

fn shell() -> Command {
    let mut command = system("/usr/bin/sqlite3", "sqlite3");
    command.args(["-batch", "-init", "/dev/null"]);
    command
}

fn python(program: &str) -> Command {
    let mut command = system("/usr/bin/python3", "python3");
    command.arg("-c").arg(program).arg(extension());
    command
}

#[test]
fn the_shell_asks_on_the_connection_that_loads_and_on_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let load = extension().display().to_string();
    let input = format!(
        ".load {load}\nSELECT recording, open_files FROM locktrace_status;\n\
         .open app.db\nCREATE TABLE t(v);\nBEGIN IMMEDIATE;\nINSERT INTO t VALUES(1);\n\
         SELECT connection, lock, sql, thread FROM locktrace_locks;\n\
         SELECT call, lock, result FROM locktrace_events WHERE sql LIKE 'BEGIN%' ORDER BY number;\n\
         COMMIT;\nPRAGMA locktrace_sql;\nPRAGMA locktrace=off;\nPRAGMA locktrace=on;\n"
    );
    let output = run(shell(), dir.path(), &input);
    let lines: Vec<&str> = output.lines().collect();
    let [status, held, shared, reserved, policy, off, on] = lines[..] else { panic!("{output}") };
    assert_eq!([status, held], ["waiting|0", "1|RESERVED|BEGIN IMMEDIATE;|sqlite3"]);
    assert_eq!([shared, reserved, policy], ["xLock|SHARED|OK", "xLock|RESERVED|OK", "text"]);
    assert!(off.starts_with("recording off, ") && on.starts_with("recording on, "), "{output}");
}

#[test]
fn a_database_locked_by_another_process_keeps_nobody_from_asking() {
    let dir = tempfile::tempdir().unwrap();
    let program = r#"
import sqlite3, subprocess, sys, threading
loader = sqlite3.connect(":memory:", isolation_level=None)
loader.enable_load_extension(True)
loader.load_extension(sys.argv[1])
early = sqlite3.connect("app.db", isolation_level=None, timeout=0)
early.execute("CREATE TABLE t(v)")
early.execute("CREATE VIRTUAL TABLE temp.held USING locktrace_locks")
early.execute("SELECT * FROM t").fetchall()

holder = subprocess.Popen(["/usr/bin/sqlite3", "-batch", "-init", "/dev/null", "app.db"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True)
holder.stdin.write("BEGIN EXCLUSIVE;\nSELECT 'held';\n")
holder.stdin.flush()
assert holder.stdout.readline() == "held\n"

def refused(connection, sql):
    try:
        connection.execute(sql).fetchall()
    except sqlite3.OperationalError as error:
        return str(error)

late = sqlite3.connect("app.db", isolation_level=None, timeout=0)
print(refused(early, "INSERT INTO t VALUES (1)"))
# On :memory: nothing is in the way, and so it is with a table in temp on a connection that knows its schema already.
what = "SELECT connection, lock, refused, refused_sql FROM {} WHERE refused IS NOT NULL"
print(loader.execute(what.format("locktrace_locks")).fetchall())
print(early.execute(what.format("temp.held")).fetchall())
# SQLite itself begins a read transaction on main for a table-valued function. A PRAGMA it only passes on.
print(refused(early, "SELECT * FROM locktrace_locks"), "/", refused(late, "SELECT * FROM locktrace_locks"))
print(late.execute("PRAGMA locktrace").fetchone()[0].split(",")[0])
holder.stdin.write("COMMIT;\n")
holder.stdin.close()
assert holder.wait(timeout=60) == 0
print(late.execute("SELECT count(*) FROM locktrace_locks").fetchone()[0])
"#;
    let output = run(python(program), dir.path(), "");
    let row = "[(1, 'NONE', 'SHARED', 'INSERT INTO t VALUES (1)')]";
    let locked = "database is locked";
    assert_eq!(output, format!("{locked}\n{row}\n{row}\n{locked} / {locked}\nrecording on\n2\n"));
}

#[test]
fn threads_ask_while_threads_write() {
    let dir = tempfile::tempdir().unwrap();
    let program = r#"
import faulthandler, sqlite3, sys, threading
faulthandler.dump_traceback_later(100, exit=True)
loader = sqlite3.connect(":memory:")
loader.enable_load_extension(True)
loader.load_extension(sys.argv[1])
setup = sqlite3.connect("app.db", isolation_level=None)
setup.execute("PRAGMA journal_mode=WAL")
setup.execute("PRAGMA synchronous=OFF")
setup.execute("CREATE TABLE t(v)")
errors, done = [], threading.Event()
def write(number):
    try:
        connection = sqlite3.connect("app.db", isolation_level=None, timeout=60)
        connection.execute("PRAGMA synchronous=OFF")
        for i in range(50):
            connection.execute("INSERT INTO t VALUES (?)", (number,))
    except Exception as error:
        errors.append(error)
def ask(on):
    try:
        connection = sqlite3.connect(on, isolation_level=None, timeout=60)
        while True:
            last = done.is_set()
            for lock, slots, held in connection.execute("SELECT lock, slots, held FROM locktrace_locks"):
                assert lock in ("NONE", "SHARED", "EXCLUSIVE") and (held is None or 0 <= held < 100), (lock, slots, held)
            connection.execute("SELECT count(*) FROM locktrace_events").fetchone()
            if last:
                break
    except Exception as error:
        errors.append(error)
writers = [threading.Thread(target=write, args=(n,)) for n in range(8)]
askers = [threading.Thread(target=ask, args=(on,)) for on in [":memory:", "app.db"] * 4]
for thread in writers + askers: thread.start()
for thread in writers: thread.join()
done.set()
for thread in askers: thread.join()
print(errors, setup.execute("SELECT count(*), count(DISTINCT v) FROM t").fetchone())
"#;
    assert_eq!(run(python(program), dir.path(), ""), "[] (400, 8)\n");
}

#[test]
fn a_program_under_run_has_no_table_it_did_not_have() {
    let dir = tempfile::tempdir().unwrap();
    let program = r#"
import sqlite3
connection = sqlite3.connect("app.db", isolation_level=None)
connection.execute("CREATE TABLE t(v)")
print(connection.execute("SELECT count(*) FROM pragma_module_list WHERE name LIKE 'locktrace%'").fetchone()[0])
print(connection.execute("PRAGMA locktrace").fetchone()[0].split(",")[0])
"#;
    let mut command = Command::new(env!("CARGO_BIN_EXE_locktrace"));
    command.args(["run", "--", "/usr/bin/python3", "-c", program]).current_dir(dir.path()).env_remove("LOCKTRACE_DIR");
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "0\nrecording on\n");
}
