//! The bundled SQLite as a shared library, for programs that do not bring their own: a directory with `libsqlite3.so.0` and `sqlite3.o`, compiled
//! once from the source that cargo has.

use crate::packages::{once, skipped, succeed};
use crate::place::text;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where cargo has the source of the bundled SQLite, which is also where there is always a header.
pub fn source() -> PathBuf {
    // Of this platform only: what others need was never downloaded.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let arguments = ["metadata", "--format-version", "1", "--offline", "--filter-platform", &platform];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut packages = metadata["packages"].as_array().unwrap().iter();
    let package = packages.find(|package| package["name"] == "libsqlite3-sys").expect("rusqlite depends on it");
    Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().join("sqlite3")
}

/// Where `libsqlite3.so.0` and `sqlite3.o` are, or nothing, which has been said.
pub fn library() -> Option<PathBuf> {
    let source = source();
    let with = "-fPIC -g0 -O1 -DSQLITE_ENABLE_UNLOCK_NOTIFY -DSQLITE_ENABLE_PREUPDATE_HOOK -DSQLITE_ENABLE_API_ARMOR -DSQLITE_THREADSAFE=1";
    let made_from = format!("{}\n{with}\n", source.display());
    let made = once("sqlite", made_from.as_bytes(), &["test", "-s", "libsqlite3.so.0", "-a", "-s", "sqlite3.o"], |home| {
        let cc = format!(
            "cc {with} -c -o sqlite3.o {}/sqlite3.c && cc -shared -Wl,-soname,libsqlite3.so.0 -o libsqlite3.so.0 sqlite3.o -lm",
            source.display()
        );
        succeed(Command::new("timeout").args(["300", "sh", "-c", &cc]).current_dir(home))
    });
    made.map_err(|why| skipped(&format!("the bundled SQLite cannot be compiled here: {why}"))).ok()
}
