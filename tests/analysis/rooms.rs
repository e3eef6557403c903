//! The picture of the rooms in `docs/design.md`: it has every arrow of the source, and no other.
//!
//! A room is a directory of `src` or `shim/src`, or a file directly in these. A room uses rooms on lower lines only, so no rooms use each other in a
//! circle; [`UPWARDS`] has the exceptions. An arrow between two rooms stands for all that is in them. The arrows inside a room are drawn below its name,
//! where `.` is the files of the room itself.
use crate::source::{PathAt, code, paths, without_tests};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Arrows that point upwards, and why.
const UPWARDS: [(&str, &str, &str); 1] =
    [("src/trace/jsonl", "src/trace", "a trace is read from JSON lines, and JSON lines are written from a trace")];

/// A module, from the name of its crate (`src` or `shim`) on.
type Module = Vec<String>;

/// Every module, with the path of its file.
fn modules() -> BTreeMap<Module, String> {
    fn add(dir: &str, module: &Module, out: &mut BTreeMap<Module, String>) {
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = format!("{dir}/{name}");
            let inner = |name: &str| [module.as_slice(), &[name.to_owned()]].concat();
            match name.strip_suffix(".rs") {
                None if entry.path().is_dir() && name != "tests" => add(&path, &inner(&name), out),
                Some("mod" | "lib") => drop(out.insert(module.clone(), path)),
                Some(name) if name != "tests" && name != "main" => drop(out.insert(inner(name), path)),
                _ => {}
            }
        }
    }
    let mut out = BTreeMap::new();
    add("src", &vec!["src".to_owned()], &mut out);
    add("shim/src", &vec!["shim".to_owned()], &mut out);
    out
}

/// The room of a file: its directory, or the file itself directly in `src` or `shim/src`.
fn room(file: &str) -> Vec<String> {
    let path = file.replacen("shim/src", "shim", 1);
    let mut names: Vec<String> = path.strip_suffix(".rs").unwrap().split('/').map(str::to_owned).collect();
    if names.len() > 2 {
        names.pop();
    }
    names
}

/// The module that a path in this module leads to, if it is one of ours.
fn target(path: &str, from: &Module, modules: &BTreeMap<Module, String>, exported: &BTreeMap<String, Module>) -> Option<Module> {
    let mut names: Vec<&str> = path.split("::").filter(|name| !name.is_empty()).collect();
    let mut at = match *names.first()? {
        "crate" => vec![from[0].clone()],
        "shim" if from[0] == "src" => vec!["shim".to_owned()],
        "self" => from.clone(),
        "super" => from[..from.len() - names.iter().take_while(|name| **name == "super").count()].to_vec(),
        name if modules.contains_key(&[from.as_slice(), &[name.to_owned()]].concat()) => from.clone(),
        _ => return None,
    };
    names.retain(|name| !["crate", "shim", "self", "super"].contains(name));
    if at == ["src"]
        && let Some(module) = names.first().and_then(|name| exported.get(*name))
    {
        return Some(module.clone());
    }
    for name in names {
        at.push(name.to_owned());
        if !modules.contains_key(&at) {
            at.pop();
            break;
        }
    }
    modules.contains_key(&at).then_some(at)
}

/// An arrow: the box it is drawn in (empty for the outermost), and its ends.
type Arrow = (String, String, String);

/// Where an arrow between two rooms is drawn: in the innermost room that has both.
fn arrow(from: &[String], to: &[String]) -> Option<Arrow> {
    let mut depth = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    if depth == from.len() && depth == to.len() {
        return None;
    }
    // `src` and `shim` are drawn together.
    depth = depth.max(if from[0] == to[0] { 1 } else { 0 });
    let end = |room: &[String]| if room.len() > depth { room[..=depth.max(1)].join("/") } else { ".".to_owned() };
    let within = if depth > 1 { from[..depth].join("/") } else { String::new() };
    Some((within, end(from), end(to)))
}

/// Every arrow of the source, with the first line that needs it.
fn used() -> BTreeMap<Arrow, String> {
    let modules = modules();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = |file: &str| without_tests(&code(&root.join(file))).to_owned();
    let none = BTreeMap::new();
    let exports = |(_, path): PathAt| {
        let module = target(&path, &vec!["src".to_owned()], &modules, &none)?;
        Some((path.rsplit("::").next()?.to_owned(), module)).filter(|(_, module)| module.len() > 1)
    };
    let exported: BTreeMap<String, Module> = paths(&text("src/lib.rs")).into_iter().filter_map(exports).collect();
    let mut out = BTreeMap::new();
    for (module, file) in &modules {
        if module.len() == 1 {
            continue;
        }
        for (line, path) in paths(&text(file)) {
            let Some(to) = target(&path, module, &modules, &exported).filter(|to| to.len() > 1) else { continue };
            if let Some(arrow) = arrow(&room(file), &room(&modules[&to])) {
                out.entry(arrow).or_insert_with(|| format!("{file}:{line}: {path}"));
            }
        }
    }
    out
}

