//! Misfortunes of programs: no descriptor left, no memory, no room, the trace directory gone, replaced or read-only, another user,
//! another root, a daemon. The program does not notice the recorder: it prints the same as bare and leaves the same database.
//! The recorder counts every record that is lost, and goes on when the misfortune is over.
//!
//! The program is `tests/programs/steady.py`, on the system's SQLite. The shim's own tests `alone/full_disk` and `alone/recorder` have one misfortune each
//! on the bundled one.
#![allow(clippy::unwrap_used)]

use crate::place::{PYTHON, Place, parts};
use rusqlite::Connection;
use sqlite_locktrace::trace::{Tally, Trace};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/steady.py");

/// One run: what the program printed, its database, and what stderr said.
struct Run {
    place: Place,
    code: Option<i32>,
    out: String,
    err: String,
    rows: Vec<(i64, i64)>,
}

impl Run {
    /// Runs it bare or recorded, in a directory of its own. `small` puts the trace on a disk of so many bytes.
    fn of(mode: &str, misfortune: &str, recorded: bool, small: Option<u64>) -> Run {
        let place = Place::new();
        let open = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::write(place.path("a.db"), "").unwrap();
        open(&place.path("a.db"), 0o666);
        open(&place.path("."), 0o777);
        let program = [PYTHON, PROGRAM, "a.db", mode, misfortune, "small/trace"];
        let locktrace = [env!("CARGO_BIN_EXE_locktrace"), "run", "--limit", "2M", "-o", "small/trace", "--"];
        let words = if recorded { [&locktrace[..], &program].concat() } else { program.to_vec() };
        std::fs::create_dir(place.path("small")).unwrap();
        open(&place.path("small"), 0o777);
        let script = match small {
            // Seen by this program and its children alone; what is on it is copied before it goes.
            Some(bytes) => format!(
                "mount -t tmpfs -o size={bytes} none small && mkdir -m 700 small/trace && {{ timeout 60 \"$@\"; code=$?; \
                 cp -r small/trace copy && exit $code; }}"
            ),
            None => "exec timeout 60 \"$@\"".to_owned(),
        };
        let mut command = if small.is_some() { place.command("unshare") } else { place.command("sh") };
        if small.is_some() {
            command.args(["--mount", "sh"]);
        }
        let output = command.args(["-c", &script, "sh"]).args(words).output().unwrap();
        let (code, out, err) = parts(&output);
        let connection = Connection::open(place.path("a.db")).unwrap();
        let mut statement = connection.prepare("SELECT phase, n FROM t ORDER BY rowid").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
        Run { code, out, err, rows, place }
    }

    /// What was recorded, in this directory.
    fn logs(&self, dir: &str) -> Vec<Seen> {
        let trace = Trace::open(&self.place.path(dir)).unwrap();
        // Names that are lost are said to be; and the last line that met a full disk is half a line.
        let expected = ["could not be written", "torn last line"];
        let others = trace.problems().iter().find(|problem| !expected.iter().any(|text| problem.what.contains(text)));
        assert_eq!(others, None);
        let mut seen = vec![Seen::default(); trace.logs().len()];
        let mut events = trace.events().unwrap();
        for event in events.by_ref() {
            let seen = &mut seen[event.log.0 as usize];
            seen.last = seen.last.max(Some(event.number));
            let text = trace.log(event.log).names.sql(event.record.sql);
            seen.named |= text.is_some_and(|sql| sql.text.text.contains("the_last_one"));
        }
        for ((seen, log), tally) in seen.iter_mut().zip(trace.logs()).zip(events.finish().tallies) {
            (seen.tally, seen.lost_names) = (tally, log.lost_names);
            // One thread at a time records: nothing is in flight, and what is not there was counted.
            assert_eq!((tally.torn, tally.empty, tally.missing, tally.overwritten), (0, 0, 0, 0), "{tally:?}");
            assert_eq!(tally.read + tally.lost, tally.head);
        }
        seen
    }
}

