//! Beginnings, ends, and what a program gives up in between.

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
