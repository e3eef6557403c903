//! Escapes for texts of a trace in the page: text without control characters, and JSON that cannot end its `script` element.
#![forbid(unsafe_code)]

use crate::trace::text::Clean;
use serde::Serialize;
use serde_json::ser::Formatter;
use std::io::{self, Write};

/// A text on one line, cut to this many characters.
pub(super) fn line(text: &str, most: usize) -> String {
    shown(text, most, |text| Clean(text).to_string())
}

/// A statement with its line breaks, cut to this many characters. The caller shows the full length.
pub(super) fn lines(text: &str, most: usize) -> String {
    shown(text, most, |text| text.lines().map(|line| Clean(line).to_string()).collect::<Vec<_>>().join("\n"))
}

/// The first `most` characters: some statements are a megabyte long.
fn beginning(text: &str, most: usize) -> &str {
    match text.char_indices().nth(most) {
        Some((at, _)) => &text[..at],
        None => text,
    }
}

fn shown(text: &str, most: usize, clean: impl Fn(&str) -> String) -> String {
    let start = beginning(text, most);
    let clean = clean(start);
    let kept = beginning(&clean, most);
    if start.len() < text.len() || kept.len() < clean.len() { format!("{kept}…") } else { clean }
}

/// Writes JSON for the inside of a `script` element: no part of it is markup or the end of a line of script.
pub(super) fn json(value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(out, Inert);
    value.serialize(&mut serializer).map_err(io::Error::from)
}

struct Inert;

impl Formatter for Inert {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        let mut rest = text;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (before, from) = rest.split_at(at);
            out.write_all(before.as_bytes())?;
            let mut chars = from.chars();
            if let Some(c) = chars.next() {
                write!(out, "\\u{:04x}", c as u32)?;
            }
            rest = chars.as_str();
        }
        out.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_holds_no_markup_and_reads_back() {
        let hostile = "</script><!--<script>&amp;\u{2028}\u{2029}\"'\\\n]]>é";
        let mut out = Vec::new();
        json(&[hostile], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains(['<', '>', '&', '\u{2028}', '\u{2029}', '\n']), "{text}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), [hostile]);
    }

    #[test]
    fn text_is_cut_and_cleaned() {
        assert_eq!(line("SELECT\n\t1\u{202e}", 100), "SELECT 1\\u{202e}");
        assert_eq!(line(&"é".repeat(1_000_000), 3), "ééé…");
        assert_eq!(lines("SELECT 1,\n       2\r\n\x1b[2J", 100), "SELECT 1,\n       2\n\\u{1b}[2J");
    }
}
