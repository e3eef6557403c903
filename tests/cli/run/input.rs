//! `locktrace run` with a program into which nothing can be preloaded, and with a directory that it cannot or must not use.
//!
//! It recognises such a program before the start and runs it as it would run without us, or starts nothing at all.
#![allow(clippy::unwrap_used)]

use crate::place::{PYTHON, Place, parts};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::process::Command;

/// What it was preloaded with, on one line.
const MAIN: &str = "#include <stdio.h>\n#include <stdlib.h>\n\
    int main(void) { const char *l = getenv(\"LD_PRELOAD\"); puts(l && *l ? \"preloaded\" : \"alone\"); return 5; }\n";

/// musl's loader, unlike glibc's, gives up where a preloaded library cannot be loaded: there must be none.
#[test]
fn a_program_on_musl_starts_without_the_library() {
    let place = Place::new();
    // By its name it is musl's; that it is glibc's in truth lets the program run on a machine without musl.
    let loader = place.path("ld-musl-x86_64.so.1");
    symlink("/lib64/ld-linux-x86-64.so.2", &loader).unwrap();
    if !loader.exists() || !place.built(MAIN, &[&format!("-Wl,--dynamic-linker={}", loader.display())]) {
        return println!("skipped: no /lib64/ld-linux-x86-64.so.2, or no compiler");
    }
    let (code, out, err) = parts(&place.run(&["./main"]));
    assert_eq!((code, &*out), (Some(5), "alone\n"), "{err}");
    assert!(err.contains("runs untraced: it runs on musl"), "{err}");
}

#[test]
fn a_setuid_program_is_recognised() {
    let place = Place::new();
    if !place.built(MAIN, &[]) {
        return;
    }
    let file = place.path("main");
    if chown(&file, Some(65_534), Some(65_534)).is_err() {
        return println!("skipped: only root can give a program to another user");
    }
    for (mode, closed) in [(0o4755, true), (0o2755, true), (0o755, false)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let (code, _, err) = parts(&place.run(&["./main"]));
        assert_eq!(code, Some(5), "{err}");
        assert_eq!(err.contains("runs untraced: it is setuid or setgid"), closed, "{mode:o}: {err}");
    }
}

#[test]
fn a_script_is_its_interpreter() {
    let place = Place::new();
    if !place.built(MAIN, &["-static"]) {
        return;
    }
    std::fs::write(place.path("script"), format!("#! {} with arguments\n", place.path("main").display())).unwrap();
    std::fs::set_permissions(place.path("script"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (code, _, err) = parts(&place.run(&["./script"]));
    assert_eq!(code, Some(5));
    assert!(err.contains("./script runs untraced: it is a static program"), "{err}");
}

#[test]
fn nothing_starts_where_the_trace_cannot_go() {
    let place = Place::new();
    std::fs::write(place.path("file"), "kept").unwrap();
    for arguments in [&["run", "-o", "file", "--", "touch", "started"][..], &["run", "-o", "file/in", "--", "touch", "started"]] {
        let (code, out, err) = parts(&place.locktrace(arguments));
        assert_eq!((code, &*out), (Some(2), ""), "{arguments:?}: {err}");
        assert!(err.contains("/file"), "{err}");
        assert!(!place.path("started").exists(), "{arguments:?}");
    }
    assert_eq!(std::fs::read(place.path("file")).unwrap(), b"kept");
    // Other files in it are no trace: they are left alone, and the trace goes beside them.
    std::fs::create_dir(place.path("dir")).unwrap();
    std::fs::write(place.path("dir/other"), "kept").unwrap();
    let program = "import sqlite3; sqlite3.connect('a.db').execute('CREATE TABLE t(x)')";
    let (code, _, err) = parts(&place.locktrace(&["run", "-o", "dir", "--", PYTHON, "-c", program]));
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("records from 1 process"), "{err}");
    assert_eq!(std::fs::read(place.path("dir/other")).unwrap(), b"kept");
}

#[test]
fn without_a_command_nothing_is_run() {
    let place = Place::new();
    for arguments in [&["run"][..], &["run", "-o", "dir"], &["run", "--"]] {
        let output: std::process::Output = place.locktrace(arguments);
        let (code, out, err) = parts(&output);
        assert_eq!((code, &*out), (Some(2), ""), "{arguments:?}");
        assert!(err.contains("<CMD>"), "{err}");
    }
    assert!(!Command::new("test").arg("-e").arg(place.path("dir")).status().unwrap().success());
}
