//! The floors of `src/analysis`: a file uses files of lower floors and of its own room only, and no files of a room use each other in a circle.
//!
//! The test reads the `use` lines and the paths in the code, and skips comments.
#![allow(clippy::unwrap_used)]

use crate::source::{code, paths};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The rooms (directories, or files beside them), from the lowest floor up. Rooms of one floor do not use each other.
const FLOORS: [&[&str]; 8] = [
    &["order", "framework"],
    &["locks"],
    &["waits", "audit", "observer"],
    &["causes", "current"],
    &["incidents"],
    &["findings"],
    &["pass"],
    &[""],
];

/// A module of the analysis, as names from the analysis on; empty for the analysis itself.
type Module = Vec<String>;

/// Every module with its code.
fn modules() -> BTreeMap<Module, String> {
    fn add(dir: &Path, module: &Module, out: &mut BTreeMap<Module, String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                add(&path, &[module.as_slice(), &[name]].concat(), out);
            } else if name == "mod" {
                out.insert(module.clone(), code(&path));
            } else {
                out.insert([module.as_slice(), &[name]].concat(), code(&path));
            }
        }
    }
    let mut out = BTreeMap::new();
    add(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/analysis"), &Vec::new(), &mut out);
    out
}

/// The module that a path in this module leads to; `None` where it leads out of the analysis.
fn target(path: &str, from: &Module, modules: &BTreeMap<Module, String>) -> Option<Module> {
    let mut names: Vec<&str> = path.split("::").filter(|name| !name.is_empty()).collect();
    let mut at = if path.starts_with("crate::analysis") {
        names.drain(..2);
        Vec::new()
    } else if names.first() == Some(&"super") {
        names.remove(0);
        // `super::*` and the like in the tests of a file lead to the file itself.
        if names.first() == Some(&"*") {
            return None;
        }
        from[..from.len().checked_sub(1)?].to_vec()
    } else if modules.contains_key(&[from.as_slice(), &[(*names.first()?).to_owned()]].concat()) {
        from.clone()
    } else {
        return None;
    };
    for name in names {
        at.push(name.to_owned());
        if !modules.contains_key(&at) {
            at.pop();
            break;
        }
    }
    Some(at)
}

fn floor(module: &Module) -> usize {
    let room = module.first().map_or("", String::as_str);
    FLOORS.iter().position(|floor| floor.contains(&room)).unwrap_or_else(|| panic!("{room} stands on no floor"))
}

/// For each module, those that it uses.
fn arrows() -> BTreeMap<Module, BTreeSet<Module>> {
    let modules = modules();
    let used = |from: &Module, code: &str| -> BTreeSet<Module> {
        paths(code).iter().filter_map(|(_, path)| target(path, from, &modules)).filter(|to| to != from).collect()
    };
    modules.iter().map(|(from, code)| (from.clone(), used(from, code))).collect()
}

#[test]
fn no_arrow_points_upwards() {
    for (from, used) in arrows() {
        for to in used {
            let room = |module: &Module| module.first().cloned().unwrap_or_default();
            assert!(room(&from) == room(&to) || floor(&to) < floor(&from), "{} uses {}", from.join("::"), to.join("::"));
        }
    }
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let mut arrows = arrows();
    assert!(arrows.len() > 40 && arrows.values().map(BTreeSet::len).sum::<usize>() > 100, "the arrows are found: {arrows:?}");
    // Takes away those that use nothing that is left, and those that nothing uses, until only circles are left.
    loop {
        let used: BTreeSet<Module> = arrows.values().flatten().cloned().collect();
        let before = arrows.len();
        arrows.retain(|module, uses| !uses.is_empty() && used.contains(module));
        let left: BTreeSet<Module> = arrows.keys().cloned().collect();
        arrows.values_mut().for_each(|uses| uses.retain(|module| left.contains(module)));
        if arrows.len() == before {
            break;
        }
    }
    assert!(arrows.is_empty(), "in a circle: {arrows:?}");
}
