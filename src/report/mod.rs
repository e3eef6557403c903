//! The reports: the findings of an analysis for people ([`text`], `html`) and for programs ([`json`]), and single records ([`record`]).
//!
//! Only the reports have units. The analysis counts in instants.
#![forbid(unsafe_code)]

pub mod causes;
pub mod explain;
pub mod fix;
pub mod framework_fixes;
#[cfg(feature = "cli")]
pub mod html;
pub mod human;
pub mod json;
pub mod ranking;
pub mod record;
pub mod style;
pub mod summary;
pub mod text;
mod verdict;
pub mod words;

use crate::trace::Tally;

/// The records of a log that could not be read, in words.
pub fn losses(tally: &Tally) -> String {
    let parts = [
        (tally.overwritten, "overwritten by later ones"),
        (tally.lost, "never written (the disk was full, or the log not open yet)"),
        (tally.empty, "claimed but not written"),
        (tally.torn, "torn"),
        (tally.missing, "missing from the file"),
    ];
    let parts: Vec<String> = parts.iter().filter(|part| part.0 > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if parts.is_empty() {
        return format!("all {} records read", tally.read);
    }
    format!("{} of {} records read; {}", tally.read, tally.head, parts.join(", "))
}
