//! The page of `report --html`: what it says, that nothing a trace says is markup, how large it gets; and in a real browser, what it does.
//!
//! | file | idea |
//! | --- | --- |
//! | `traces` | the traces that pages are made of |
//! | `said` | what a page says, and where it is written |
//! | `extreme` | nothing at all, and far too much |
//! | `opened` | `locktrace open` |
//! | `browser`, `*.mjs` | pages in Chromium |
#![allow(clippy::unwrap_used)]
#![cfg(feature = "cli")]

mod browser;
#[path = "../common/mod.rs"]
mod common;
mod extreme;
mod opened;
#[path = "../common/packages.rs"]
#[allow(dead_code, reason = "only what installs once is used here")]
mod packages;
mod said;
mod traces;

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn locktrace(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_locktrace"));
    command.args(arguments);
    for name in ["LOCKTRACE_DIR", "CLICOLOR_FORCE", "BROWSER", "DISPLAY", "WAYLAND_DISPLAY"] {
        command.env_remove(name);
    }
    command
}

fn good(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The page of a trace directory.
fn page(dir: &Path) -> String {
    good(locktrace(&["report", dir.to_str().unwrap(), "--html", "-"]).output().unwrap())
}

/// What stands between these two, the first time.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = text.find(from).unwrap_or_else(|| panic!("no {from}")) + from.len();
    &text[start..start + text[start..].find(to).unwrap()]
}

/// The object that the script draws.
fn data(page: &str) -> Value {
    serde_json::from_str(between(page, r#"<script id="data" type="application/json">"#, "</script>")).unwrap()
}

/// Whether the page says this, tags aside.
fn says(page: &str, what: &str) -> bool {
    let mut text = String::new();
    let mut tag = false;
    for c in page[..page.find("<script").unwrap()].chars() {
        match c {
            '<' => tag = true,
            '>' => tag = false,
            c if !tag => text.push(c),
            _ => {}
        }
    }
    text.contains(what)
}