/// The arrows of the picture with their lines, and for each box the order of its rooms.
fn drawn() -> (BTreeMap<Arrow, usize>, BTreeMap<String, Vec<String>>) {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/design.md")).unwrap();
    let (mut arrows, mut order) = (BTreeMap::new(), BTreeMap::<String, Vec<String>>::new());
    let mut within = String::new();
    let picture = page.lines().zip(1..).skip_while(|(line, _)| *line != "```text").skip(1).take_while(|(line, _)| *line != "```");
    for (line, number) in picture.filter(|(line, _)| !line.is_empty()) {
        let full = |name: &str| match (name, within.as_str()) {
            (".", _) => ".".to_owned(),
            (name, "") => name.to_owned(),
            (name, within) => format!("{within}/{name}"),
        };
        match line.strip_prefix("  ") {
            None => within = line.trim_end_matches(':').strip_prefix("inside ").unwrap_or_default().to_owned(),
            Some(line) => {
                let (from, uses) = line.split_once('→').unwrap_or((line, ""));
                let from = full(from.trim());
                order.entry(within.clone()).or_default().push(from.clone());
                for to in uses.split_whitespace() {
                    arrows.insert((within.clone(), from.clone(), full(to)), number);
                }
            }
        }
    }
    (arrows, order)
}

#[test]
fn the_picture_has_every_arrow_and_no_other() {
    let (used, (drawn, _)) = (used(), drawn().clone());
    let missing: Vec<String> = used
        .iter()
        .filter(|(arrow, _)| !drawn.contains_key(arrow))
        .map(|((within, from, to), place)| format!("{place}\n    needs {from} → {to} in \"{within}\""))
        .collect();
    let too_many: Vec<String> = drawn
        .iter()
        .filter(|(arrow, _)| !used.contains_key(arrow))
        .map(|((within, from, to), line)| format!("docs/design.md:{line}: nothing uses {from} → {to} in \"{within}\""))
        .collect();
    assert!(missing.is_empty() && too_many.is_empty(), "\n{}\n{}\n", missing.join("\n"), too_many.join("\n"));
    assert!(used.len() > 100, "the arrows are found: {used:?}");
}

#[test]
fn every_room_uses_rooms_on_lower_lines_only() {
    let (arrows, order) = drawn();
    let name = |within: &str, end: &str| if end == "." { within.to_owned() } else { end.to_owned() };
    let mut upwards = BTreeSet::new();
    for ((within, from, to), line) in &arrows {
        let place = |end: &str| {
            let rooms = &order[within];
            rooms
                .iter()
                .position(|room| room == end)
                .unwrap_or_else(|| panic!("docs/design.md:{line}: {end} has no line of its own"))
        };
        if place(to) <= place(from) {
            upwards.insert((name(within, from), name(within, to)));
        }
    }
    let excused: BTreeSet<(String, String)> = UPWARDS.iter().map(|(from, to, _)| ((*from).to_owned(), (*to).to_owned())).collect();
    assert_eq!(upwards, excused, "the arrows that point upwards are those with a reason");
}

#[test]
fn every_room_is_drawn() {
    let (_, order) = drawn();
    for file in modules().values().filter(|file| !file.ends_with("/lib.rs")) {
        let room = room(file);
        for depth in 2..=room.len() {
            let (within, name) = (if depth > 2 { room[..depth - 1].join("/") } else { String::new() }, room[..depth].join("/"));
            assert!(order.get(&within).is_some_and(|rooms| rooms.contains(&name)), "{file} is in {name}, which is not drawn");
        }
    }
}

#[test]
fn paths_have_their_lines() {
    let found = paths("pub use a::{b, c::{d, e as f}};\n\nuse crate::x::Y;\npub(in crate::cli) fn f() {\n    super::g::h();\n}");
    let expected = [(1, "a::b"), (1, "a::c::d"), (1, "a::c::e"), (3, "crate::x::Y"), (5, "super::g::h")];
    assert_eq!(found.iter().map(|(line, path)| (*line, path.as_str())).collect::<Vec<_>>(), expected);
}