/// What one log says.
#[derive(Clone, Debug, Default)]
struct Seen {
    tally: Tally,
    lost_names: u64,
    /// The last record that is there.
    last: Option<u64>,
    /// The last statement has its text.
    named: bool,
}

/// Runs the program bare and recorded, and compares all that it can know. Returns the recorded run.
fn the_same(mode: &str, misfortune: &str, small: Option<u64>) -> Run {
    let (bare, recorded) = (Run::of(mode, misfortune, false, small), Run::of(mode, misfortune, true, small));
    assert_eq!((bare.code, &*bare.err), (Some(0), ""), "{mode} {misfortune}");
    assert!(bare.out.contains("('ok',)") && bare.rows.len() >= 20, "{}", bare.out);
    assert_eq!((recorded.code, &recorded.out, &recorded.rows), (bare.code, &bare.out, &bare.rows), "{}", recorded.err);
    // Nothing but lines of ours on stderr; and of those that are about a failure, one.
    let lines: Vec<&str> = recorded.err.lines().collect();
    assert!(lines.iter().all(|line| line.starts_with("locktrace: ")), "{}", recorded.err);
    let failures = lines.iter().filter(|line| line.contains("lost") || line.contains("not recording")).count();
    assert_eq!(failures, usize::from(!HARMLESS.contains(&misfortune)), "{misfortune}: {}", recorded.err);
    recorded
}

/// Those that the recorder does not notice: its files are mapped, and it needs no descriptor, directory or right any more. (Without a
/// descriptor at the first open there is no log, and nothing to write a note with; the records that are missing are counted.)
const HARMLESS: [&str; 9] = ["none", "read-only", "daemon", "nofile", "nofile-first", "replaced", "setuid", "chroot", "gone"];

/// How many records the program makes when all is well.
fn all(mode: &str) -> u64 {
    static ALL: [OnceLock<u64>; 2] = [const { OnceLock::new() }; 2];
    *ALL[usize::from(mode == "wal")].get_or_init(|| {
        let logs = the_same(mode, "none", None).logs("small/trace");
        assert_eq!(logs.len(), 1);
        assert!(logs[0].named && logs[0].tally.lost == 0 && logs[0].lost_names == 0, "{logs:?}");
        assert_eq!(logs[0].last, Some(logs[0].tally.head - 1));
        println!("{mode}: {} records", logs[0].tally.head);
        logs[0].tally.head
    })
}

fn in_both_modes(test: impl Fn(&str)) {
    test("wal");
    test("delete");
}

/// Recording was refused at the first open, and began when that was over. Every transition that was lost until then is counted; what
/// is not a transition (bytes written, a journal deleted) is not, where there is no log.
fn begins_late(misfortune: &str, says: &str, small: Option<u64>) {
    in_both_modes(|mode| {
        let run = the_same(mode, misfortune, small);
        assert!(HARMLESS.contains(&misfortune) || run.err.contains("not recording"), "{}", run.err);
        assert!(run.err.contains(says), "{}", run.err);
        let logs = run.logs(if small.is_some() { "copy" } else { "small/trace" });
        println!("{mode} {misfortune}: {logs:?}");
        assert_eq!(logs.len(), 1);
        let Seen { tally, last, named, .. } = logs[0];
        assert!(tally.lost >= 1024 && tally.read > 3000 && named, "{logs:?}");
        assert_eq!(last, Some(tally.head - 1), "the end is recorded");
        let all = all(mode);
        assert!((all - 200..=all).contains(&tally.head), "{mode}: {} of {all} are accounted for", tally.head);
    });
}

#[test]
fn no_descriptor_left_at_the_first_open() {
    begins_late("nofile-first", "records are missing", None);
}

#[test]
fn no_address_space_at_the_first_open() {
    begins_late("address-space", "RLIMIT_AS", None);
}

/// What is there would do for the ring, and then be short for the application.
#[test]
fn little_address_space_at_the_first_open() {
    begins_late("address-space-tight", "RLIMIT_AS", None);
}

#[test]
fn a_file_size_limit_at_the_first_open() {
    begins_late("file-size", "RLIMIT_FSIZE", None);
}

