//! Every dependency that is built into the command or the library: its licence allows what ours allow, and it builds with the oldest Rust that we name.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Licences that ask for no more than their text.
const ALLOWED: [&str; 9] =
    ["MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib", "Unlicense", "CC0-1.0", "Unicode-3.0"];

/// Whether an SPDX expression can be met: of alternatives one, of what is joined by `AND` each.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace(['(', ')'], "").replace('/', " OR ");
    expression.split(" AND ").all(|part| part.split(" OR ").any(|one| ALLOWED.contains(&one.trim())))
}

/// The packages that a build of the workspace needs, and no test alone.
fn built_in() -> Vec<Value> {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let nodes: BTreeMap<String, &Value> =
        metadata["resolve"]["nodes"].as_array().unwrap().iter().map(|node| (text(&node["id"]), node)).collect();
    let mut wanted: Vec<String> = metadata["workspace_members"].as_array().unwrap().iter().map(text).collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = wanted.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        for dependency in nodes[&id]["deps"].as_array().unwrap() {
            // `null` is an ordinary dependency; `dev` is for tests.
            if dependency["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"] != "dev") {
                wanted.push(text(&dependency["pkg"]));
            }
        }
    }
    assert!(seen.len() > 50, "{seen:?}");
    metadata["packages"].as_array().unwrap().iter().filter(|package| seen.contains(&text(&package["id"]))).cloned().collect()
}

#[test]
fn every_dependency_may_be_given_away() {
    let refused: Vec<String> = built_in()
        .iter()
        .filter(|package| !is_allowed(package["license"].as_str().unwrap_or_default()))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

/// clippy's `incompatible_msrv` looks at our own code.
#[test]
fn every_dependency_builds_with_our_oldest_rust() {
    let number = |version: &str| -> Vec<u32> { version.split('.').map(|part| part.parse().unwrap()).collect() };
    let ours = number(env!("CARGO_PKG_RUST_VERSION"));
    let newer: Vec<String> = built_in()
        .iter()
        .filter(|package| package["rust_version"].as_str().is_some_and(|theirs| number(theirs) > [&*ours, &[0]].concat()))
        .map(|package| format!("{} {} needs Rust {}", package["name"], package["version"], package["rust_version"]))
        .collect();
    assert!(newer.is_empty(), "{newer:#?}");
}

#[test]
fn expressions_are_understood() {
    assert!(is_allowed("MIT OR GPL-3.0") && is_allowed("Unlicense/MIT") && is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(!is_allowed("CDDL-1.0") && !is_allowed("MIT AND GPL-3.0") && !is_allowed(""));
}
