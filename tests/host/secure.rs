//! The place of a trace is decided neither by the environment of a set-uid program's caller nor by those who may only write SQL.

use crate::harness::{Host, With, equal, politely};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Every file below, but for what SQLite makes.
fn strange(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path.clone());
            }
            found.push(path);
        }
    }
    found.retain(|path| !path.file_name().unwrap().to_str().unwrap().starts_with("secure.db"));
    found
}

/// What a set-uid copy of secure.c prints as nobody, and what it left: its directory, and the one that the environment names.
fn set_uid(host: &Host, set_uid: bool, load: bool, variables: &[(&str, &str)]) -> Option<(String, Vec<PathBuf>)> {
    let (dir, _) = host.place();
    mode(host.home(), 0o755);
    mode(host.work(), 0o755);
    mode(&dir, 0o777);
    let program = host.home().join("secure-copy");
    fs::copy(host.program("secure"), &program).unwrap();
    mode(&program, if set_uid { 0o4755 } else { 0o755 });
    // Where anybody can read it.
    let library = host.home().join("liblocktrace.so");
    fs::copy(host.extension(), &library).unwrap();
    mode(&library, 0o755);
    let mut command = host.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program).arg(&dir);
    command.arg(if load { library.to_str().unwrap() } else { "" }).envs(variables.iter().copied());
    let (status, out) = host.finish(&mut command);
    if status.and_then(|status| status.code()) != Some(0) && out.contains("setpriv:") {
        return politely(&format!("setpriv: {out}"));
    }
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{out}");
    Some((out, strange(&dir)))
}

#[test]
fn a_set_uid_program_obeys_no_environment() {
    if unsafe { libc::geteuid() } != 0 {
        politely::<()>("only root can make a set-uid program of another user");
        return;
    }
    let Some(host) = Host::of(&["secure"]) else { return };
    let Some((bare, none)) = set_uid(&host, true, false, &[]) else { return };
    assert!(bare.starts_with("secure 1\n"), "the file system allows set-uid programs: {bare}");
    assert_eq!(none, Vec::<PathBuf>::new());
    let expected = bare.replacen("secure 1\n", "secure 1\nload 0 \n", 1);
    let hostile = host.home().join("hostile");
    let hostile = [("LOCKTRACE_DIR", hostile.to_str().unwrap()), ("LOCKTRACE_LIMIT", "256K"), ("LOCKTRACE_SQL", "text")];
    // The same program without the bit obeys: otherwise this would test nothing.
    mode(host.home(), 0o777);
    let (dir, _) = host.place();
    mode(&dir, 0o777);
    let own = dir.join("obeyed");
    let Some((out, _)) = set_uid(&host, false, true, &[("LOCKTRACE_DIR", own.to_str().unwrap())]) else { return };
    assert!(out.starts_with("secure 0\nload 0 \n") && own.is_dir(), "{out}");
    for variables in [&hostile[..], &hostile[..1], &[("LOCKTRACE_DIR", "relative")]] {
        let (out, left) = set_uid(&host, true, true, variables).unwrap();
        assert_eq!(out, expected, "{variables:?}");
        assert!(!Path::new(hostile[0].1).exists(), "root made a directory that its caller named");
        // The default's place, if any.
        let other: Vec<_> = left.iter().filter(|path| !path.to_str().unwrap().contains("/locktrace-trace")).collect();
        assert!(other.is_empty(), "{variables:?}: {other:?}");
    }
    // Nonsense there is no reason to refuse, either.
    let (out, _) = set_uid(&host, true, true, &[("LOCKTRACE_SQL", "nonsense"), ("LOCKTRACE_LIMIT", "-1")]).unwrap();
    assert_eq!(out, expected);
}

#[test]
fn a_pragma_makes_no_directory() {
    let Some(host) = Host::of(&["pragmas"]) else { return };
    let bare = host.run(With::Nothing, &["pragmas"]);
    assert!(!bare.seen.out.contains("was made"), "{}", bare.seen.out);
    for with in [With::Run, With::Extension] {
        let traced = host.run(with, &["pragmas"]);
        let _ = fs::remove_dir_all("/tmp/locktrace-test-evil");
        equal(&format!("{with:?}"), &bare, &traced);
    }
}

#[test]
fn a_set_uid_program_under_run_is_bare() {
    let Some(host) = Host::of(&["secure"]) else { return };
    if unsafe { libc::geteuid() } != 0 || !Path::new("/usr/bin/setpriv").exists() {
        politely::<()>("it takes root and setpriv");
        return;
    }
    let Some((bare, _)) = set_uid(&host, true, false, &[]) else { return };
    // The loader drops LD_PRELOAD, so that nothing is recorded; and it says nothing.
    mode(host.home(), 0o777);
    let (dir, trace) = host.place();
    mode(&dir, 0o777);
    let mut run = host.command("setpriv");
    run.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(env!("CARGO_BIN_EXE_locktrace"));
    run.args(["run", "-o"]).arg(&trace).args(["--", "sh", "-c", "exec \"$0\" \"$1\" '' >out 2>err"]);
    run.arg(host.home().join("secure-copy"))
        .arg(&dir)
        .current_dir(&dir)
        .env("XDG_CACHE_HOME", dir.join("cache"))
        .env("TMPDIR", &dir);
    if !Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "test", "-x"])
        .arg(env!("CARGO_BIN_EXE_locktrace"))
        .status()
        .is_ok_and(|status| status.success())
    {
        politely::<()>("nobody can execute the locktrace of this build");
        return;
    }
    let (status, said) = host.finish(&mut run);
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{said}");
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!((read("out"), read("err")), (bare, String::new()));
}