#[test]
fn a_read_only_directory_at_the_first_open() {
    begins_late("read-only-first", "Permission denied", None);
}

#[test]
fn a_full_disk_at_the_first_open() {
    if can_mount() {
        begins_late("full-first", "No space left on device", Some(4 << 20));
    }
}

/// Recording was under way. `comes_back` says that it is over before the end.
fn loses_some(misfortune: &str, says: &str, small: Option<u64>, comes_back: bool) {
    in_both_modes(|mode| {
        let run = the_same(mode, misfortune, small);
        assert!(run.err.contains("being lost") && run.err.contains(says), "{}", run.err);
        let logs = run.logs(if small.is_some() { "copy" } else { "small/trace" });
        println!("{mode} {misfortune}: {logs:?}");
        assert_eq!(logs.len(), 1);
        let Seen { tally, last, lost_names, .. } = logs[0];
        assert!(tally.lost > 1000 && tally.read > 5000, "{logs:?}");
        // On a full disk there may be room in the names' last page.
        assert!(lost_names > 0 || small.is_some(), "{logs:?}");
        assert_eq!(last == Some(tally.head - 1), comes_back, "{logs:?}");
        // Where the misfortune hits the application as well, it does less.
        if run.out.contains("('OK', 9405)") {
            assert_eq!(tally.head, all(mode), "every record is accounted for");
        }
    });
}

/// Recording was under way, and goes on as if nothing had happened.
fn loses_nothing(misfortune: &str) {
    in_both_modes(|mode| {
        let logs = the_same(mode, misfortune, None).logs("small/trace");
        println!("{mode} {misfortune}: {logs:?}");
        assert_eq!((logs.len(), logs[0].tally.lost, logs[0].lost_names), (1, 0, 0));
        // In another root the program does not find its database for its last statement.
        assert!(logs[0].named || misfortune == "chroot");
        // Where the misfortune hits the application as well, it does less.
        assert!((all(mode) - 3000..=all(mode)).contains(&logs[0].tally.read), "{logs:?}");
    });
}

#[test]
fn no_descriptor_left_in_the_middle() {
    loses_nothing("nofile");
}

#[test]
fn another_user_in_the_middle() {
    if is_root() {
        loses_nothing("setuid");
    }
}

#[test]
fn another_root_in_the_middle() {
    if is_root() {
        loses_nothing("chroot");
    }
}

#[test]
fn a_full_disk_in_the_middle() {
    if can_mount() {
        loses_some("full", "No space left on device", Some(4 << 20), true);
    }
}

#[test]
fn a_directory_that_is_deleted() {
    in_both_modes(|mode| {
        let run = the_same(mode, "gone", None);
        assert!(run.err.contains("no trace"), "{}", run.err);
        assert!(!run.place.path("small/trace").exists(), "what the user deleted stays deleted");
    });
}

#[test]
fn a_file_in_the_place_of_the_directory() {
    loses_nothing("replaced");
}

#[test]
fn a_directory_that_becomes_read_only() {
    in_both_modes(|mode| {
        let logs = the_same(mode, "read-only", None).logs("small/trace");
        assert_eq!((logs.len(), logs[0].tally.read, logs[0].lost_names), (1, all(mode), 0), "the files are there already");
    });
}

/// Twice forked, with every descriptor closed that it does not know, and with a recorded parent.
#[test]
fn a_daemon() {
    in_both_modes(|mode| {
        let mut logs = the_same(mode, "daemon", None).logs("small/trace");
        logs.sort_by_key(|log| log.tally.read);
        assert_eq!(logs.len(), 2, "the parent's and the daemon's");
        assert_eq!((logs[1].tally.read, logs[1].tally.lost, logs[1].lost_names, logs[1].named), (all(mode), 0, 0, true));
    });
}

fn is_root() -> bool {
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !root {
        println!("SKIPPED: this needs root");
    }
    root
}

fn can_mount() -> bool {
    let can = Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
    if !can {
        println!("SKIPPED: mounting a small tmpfs needs privileges this process does not have");
    }
    can
}
