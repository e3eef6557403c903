//! Notes of traced processes: what `locktrace run` prints of them, and who can leave them. The children write the notes themselves.

use super::WRITES;
use crate::place::{PYTHON, Place, parts};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A shell command that appends a note.
fn note(kind: &str, exe: &str, module: &str, why: &str) -> String {
    format!(
        r#"printf '{{"t":"note","pid":%d,"exe":"{exe}","kind":"{kind}","module":"{module}","why":"{why}"}}\n' $$ >> "$LOCKTRACE_NOTES""#
    )
}

/// What `run` says of itself after a shell has done this.
fn said(place: &Place, script: &str) -> Vec<String> {
    let (code, _, err) = parts(&place.run(&["sh", "-c", script]));
    assert_eq!(code, Some(0), "{err}");
    err.lines().filter_map(|line| line.strip_prefix("locktrace: ")).map(str::to_owned).collect()
}

#[test]
fn the_reason_for_no_trace_is_the_one_that_was_noted() {
    let place = Place::new();
    let memory = note("memory", "/usr/bin/python3.11", "", "");
    let covered = note("covered", "/usr/bin/x", "/usr/bin/x", "3.50.1");
    let left = note("not-covered", "/usr/bin/x", "/lib/c.so", "its calls are checked (CFI)");
    let failed = note("not-recording", "/usr/bin/x", "", "/t: Permission denied");
    let excluded = note("excluded", "/usr/bin/x", "", "");
    for (script, lines) in [
        (
            &covered,
            &["no trace: no database was opened. Ready to be traced: /usr/bin/x (pid N) and the SQLite inside it, version 3.50.1"]
                [..],
        ),
        (&memory, &["no trace: /usr/bin/python3.11 (pid N) opened only databases in memory or temporary ones."]),
        (
            &left,
            &[
                "/usr/bin/x (pid N): the SQLite in /lib/c.so is not traced: its calls are checked (CFI)",
                "no trace: the only SQLite that was found cannot be traced (a line above says why).",
            ],
        ),
        (
            &format!("{covered}; {memory}; {failed}; {failed}"),
            &["/usr/bin/x (pid N): not recording: /t: Permission denied", "no trace: recording failed (a line above says why)"],
        ),
        (&excluded, &["no trace: /usr/bin/x (pid N) was left out, as --not says"]),
        (
            &r#"echo '{"t":"note","pid":1,"kind":' >> "$LOCKTRACE_NOTES""#.to_owned(),
            &["no trace: no database was recorded while sh ran: no SQLite was found"],
        ),
        (&r#"rm -f "$LOCKTRACE_NOTES""#.to_owned(), &["no trace: no database was recorded while sh ran: no SQLite was found"]),
    ] {
        let found = said(&place, script);
        assert_eq!(found.len(), lines.len(), "{found:?}");
        for (line, expected) in found.iter().zip(lines) {
            let pid = line.split_once("(pid ").map_or("", |(_, rest)| rest.split([')', ' ']).next().unwrap());
            assert!(line.replace(&format!("pid {pid}"), "pid N").starts_with(expected), "{found:?}");
        }
    }
    assert!(said(&place, &memory)[0].contains("Django"));
    // How it ended may be the reason.
    let (code, _, err) = parts(&place.run(&["sh", "-c", &format!("{covered}; exit 9")]));
    assert!(code == Some(9) && err.contains("The program ended with code 9, perhaps before it came to that"), "{err}");
}

#[test]
fn troubles_come_before_the_summary_and_are_few() {
    let place = Place::new();
    std::fs::write(place.path("writes.py"), WRITES).unwrap();
    let mut script = format!("{PYTHON} writes.py a.db\n");
    for number in 0..20 {
        script.push_str(&note("lost", "/usr/bin/x", "", &format!("records are being lost: {number}")));
        script.push('\n');
    }
    script.push_str(&note("config", "/usr/bin/\\u001b[31mx", "", "LOCKTRACE_LIMIT is wrong"));
    let found = said(&place, &script);
    assert_eq!(found.len(), 7, "{found:?}");
    assert!(found[0].contains("): records are being lost: 0"), "{found:?}");
    assert!(found[5].starts_with("16 more such lines") && found[6].starts_with("no lock was refused"), "{found:?}");
    assert!(!found.concat().contains('\x1b'));
}

/// A child of another user finds the library and the notes, and cannot change the one or read the other. The loader has nothing to say.
#[test]
fn a_child_of_another_user() {
    let place = Place::new();
    std::fs::set_permissions(place.path(""), std::fs::Permissions::from_mode(0o777)).unwrap();
    let other = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"];
    if !place.command(other[0]).args(&other[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        return println!("skipped: only root can become another user, by setpriv");
    }
    let script = format!(
        "set -e; library=$(echo \"${{LD_PRELOAD%%:*}}\" | sed s/[$]LIB/lib/); test -x \"$library\"; test ! -w \"$library\"; test ! -w \"$(dirname \"$library\")\"; \
         test ! -r \"$LOCKTRACE_NOTES\"; test ! -w \"$(dirname \"$LOCKTRACE_NOTES\")\"; {}; {PYTHON} -c '{}' a.db; \
         echo \"$LOCKTRACE_NOTES\"",
        note("config", "/usr/bin/x", "", "noted"),
        WRITES.replace('\'', "\"")
    );
    let (code, out, err) = parts(&place.run(&[&other[..], &["sh", "-c", &script]].concat()));
    assert_eq!(code, Some(0), "{out}{err}");
    let lines: Vec<&str> = err.lines().collect();
    assert!(lines.len() == 2 && lines[0].ends_with("): noted") && lines[1].contains("records from 1 process"), "{err}");
    assert!(!Path::new(out.lines().last().unwrap()).parent().unwrap().exists(), "the notes are gone: {out}");
}

#[test]
fn programs_to_leave_alone_are_named_to_the_library() {
    let place = Place::new();
    let mut command = place.command(env!("CARGO_BIN_EXE_locktrace"));
    command.args(["run", "--not", "node", "--not", "a b", "--", "printenv", "LOCKTRACE_NOT"]).env("LOCKTRACE_NOT", "x");
    assert_eq!(parts(&command.output().unwrap()).1, "x:node:a b\n");
    let (code, out, _) = parts(&place.run(&["printenv", "LOCKTRACE_NOT"]));
    assert_eq!((code, &*out), (Some(1), ""));
    for name in ["", "/usr/bin/node", "a:b"] {
        let (code, _, err) = parts(&place.locktrace(&["run", "--not", name, "--", "true"]));
        assert!(code == Some(2) && err.contains("expected the name of a program's file"), "{name}: {err}");
    }
}
