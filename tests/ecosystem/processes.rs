//! Processes that start and end in every way: each has a log of its own, and none of it is lost.

use crate::place::{PYTHON, Place, parts};
use crate::seen::Seen;
use crate::server::until;
use serde_json::json;

/// Runs a program of `/usr/bin/python3` to its end, and gives what it printed.
fn python(place: &Place, program: &str) -> String {
    let (code, out, err) = parts(&place.run(&[PYTHON, "-c", program]));
    assert_eq!(code, Some(0), "{err}");
    out
}

#[test]
fn multiprocessing_by_fork_and_by_spawn() {
    for way in ["fork", "spawn"] {
        let place = Place::new();
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/workers.py");
        let (code, out, err) = parts(&place.run(&[PYTHON, "-B", program, way]));
        assert_eq!(code, Some(0), "{way}: {err}");
        let pids: Vec<u64> = serde_json::from_str(&out).unwrap();
        let seen = Seen::of(&place);
        let mut sorted = pids.clone();
        sorted.sort_unstable();
        assert_eq!(seen.pids(), sorted, "{way}: the processes that opened a database, and no other (spawn starts a helper, too)");
        assert_eq!(seen.writes(pids[0]), ["CREATE TABLE t(x)"]);
        for (number, &child) in pids[1..].iter().enumerate() {
            assert_eq!(seen.writes(child), [format!("INSERT INTO t VALUES ({number})")], "{way}");
            assert_eq!(seen.process(child)["forked"], (way == "fork"), "{way}: {}", seen.process(child));
            assert_eq!(seen.process(child)["ppid"], pids[0], "{way}");
            // A connection of its own, closed before its end.
            let kinds: Vec<_> = seen.of_pid(child).map(|record| record["kind"].as_str().unwrap()).collect();
            assert_eq!((kinds.first(), kinds.last()), (Some(&"xOpen"), Some(&"xClose")), "{way}");
        }
    }
}

#[test]
fn a_process_that_leaves_without_a_word() {
    let place = Place::new();
    let program = "
import os, sqlite3
db = sqlite3.connect('a.db', isolation_level=None)
db.execute('CREATE TABLE t(x)')
db.execute('BEGIN IMMEDIATE')
db.execute('INSERT INTO t VALUES (1)')
os._exit(7)
";
    assert_eq!(place.run(&[PYTHON, "-c", program]).status.code(), Some(7));
    let seen = Seen::of(&place);
    let [pid] = seen.pids()[..] else { panic!("one process: {:?}", seen.pids()) };
    assert_eq!(seen.writes(pid), ["CREATE TABLE t(x)", "BEGIN IMMEDIATE"]);
    let last = seen.records.last().unwrap();
    assert_eq!((&last["after"], &last["result"]), (&json!("RESERVED"), &json!("OK")), "the lock it died with: {last}");
}

#[test]
fn a_daemon_outlives_what_started_it() {
    let place = Place::new();
    let program = "
import os, sqlite3, sys, time
home = os.getcwd()
child = os.fork()
if child:
    os.waitpid(child, 0)
    sys.exit()
os.setsid()
os.chdir('/')
child = os.fork()
if child:
    open(home + '/daemon', 'w').write(str(child))
    os._exit(0)
nothing = os.open('/dev/null', os.O_RDWR)
for fd in (0, 1, 2): os.dup2(nothing, fd)
deadline = time.monotonic() + 30
while not os.path.exists(home + '/go') and time.monotonic() < deadline: time.sleep(0.005)
db = sqlite3.connect(home + '/a.db')
with db: db.execute('CREATE TABLE t(x)')
db.close()
open(home + '/done', 'w').close()
";
    python(&place, program);
    assert!(!place.path("locktrace-trace").exists(), "`run` has ended, and nobody has opened anything yet");
    std::fs::write(place.path("go"), "").unwrap();
    until("the daemon has written", || place.path("done").exists());
    let daemon: u64 = std::fs::read_to_string(place.path("daemon")).unwrap().parse().unwrap();
    let seen = Seen::of(&place);
    assert_eq!(seen.pids(), [daemon]);
    assert_eq!(seen.writes(daemon), ["CREATE TABLE t(x)"], "into the same directory, whatever its own is now");
}

#[test]
fn a_connection_carried_across_a_fork_shows() {
    let place = Place::new();
    let program = "
import os, sqlite3
db, other = (sqlite3.connect('a.db', isolation_level=None, timeout=0.01) for _ in range(2))
db.execute('CREATE TABLE t(x)')
def child(work):
    child = os.fork()
    if child == 0:
        try: work()
        except sqlite3.OperationalError: os._exit(5)
        os._exit(0)
    return child, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
first = child(lambda: db.execute('INSERT INTO t VALUES (2)'))
other.execute('BEGIN IMMEDIATE')
second = child(lambda: db.execute('INSERT INTO t VALUES (3)'))
other.execute('ROLLBACK')
db.execute('INSERT INTO t VALUES (1)')
print(os.getpid(), *first, *second)
";
    let out = python(&place, program);
    let said: Vec<u64> = out.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let [parent, first, 0, second, 5] = said[..] else { panic!("{out}") };
    let seen = Seen::of(&place);
    for (pid, forked, writes) in [
        (parent, false, &["CREATE TABLE t(x)", "BEGIN IMMEDIATE", "INSERT INTO t VALUES (1)"][..]),
        (first, true, &["INSERT INTO t VALUES (2)"]),
        (second, true, &[]),
    ] {
        assert_eq!(seen.writes(pid), writes);
        assert!(seen.of_pid(pid).any(|record| record["kind"] == "xOpen") != forked, "opened by the parent alone");
        for record in seen.of_pid(pid) {
            let flags = record["flags"].as_array().is_some_and(|flags| flags.contains(&json!("forked")));
            assert_eq!(flags, forked, "{record}");
        }
    }
    let refusals = seen.report["refusals"].as_array().unwrap();
    assert!(!refusals.is_empty() && refusals.iter().all(|one| one["pid"] == second && one["forked"] == true), "{refusals:?}");
    let waits = seen.report["waits"].as_array().unwrap();
    assert!(waits.len() == 1 && waits[0]["sleeps"].as_u64() > Some(0), "it slept as the connection that waits: {waits:?}");
    for (pid, forked) in [(parent, false), (first, true)] {
        let holds = seen.report["databases"][0]["longest_holds"].as_array().unwrap();
        let of_pid: Vec<_> = holds.iter().filter(|hold| hold["pid"] == pid).collect();
        assert!(!of_pid.is_empty() && of_pid.iter().all(|hold| (hold["forked"] == true) == forked), "{holds:?}");
    }
}
