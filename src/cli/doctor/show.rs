//! The output of a [`Diagnosis`], as text or as one JSON object. Texts from outside are printed without control characters.
//!
//! The JSON object has `schema` (1), `version`, `command` (words, or null), `verdict`, `subject` (label → text), `libraries[]` (`path`,
//! `module`, `version`, `source_id`, `symbols`), `ways[]` (`way`, `verdict`: `works`, `may work` or `no`, `tried`, `why`, `type`: the line to
//! type), and `findings[]` (`id`, `level`: `ok`, `note`, `warning` or `problem`, `what`, `type`). An unknown value is null.
#![forbid(unsafe_code)]

use super::finding::{Diagnosis, FindingLevel};
use crate::trace::text::Clean;
use serde_json::{Map, Value, json};
use std::ffi::OsString;
use std::io::{self, Write};
use unicode_width::UnicodeWidthStr;

/// Writes text in lines of at most `width` columns. Lines to type are never broken.
pub(super) fn text(diagnosis: &Diagnosis, width: usize, out: &mut impl Write) -> io::Result<()> {
    for (label, text) in &diagnosis.subject {
        wrapped(out, &format!("{label:<10} "), text, width)?;
    }
    for library in &diagnosis.libraries {
        let version = library.version.as_deref().map_or_else(|| "of unknown version".to_owned(), str::to_owned);
        let date = library.source_id.as_deref().and_then(|id| id.get(..10)).filter(|_| library.version.is_none());
        let date = date.map_or_else(String::new, |date| format!(" (sources of {date})"));
        let module = library.module.as_ref().map_or_else(String::new, |module| format!("{module}: "));
        let text = format!("{module}{version}{date}, {}: {}", library.symbols.name(), library.path.display());
        wrapped(out, &format!("{:<10} ", "SQLite"), &text, width)?;
    }
    writeln!(out, "{}Ways in", if diagnosis.subject.is_empty() { "" } else { "\n" })?;
    for way in &diagnosis.ways {
        let tried = if way.tried { "tried: " } else { "" };
        wrapped(out, &format!("  {:<9} {:<8}  ", way.name, way.verdict.name()), &format!("{tried}{}", way.why), width)?;
        typed(out, 23, way.typed.as_deref())?;
    }
    if !diagnosis.findings.is_empty() {
        writeln!(out, "\nFindings")?;
    }
    for finding in &diagnosis.findings {
        let text = format!("{} [{}]", finding.what, finding.id);
        wrapped(
            out,
            &format!("  {:<8} ", finding.level.name()),
            if finding.level == FindingLevel::Ok { &finding.what } else { &text },
            width,
        )?;
        typed(out, 11, finding.typed.as_deref())?;
    }
    Ok(())
}

/// Writes a line to type, below its way or finding.
fn typed(out: &mut impl Write, indent: usize, line: Option<&str>) -> io::Result<()> {
    match line {
        Some(line) => writeln!(out, "{:indent$}> {}", "", Clean(line)),
        None => Ok(()),
    }
}

/// Writes a text after a label, wrapped and indented.
fn wrapped(out: &mut impl Write, label: &str, text: &str, width: usize) -> io::Result<()> {
    let clean = Clean(text).to_string();
    let indent = label.width();
    let mut line = label.to_owned();
    let mut empty = true;
    for word in clean.split(' ') {
        if !empty && line.width() + 1 + word.width() > width {
            writeln!(out, "{}", line.trim_end())?;
            line = " ".repeat(indent);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    writeln!(out, "{}", line.trim_end())
}

/// Writes one JSON object; see the module.
pub(super) fn json(diagnosis: &Diagnosis, command: &[OsString], out: &mut impl Write) -> io::Result<()> {
    let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    let subject: Map<String, Value> =
        diagnosis.subject.iter().map(|(label, text)| ((*label).to_owned(), Value::from(text.as_str()))).collect();
    let libraries: Vec<Value> = diagnosis
        .libraries
        .iter()
        .map(|library| {
            json!({
                "path": library.path.to_string_lossy(), "module": library.module, "version": library.version,
                "source_id": library.source_id, "symbols": library.symbols.name(),
            })
        })
        .collect();
    let ways: Vec<Value> = diagnosis
        .ways
        .iter()
        .map(|way| json!({"way": way.name, "verdict": way.verdict.name(), "tried": way.tried, "why": way.why, "type": way.typed}))
        .collect();
    let findings: Vec<Value> = diagnosis
        .findings
        .iter()
        .map(|found| json!({"id": found.id, "level": found.level.name(), "what": found.what, "type": found.typed}))
        .collect();
    let whole = json!({
        "schema": 1,
        "version": env!("CARGO_PKG_VERSION"),
        "command": if words.is_empty() { Value::Null } else { json!(words) },
        "verdict": diagnosis.verdict().name(),
        "subject": subject,
        "libraries": libraries,
        "ways": ways,
        "findings": findings,
    });
    serde_json::to_writer_pretty(&mut *out, &whole)?;
    out.write_all(b"\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_and_clean() {
        let mut out = Vec::new();
        wrapped(&mut out, "label ", "one two\nthree \x1b[31mfour", 14).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "label one two\n      three\n      \\u{1b}[31mfour\n");
    }
}
