//! Processes in another world than `locktrace run`: a namespace of process numbers, and another user.

use super::row::{Row, Sql, have};
use crate::packages::skipped;
use crate::place::PYTHON;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Runs the program by another one, which this machine may forbid.
fn inside(prefix: &[&str], what: &str) {
    if have(&[prefix, &["/bin/true"]].concat(), what) {
        Row::new(&["dbapi.py"]).refused(&[prefix, &[PYTHON, "dbapi.py", "sqlite3"]].concat(), Sql::Text);
    }
}

#[test]
fn unshare_with_a_namespace_of_pids() {
    inside(&["unshare", "--pid", "--fork", "--mount-proc"], "a namespace of process numbers (root's right)");
}

#[test]
fn bubblewrap_with_a_namespace_of_pids() {
    let bwrap = ["bwrap", "--dev-bind", "/", "/", "--unshare-pid", "--proc", "/proc", "--die-with-parent"];
    inside(&bwrap, "bubblewrap (Debian: bubblewrap)");
}

const NOBODY: [&str; 3] = ["setpriv", "--reuid=65534", "--clear-groups"];

/// A place where another user can write, but not into the trace; nothing where there is none, and that has been said.
fn for_another_user() -> Option<Row> {
    if !have(&[&NOBODY[..], &["/bin/true"]].concat(), "another user (root's right)") {
        return None;
    }
    let row = Row::new(&["dbapi.py"]);
    fs::set_permissions(row.place.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    let reaches =
        row.place.command("setpriv").args(&NOBODY[1..]).args([PYTHON, "-c", "open('here', 'w').close()"]).output().unwrap();
    let _ = fs::remove_file(row.place.path("here"));
    if !reaches.status.success() {
        skipped("another user cannot reach the directory for temporary files");
        return None;
    }
    Some(row)
}

/// It can write where the trace is.
#[test]
fn another_user() {
    let Some(row) = for_another_user() else { return };
    fs::create_dir(row.place.path("locktrace-trace")).unwrap();
    fs::set_permissions(row.place.path("locktrace-trace"), fs::Permissions::from_mode(0o1777)).unwrap();
    row.refused(&[&NOBODY[..], &[PYTHON, "dbapi.py", "sqlite3"]].concat(), Sql::Text);
}

/// It cannot: the program runs as bare, and `locktrace run` says why nothing was recorded.
#[test]
fn another_user_without_a_right_to_the_trace() {
    let Some(row) = for_another_user() else { return };
    fs::create_dir(row.place.path("locktrace-trace")).unwrap();
    fs::set_permissions(row.place.path("locktrace-trace"), fs::Permissions::from_mode(0o755)).unwrap();
    let command = [&NOBODY[..], &[PYTHON, "dbapi.py", "sqlite3"]].concat();
    let bare = row.bare(&command);
    assert_eq!((bare.code, &*bare.out), (Some(0), "busy\ndone 2\n"), "{}", bare.err);
    row.without_database();
    let (traced, summary) = row.traced(&command);
    assert_eq!(traced, bare, "traced, and bare; locktrace says: {summary}");
    assert!(summary.to_lowercase().contains("permission denied"), "the reason: {summary:?}");
}
