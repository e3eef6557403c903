//! File descriptors of the program: the recorder neither writes to them nor takes them nor changes their number.

use crate::harness::{Host, With, equal};
use std::fs;

const BOTH: [With; 2] = [With::Run, With::Extension];

/// Where nothing can be recorded into the trace directory, for root too.
fn unwritable(host: &Host) -> [std::path::PathBuf; 3] {
    let file = host.home().join("a-file");
    fs::write(&file, "not a directory\n").unwrap();
    [file.clone(), file.join("below"), "/proc/self/attr".into()]
}

#[test]
fn the_data_file_of_a_daemon_has_number_2_while_nothing_can_be_recorded() {
    let Some(host) = Host::of(&["descriptors"]) else { return };
    let words = ["descriptors", "second"];
    let bare = host.run(With::Nothing, &words);
    assert_eq!(bare.seen.code, 0);
    let report = |dir: &std::path::Path| fs::read_to_string(dir.join("report")).unwrap();
    assert!(report(&bare.dir).starts_with("0 failed; the data file has 32 bytes: HEADER--PAYLOAD!PAYLOAD!PAYLOAD!"));
    for trace in unwritable(&host) {
        // `locktrace run` may refuse such a directory before it starts anything.
        let mut shell = host.command("sh");
        let (dir, _) = host.place();
        let preload = host.extension().to_owned();
        shell.env("LOCKTRACE_DIR", &trace).env("LD_PRELOAD", &preload).current_dir(&dir);
        shell.args(["-c", "exec \"$0\" second"]).arg(host.program("descriptors"));
        let (status, said) = host.finish(&mut shell);
        assert_eq!((status.and_then(|status| status.code()), &*said), (Some(0), ""), "{}", trace.display());
        assert_eq!(report(&dir), report(&bare.dir), "{}", trace.display());
        let (dir, _) = host.place();
        let traced = host.run_in(With::Extension, dir, trace.clone(), &words);
        equal(&format!("{}", trace.display()), &bare, &traced);
        assert_eq!(report(&traced.dir), report(&bare.dir), "extension, {}", trace.display());
    }
    for with in BOTH {
        let traced = host.run(with, &words);
        assert_eq!(report(&traced.dir), report(&bare.dir), "{with:?}, recorded");
        assert!(traced.records().0 > 0);
    }
}

#[test]
fn nothing_is_said_on_stderr_while_nothing_can_be_recorded() {
    let Some(host) = Host::of(&["much"]) else { return };
    let bare = host.run(With::Nothing, &["much"]);
    for trace in unwritable(&host) {
        let (dir, _) = host.place();
        let traced = host.run_in(With::Extension, dir, trace.clone(), &["much"]);
        equal(&format!("extension, {}", trace.display()), &bare, &traced);
    }
}

#[test]
fn one_descriptor_is_left_and_none_of_the_programs_opens_fails() {
    let Some(host) = Host::of(&["descriptors"]) else { return };
    host.same(&BOTH, &["descriptors", "last"]);
}

#[test]
fn no_descriptor_is_left() {
    let Some(host) = Host::of(&["descriptors"]) else { return };
    host.same(&BOTH, &["descriptors", "none"]);
}

#[test]
fn a_program_closes_every_descriptor_from_3_on() {
    let Some(host) = Host::of(&["descriptors"]) else { return };
    host.same(&BOTH, &["descriptors", "closefrom"]);
}

#[test]
fn open_gives_the_numbers_of_the_bare_program() {
    let Some(host) = Host::of(&["descriptors"]) else { return };
    host.same(&BOTH, &["descriptors", "numbers"]);
}

#[test]
fn every_number_is_a_file_of_the_program() {
    let Some(host) = Host::of(&["descriptors"]) else { return };
    host.same(&BOTH, &["descriptors", "reused"]);
}
