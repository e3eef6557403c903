//! Beginnings and ends of programs, and what a program gives up in between.

use crate::harness::{Host, With, equal, politely};

const BOTH: [With; 2] = [With::Run, With::Extension];

#[test]
fn every_way_to_end() {
    let Some(host) = Host::of(&["ends"]) else { return };
    for (how, code) in [
        ("return", 8),
        ("exit", 3),
        ("quick", 4),
        ("now", 7),
        ("thread", 5),
        ("pthread", 6),
        ("abort", 128 + 6),
        ("segv", 128 + 11),
        ("term", 128 + 15),
        ("kill", 128 + 9),
        ("exec", 8),
        ("late", 8),
        ("early", 8),
    ] {
        let bare = host.run(With::Nothing, &["ends", how]);
        assert_eq!((bare.seen.code, &*bare.seen.err), (code, ""), "{how}: {}", bare.seen.out);
        for with in BOTH {
            let traced = host.run(with, &["ends", how]);
            equal(&format!("{with:?} {how}"), &bare, &traced);
            assert!(traced.records().0 > 0, "{with:?} {how}: nothing was recorded, so nothing was tested");
        }
    }
}

#[test]
fn errno_and_the_threads_state_are_those_of_the_bare_program() {
    let Some(host) = Host::of(&["errors"]) else { return };
    host.same(&BOTH, &["errors"]);
}

/// The stock shell, with `.load` as the README has it: the same output, and the same with an error and with two databases.
#[test]
fn the_sqlite3_shell_with_the_extension_loaded() {
    let Some(host) = Host::of(&[]) else { return };
    let statements = "PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t VALUES(1); ATTACH 'b.db' AS b; CREATE TABLE b.t(x);
        BEGIN; INSERT INTO b.t VALUES(2); INSERT INTO t VALUES(3); COMMIT; SELECT * FROM t, b.t; PRAGMA integrity_check; SELECT nonsense;";
    let mut outcomes = Vec::new();
    for load in [false, true] {
        let (dir, trace) = host.place();
        let mut shell = host.command("sqlite3");
        if load {
            shell.env("LOCKTRACE_DIR", &trace).arg("-cmd").arg(format!(".load {}", host.extension().display()));
        }
        if host.command("sqlite3").arg("-version").output().is_err() {
            politely::<()>("there is no sqlite3");
            return;
        }
        shell.args(["-cmd", ".open a.db", ":memory:", statements]).current_dir(&dir);
        let (status, said) = host.finish(&mut shell);
        outcomes.push((status.unwrap().code(), said));
        assert_eq!(load, trace.is_dir(), "it records, if it was loaded");
    }
    assert!(outcomes[0].1.contains("3|2\n"), "{}", outcomes[0].1);
    assert_eq!(outcomes[0], outcomes[1]);
}

fn gives_up(what: &str) {
    let Some(host) = Host::of(&["dropped"]) else { return };
    std::fs::set_permissions(host.work(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for when in ["early", "late"] {
        let bare = host.run(With::Nothing, &["dropped", what, when]);
        if !bare.seen.out.contains(&format!("{what}: done\n")) {
            politely::<()>(&format!("a program cannot do this here: {}", bare.seen.out));
            return;
        }
        assert_eq!((bare.seen.code, &*bare.seen.err), (0, ""), "{what} {when}: {}", bare.seen.out);
        for with in BOTH {
            equal(&format!("{with:?} {what} {when}"), &bare, &host.run(with, &["dropped", what, when]));
        }
    }
}

#[test]
fn a_program_changes_its_user() {
    gives_up("user");
}

#[test]
fn a_program_changes_its_root_directory() {
    gives_up("root");
}

#[test]
fn a_program_changes_its_directory_and_its_umask() {
    gives_up("directory");
    gives_up("mask");
}

#[test]
fn a_program_has_mounts_of_its_own_and_no_proc() {
    gives_up("mounts");
}

#[test]
fn a_program_has_a_pid_namespace() {
    gives_up("pids");
}

#[test]
fn a_program_has_other_namespaces() {
    gives_up("network");
}

#[test]
fn a_program_may_not_execute_what_it_writes() {
    gives_up("writable");
}

#[test]
fn a_program_clears_its_environment() {
    gives_up("environment");
}

#[test]
fn a_program_keeps_its_pages_in_memory_and_may_have_few() {
    gives_up("locked");
}
