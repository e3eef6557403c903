//! The floors of `src/analysis`: a file uses files of lower floors and of its own room only, and no files of a room use each other in a circle.
//!
//! The test reads the `use` lines and the paths in the code, and skips comments.
#![allow(clippy::unwrap_used)]

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

/// The code of a file, without its comments.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.find("//").map_or(line, |at| &line[..at])).collect::<Vec<_>>().join("\n")
}

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

/// The paths of a `use` tree: `a::{b, c::{d, e}}` is `a::b`, `a::c::d` and `a::c::e`.
fn expand(tree: &str, prefix: &str, out: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        return out.push(format!("{prefix}{}", tree.split(" as ").next().unwrap().trim()));
    };
    let inner = rest.trim_end().strip_suffix('}').unwrap();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[start..at].trim().is_empty() {
                    expand(inner[start..at].trim(), &format!("{prefix}{}", head.trim()), out);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// Every path in the code that may lead to a module, with the `use` lines expanded.
fn paths(code: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = String::new();
    let mut left = code;
    while let Some(at) = left.find("use ") {
        let begins = left[..at].lines().last().unwrap_or("").trim();
        let end = left[at..].find(';').map_or(left.len(), |end| at + end);
        if begins.is_empty() || begins == "pub" || begins.starts_with("pub(") {
            rest += &left[..at];
            let tree = left[at + 4..end].replace('\n', " ");
            expand(&tree, "", &mut out);
        } else {
            rest += &left[..end];
        }
        left = &left[end..];
    }
    rest += left;
    let separate = |c: char| !(c.is_alphanumeric() || c == '_' || c == ':');
    out.extend(rest.split(separate).filter(|word| word.contains("::")).map(str::to_owned));
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
        paths(code).iter().filter_map(|path| target(path, from, &modules)).filter(|to| to != from).collect()
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

#[test]
fn paths_are_found() {
    let found = paths("pub use a::{b, c::{d, e as f}};\nuse crate::analysis::x::Y;\nfn f() { super::g::h(); }");
    assert_eq!(found, ["a::b", "a::c::d", "a::c::e", "crate::analysis::x::Y", "super::g::h"]);
}
