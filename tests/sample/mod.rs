//! Samples of output in the README and in `docs/`: each is what a program of a test printed, except for numbers, times and places.
//!
//! A comment in front of its block names a sample (`<!-- sample: verdict -->`). `UPDATE_EXPECTED=1` writes each block that differs again; use it with
//! `--test-threads=1`, because samples share a file.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)] // Each test binary uses its own part.

use std::path::{Path, PathBuf};

/// The README and the pages of `docs/`.
pub fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    pages.sort();
    pages.insert(0, root.join("README.md"));
    pages
}

/// A fenced block.
pub struct Block {
    pub page: PathBuf,
    /// What the comment in front of it calls it.
    pub sample: Option<String>,
    /// The word behind the fence.
    pub language: String,
    /// The number of its first line, from 1 on.
    pub line: usize,
    pub text: String,
}

/// Every fenced block of every page.
pub fn blocks() -> Vec<Block> {
    pages().iter().flat_map(|page| blocks_of(page)).collect()
}

fn blocks_of(page: &Path) -> Vec<Block> {
    let text = std::fs::read_to_string(page).unwrap();
    let mut blocks: Vec<Block> = Vec::new();
    let (mut open, mut before) = (false, "");
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(language) = line.strip_prefix("```") {
            open = !open;
            if open {
                let sample = before.strip_prefix("<!-- sample: ").and_then(|rest| rest.strip_suffix(" -->"));
                let (sample, language) = (sample.map(str::to_owned), language.to_owned());
                blocks.push(Block { page: page.to_owned(), sample, language, line: number + 1, text: String::new() });
            }
        } else if open && let Some(block) = blocks.last_mut() {
            block.text += line;
            block.text += "\n";
        }
        before = line;
    }
    assert!(!open, "{}: a block is not closed", page.display());
    blocks
}

/// Compares what was printed with the sample of this name.
pub fn compare(name: &str, printed: &str) {
    let is = |block: &&Block| block.sample.as_deref() == Some(name);
    let block = blocks().into_iter().find(|block| is(&block)).unwrap_or_else(|| panic!("no page has a sample {name}"));
    if same(&block.text, printed) {
        return;
    }
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        let text = std::fs::read_to_string(&block.page).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let (first, last) = (block.line - 1, block.line - 1 + block.text.lines().count());
        let new = [&lines[..first], &printed.trim_end().lines().collect::<Vec<_>>(), &lines[last..]].concat();
        return std::fs::write(&block.page, new.join("\n") + "\n").unwrap();
    }
    panic!(
        "{}:{}: sample {name}: UPDATE_EXPECTED=1 writes it again\n--- there\n{}\n--- printed\n{printed}\n--- compared as\n{}\n{}",
        block.page.display(),
        block.line,
        block.text,
        plain(&block.text),
        plain(printed)
    );
}

fn same(a: &str, b: &str) -> bool {
    plain(a) == plain(b)
}

/// A text without what differs from run to run: numbers with their units, hashes, and how lines are broken.
pub fn plain(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut out: Vec<String> = Vec::new();
    for word in words {
        let is_unit = matches!(word.trim_end_matches([',', ';', ')', ':', '"']), "ns" | "µs" | "ms" | "s" | "min" | "h");
        if is_unit && out.last().is_some_and(|last| last.ends_with('#')) {
            out.push(format!("T{}", word.trim_start_matches(|c: char| c.is_alphabetic())));
            continue;
        }
        out.push(numbers(word));
    }
    out.join(" ")
}

fn numbers(word: &str) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(c) = rest.chars().next() {
        let hash = rest.len() >= 16 && rest.bytes().take(16).all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if hash {
            out.push('H');
            rest = &rest[16..];
        } else if c.is_ascii_digit() {
            out.push('#');
            let end = rest.find(|c: char| !c.is_ascii_digit() && !".,:-".contains(c)).unwrap_or(rest.len());
            // What ends a sentence is none of the number.
            let number = rest[..end].trim_end_matches([',', '.', ':', '-']).len();
            rest = &rest[number..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}
