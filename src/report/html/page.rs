//! The frame of the page: head, policy, sections, data and script.
#![forbid(unsafe_code)]

use super::{Page, charts, escape, tables, verdict};
use crate::report::human::count;
use crate::report::style::many;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};
use std::io::{self, Write};

const STYLE: &str = include_str!("page.css");
/// The script, joined from several files. Each file uses what the ones before it declare.
const SCRIPT: &str = concat!(
    "\"use strict\";\n(() => {\n",
    include_str!("timeline/model.js"),
    include_str!("timeline/view.js"),
    include_str!("timeline/paint.js"),
    include_str!("timeline/draw.js"),
    include_str!("timeline/arrows.js"),
    include_str!("timeline/find.js"),
    include_str!("timeline/details.js"),
    include_str!("timeline/incidents.js"),
    include_str!("timeline/input.js"),
    include_str!("timeline/main.js"),
    "})();\n"
);

pub(super) fn write(page: &Page<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut data = Vec::new();
    escape::json(&page.data, &mut data)?;
    let data = String::from_utf8(data).map_err(io::Error::other)?;
    out.write_all(whole(page, &data).into_string().as_bytes())?;
    out.write_all(b"\n")
}

/// The page's policy allows only this style and this script: no network, no form, no frame, no other script.
fn policy() -> String {
    let hash = |text: &str| base64(&Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= three.len() { letter as char } else { '=' });
        }
    }
    out
}

fn whole(page: &Page<'_>, data: &str) -> Markup {
    let title = page.analysis.databases.first().map_or_else(
        || "locktrace".to_owned(),
        |db| {
            let path = super::data::database(db);
            format!("locktrace: {}", path.rsplit('/').next().unwrap_or(&path))
        },
    );
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#incidents" { "Skip to the incidents" }
                header {
                    h1 { "locktrace" }
                    (verdict::facts(page))
                    nav aria-label="Parts of this page" {
                        @for (id, name) in PARTS { a href={ "#" (id) } { (name) } }
                    }
                }
                main {
                    (verdict::section(page))
                    (timeline(page))
                    (tables::incidents(page))
                    (tables::matrix(page))
                    (charts::distributions(page))
                    (charts::section(page))
                    (tables::databases(page))
                    (tables::account(page))
                }
                script type="application/json" #data { (PreEscaped(data)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

const PARTS: [(&str, &str); 8] = [
    ("verdict", "Verdict"),
    ("timeline", "Timeline"),
    ("incidents", "Incidents"),
    ("matrix", "Who blocks whom"),
    ("distributions", "Distributions"),
    ("load", "Over time"),
    ("databases", "Databases"),
    ("losses", "Losses"),
];

/// The section that the script fills, with a note for readers without a script.
fn timeline(page: &Page<'_>) -> Markup {
    html! {
        section #timeline aria-labelledby="timeline-head" {
            h2 #timeline-head { "Timeline" }
            @if page.data.is_empty() { (verdict::none(&page.analysis, "No lock was held, and none was refused")) }
            noscript { p.note { "The timeline needs JavaScript. The incidents below give the same in words." } }
            @let unlisted = page.selection.unlisted;
            @if !page.counts.complete || unlisted > 0 {
                p.note {
                    @if unlisted > 0 {
                        "Of " (many(page.selection.incidents.len() as u64 + unlisted, "incident")) " the " (count(page.selection.incidents.len() as u64)) " worst are drawn. "
                    }
                    @if !page.counts.complete { "Not every hold is drawn one by one: " a href="#about" { "what this page shows" } "." }
                }
            }
            div #tools hidden {
                label { "Search SQL " input #search type="search" autocomplete="off" spellcheck="false" placeholder="update stock"; }
                label { "Cause " select #by-cause { option value="" { "all" } } }
                label { "Database " select #by-database { option value="" { "all" } } }
                label { "Process " select #by-process { option value="" { "all" } } }
                span.buttons role="group" aria-label="Zoom" {
                    button #zoom-out type="button" aria-label="Zoom out" { "−" }
                    button #zoom-in type="button" aria-label="Zoom in" { "+" }
                    button #whole type="button" { "Whole trace" }
                }
                span.buttons role="group" aria-label="Incidents" {
                    button #previous type="button" { "‹ Previous" }
                    button #next type="button" { "Next ›" }
                }
                span #found role="status" {}
            }
            div #stage hidden {
                div #rows {
                    canvas #canvas tabindex="0" role="application" aria-roledescription="timeline" aria-label="Timeline of locks" aria-describedby="keys" {}
                }
                div #tip hidden {}
            }
            div #legend hidden {}
            p #keys.dim hidden {
                "Wheel (after a click, or with Ctrl) or pinch zooms, dragging moves. Keys: + and − zoom, ← → move, Home shows the whole trace"
                @if page.selection.incidents.is_empty() { ", Escape clears the selection." }
                @else { ", ↑ ↓ go from incident to incident, Enter goes to the incident in the list, Escape clears the selection." }
            }
            div #details hidden tabindex="-1" role="region" aria-label="What is selected" {}
            div.sr #said role="status" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_known_bytes() {
        for (bytes, text) in [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (b"foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes), text);
        }
    }
}
