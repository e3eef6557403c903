//! Go and Rust: the system's library, or a SQLite inside the program.

use super::row::{Row, Sql};
use crate::bundled;
use crate::packages::{once, skipped, succeed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the programs are.
const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ecosystem/reach/programs");
/// Where Debian has go-sqlite3, without SQLite's source.
const MATTN: &str = "/usr/share/gocode/src/github.com/mattn/go-sqlite3";

/// The directory with the programs `shared`, and `inside` and `stripped`, which have the SQLite that cargo has; or nothing, which has been said.
fn go() -> Option<PathBuf> {
    let source = bundled::source();
    let program = fs::read(Path::new(PROGRAMS).join("mattn.go")).unwrap();
    let made_from = [&program[..], source.to_str().unwrap().as_bytes()].concat();
    let make = |home: &Path| {
        let script = format!(
            "set -e
            package=inside-path/src/github.com/mattn/go-sqlite3
            rm -rf inside-path && mkdir -p $package
            cp {MATTN}/*.go {MATTN}/*.c {MATTN}/*.h $package/
            rm $package/sqlite3_libsqlite3.go $package/*_test.go
            cp {source}/sqlite3.c $package/sqlite3-binding.c
            cp {source}/sqlite3.h $package/sqlite3-binding.h
            export GO111MODULE=off GOCACHE=$PWD/cache GOFLAGS=-p=1 CGO_CFLAGS='-O1 -g0'
            GOPATH=/usr/share/gocode nice go build -o shared {PROGRAMS}/mattn.go
            export GOPATH=$PWD/inside-path
            nice go build -o inside {PROGRAMS}/mattn.go
            nice go build -ldflags '-s -w' -o stripped {PROGRAMS}/mattn.go",
            source = source.display()
        );
        succeed(Command::new("timeout").args(["400", "sh", "-c", &script]).current_dir(home))
    };
    let made = once("reach-go", &made_from, &["test", "-x", "shared", "-a", "-x", "stripped"], make);
    let why = "a Go program cannot be built here (Debian: golang-go, golang-github-mattn-go-sqlite3-dev)";
    made.map_err(|error| skipped(&format!("{why}: {error}"))).ok()
}

fn go_program(name: &str) {
    let Some(home) = go() else { return };
    Row::new(&[]).refused_and_known(&[home.join(name).to_str().unwrap()], Sql::Text);
}

#[test]
fn go_mattn_with_the_systems_library() {
    go_program("shared");
}

#[test]
fn go_mattn_with_sqlite_inside() {
    go_program("inside");
}

#[test]
fn go_mattn_with_sqlite_inside_stripped() {
    go_program("stripped");
}

/// The directory with the programs `refused` and `stripped`, for which cargo needs nothing but what this workspace has.
fn rust() -> PathBuf {
    let manifest = r#"[package]
name = "refused"
version = "0.0.0"
edition = "2024"
[[bin]]
name = "refused"
path = "main.rs"
[dependencies]
rusqlite = { version = "*", features = ["bundled"] }
[profile.dev]
opt-level = 1
debug = false
[workspace]
"#;
    let program = fs::read_to_string(Path::new(PROGRAMS).join("rusqlite.rs")).unwrap();
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let sqlite = bundled::source();
    let made_from = format!("{manifest}{program}{}", sqlite.display());
    let make = |home: &Path| {
        for (name, text) in [("Cargo.toml", manifest), ("Cargo.lock", &*lock), ("main.rs", &*program)] {
            fs::write(home.join(name), text).map_err(|error| format!("{name}: {error}"))?;
        }
        let mut cargo = Command::new("nice");
        cargo.args(["timeout", "400", env!("CARGO"), "build", "--quiet", "--offline", "--target-dir", "target"]).current_dir(home);
        succeed(cargo.env_remove("RUSTFLAGS"))?;
        let copy = "cp target/debug/refused refused && strip -o stripped refused";
        succeed(Command::new("sh").args(["-c", copy]).current_dir(home))
    };
    once("reach-rust", made_from.as_bytes(), &["test", "-x", "refused", "-a", "-x", "stripped"], make).unwrap()
}

#[test]
fn rusqlite_bundled() {
    Row::new(&[]).refused_and_known(&[rust().join("refused").to_str().unwrap()], Sql::Text);
}

#[test]
fn rusqlite_bundled_stripped() {
    Row::new(&[]).refused_and_known(&[rust().join("stripped").to_str().unwrap()], Sql::Text);
}
