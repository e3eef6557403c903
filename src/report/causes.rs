//! The section about each identifier: what it means, what proves it, the fix and its limits. `locktrace explain --cause` prints one section,
//! and `docs/causes.md` has all of them.
#![forbid(unsafe_code)]

use super::framework_fixes;
use super::style::{paragraph, wrapped};
use crate::analysis::causes::remedy::Remedy;
use crate::analysis::framework::Framework;
use crate::analysis::{Cause, Contributing, HazardKind};
use std::io::{self, Write};

/// A part of a section.
enum Part {
    Text(String),
    /// A heading, and the text below it.
    Under(&'static str, String),
    /// A heading, and a list.
    List(&'static str, Vec<String>),
    /// A heading, and lines that are shown unchanged.
    Code(&'static str, &'static str),
}

/// A section.
struct Section {
    /// What the identifier names: a cause, a contributing cause or a hazard.
    kind: &'static str,
    parts: Vec<Part>,
    /// The program of `tests/scenarios` that shows it.
    scenario: &'static str,
}

/// All identifiers: causes, contributing causes, hazards. An identifier of two kinds is listed once.
pub fn ids() -> Vec<&'static str> {
    let causes = Cause::ALL.iter().map(|cause| cause.id());
    let contributing = Contributing::ALL.iter().map(|item| item.id()).filter(|id| Cause::ALL.iter().all(|cause| cause.id() != *id));
    causes.chain(contributing).chain(HazardKind::ALL.iter().map(|kind| kind.id())).collect()
}

fn sections(id: &str) -> Vec<Section> {
    let cause = Cause::ALL.iter().filter(|cause| cause.id() == id).map(|cause| of_cause(*cause));
    let contributing = Contributing::ALL.iter().filter(|item| item.id() == id).map(|item| of_contributing(*item));
    let hazard = HazardKind::ALL.iter().filter(|kind| kind.id() == id).map(|kind| of_hazard(*kind));
    cause.chain(contributing).chain(hazard).collect()
}

fn of_cause(cause: Cause) -> Section {
    let entry = cause.entry();
    let mut parts = vec![Part::Text(entry.meaning.to_owned())];
    let conditions: Vec<String> = entry.conditions.iter().map(|condition| condition.what.to_owned()).collect();
    if !conditions.is_empty() {
        parts.push(Part::List("What the trace shows", conditions));
    }
    parts.push(Part::Under(
        "Fix",
        [entry.change, entry.then, entry.why].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" "),
    ));
    if let Some(remedy) = entry.remedy {
        let settings = Framework::ALL.iter().filter(|framework| **framework != Framework::Rust);
        let settings = settings.filter_map(|framework| framework_fixes::of(*framework, remedy));
        parts.push(Part::List(
            match remedy {
                Remedy::Immediate => "How to start with BEGIN IMMEDIATE",
                Remedy::Timeout => "How to set the busy timeout",
                Remedy::Wal => "How to switch to WAL",
            },
            settings.map(|setting| [setting.change, setting.note].join(" ").trim_end().to_owned()).collect(),
        ));
    }
    let limits = [entry.timeout, entry.remedy.and_then(Remedy::limits).unwrap_or_default()];
    parts.push(Part::Under("Limits", limits.join(" ").trim_end().to_owned()));
    parts.push(Part::Code("Example", entry.example));
    Section { kind: "cause", parts, scenario: entry.scenario }
}

fn of_contributing(contributing: Contributing) -> Section {
    let entry = contributing.entry();
    let mut parts = vec![Part::Text(entry.meaning.to_owned())];
    if let Some(advice) = entry.advice {
        parts.push(Part::Under("Fix", advice.replace("{holder}", "the holder").replace("{hold}", "the hold")));
    }
    Section { kind: "contributing cause: it makes an incident worse", parts, scenario: entry.scenario }
}

fn of_hazard(kind: HazardKind) -> Section {
    let entry = kind.entry();
    let parts = vec![Part::Text(entry.meaning.to_owned()), Part::Under("Fix", entry.fix.to_owned())];
    Section { kind: "hazard: found even if nothing was refused", parts, scenario: entry.scenario }
}

/// Writes the sections about an identifier, for a terminal. Returns whether the identifier exists.
///
/// # Errors
/// The errors of `out`.
pub fn write(id: &str, width: usize, out: &mut impl Write) -> io::Result<bool> {
    let sections = sections(id);
    for (place, section) in sections.iter().enumerate() {
        if place > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{id} ({})", section.kind)?;
        for part in &section.parts {
            writeln!(out)?;
            match part {
                Part::Text(text) => paragraph(out, "", text, width)?,
                Part::Under(head, text) => {
                    writeln!(out, "{head}")?;
                    paragraph(out, "  ", text, width)?;
                }
                Part::List(head, items) => {
                    writeln!(out, "{head}")?;
                    for item in items {
                        for (place, line) in wrapped("    ", item, width).iter().enumerate() {
                            writeln!(out, "{}{}", if place == 0 { "  - " } else { "    " }, line.get(4..).unwrap_or_default())?;
                        }
                    }
                }
                Part::Code(head, text) => {
                    writeln!(out, "{head}")?;
                    text.lines().try_for_each(|line| writeln!(out, "  {line}"))?;
                }
            }
        }
    }
    Ok(!sections.is_empty())
}

/// All sections in Markdown: the text of `docs/causes.md`.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Causes, contributing causes and hazards\n\n\
         Every incident has exactly one cause. Contributing causes made it worse. Hazards are found even if nothing was refused.\n\
         `locktrace explain --cause NAME` prints a section of this page.\n\n\
         In the examples, `A`, `B` and `C` are connections; each line is one call, from top to bottom.\n",
    );
    for id in ids() {
        out += &format!("\n## {id}\n");
        for section in sections(id) {
            out += &format!("\n*{}*\n", section.kind);
            for part in &section.parts {
                out += &match part {
                    Part::Text(text) => format!("\n{text}\n"),
                    Part::Under(head, text) => format!("\n**{head}.** {text}\n"),
                    Part::List(head, items) => format!("\n**{head}:**\n\n* {}\n", items.join("\n* ")),
                    Part::Code(head, text) => format!("\n**{head}:**\n\n```text\n{text}\n```\n"),
                };
            }
            let scenario = section.scenario;
            out += &format!("\nExample program: [tests/scenarios/{scenario}](../tests/scenarios/{scenario}).\n");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_whole() {
        for id in ids() {
            for section in sections(id) {
                let scenario = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios").join(section.scenario);
                assert!(scenario.is_file(), "{id}: {}", scenario.display());
                for part in section.parts {
                    let empty = match part {
                        Part::Text(text) | Part::Under(_, text) => text.is_empty(),
                        Part::List(_, items) => items.is_empty() || items.iter().any(String::is_empty),
                        Part::Code(_, text) => text.is_empty(),
                    };
                    assert!(!empty, "{id}");
                }
            }
        }
    }
}
