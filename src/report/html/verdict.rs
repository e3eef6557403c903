//! The top of the page: what the application saw, the causes in order of harm with their fixes, and hazards.
#![forbid(unsafe_code)]

use super::Page;
use super::escape::{line, lines};
use super::tables::sql;
use crate::analysis::Analysis;
use crate::report::human::{count, duration};
use crate::report::ranking::{self, RankedCause};
use crate::report::style::many;
use crate::report::{verdict, words};
use maud::{Markup, html};

/// The most characters of a statement in the verdict.
const SQL: usize = 300;

pub(super) fn section(page: &Page<'_>) -> Markup {
    let analysis = &page.analysis;
    let (head, mood) = match verdict::headline(analysis) {
        Some((head, failed)) => (head, if failed > 0 { "bad" } else { "fair" }),
        None if analysis.records == 0 && analysis.has_losses() => {
            ("Every record of this trace is lost: there is nothing to report".to_owned(), "fair")
        }
        None if analysis.records == 0 => ("There are no records in this trace: there is nothing to report".to_owned(), "fair"),
        None => {
            let missing = words::missing(analysis).map_or_else(String::new, |missing| format!("; {missing}"));
            let left = format!("{}{missing}", words::since(analysis));
            let mood = if analysis.is_whole() { "good" } else { "fair" };
            match analysis.refusal_stats.refused {
                0 => (format!("No attempt to take a lock was refused{left}"), mood),
                n => (format!("{}, none of which an application sees{left}", many(n, "refused attempt")), mood),
            }
        }
    };
    html! {
        section #verdict aria-labelledby="verdict-head" {
            h2 #verdict-head class=(mood) { (head) }
            @if analysis.has_losses() {
                p.note {
                    @if analysis.records > 0 { "Records were lost. This page covers those that are left. " }
                    a href="#losses" { "What was lost" } "."
                }
            } @else if analysis.records == 0 {
                p.note { "A program leaves records once it opens a database. To find out how to trace yours: " code { "locktrace doctor -- COMMAND" } "." }
            }
            @if let Some(text) = verdict::unslept(analysis) { p.note { (text) } }
            div.causes { @for harm in ranking::causes(analysis) { (cause(page, &harm)) } }
            @if !analysis.hazards.is_empty() {
                h3 { "Hazards" }
                ul.hazards {
                    @for hazard in &analysis.hazards {
                        li {
                            strong { (hazard.kind.id()) } ": " bdi { (line(&hazard.what, 400)) }
                            @if let Some(db) = analysis.databases.get(hazard.db as usize) { " " span.dim { bdi { (super::data::database(db)) } } }
                            " " (hazard.kind.entry().fix)
                        }
                    }
                }
            }
        }
    }
}

fn cause(page: &Page<'_>, harm: &RankedCause) -> Markup {
    let analysis = &page.analysis;
    let incident = &analysis.incidents[harm.worst as usize];
    let also: Vec<&str> = incident.contributing.iter().map(|item| item.id()).collect();
    let listed = page.selection.incidents.iter().any(|listed| listed.index == harm.worst);
    html! {
        article.cause {
            h3 {
                (harm.cause.id())
                @for id in also { " " span.also { "+ " (id) } }
            }
            p.sum {
                (many(harm.count, "time"))
                @if harm.errors > 0 { ", " strong.bad { (many(harm.errors, "error")) } }
                ", " (duration(harm.waited_ns)) " waited in all"
            }
            dl {
                dt { "refused" }
                dd { (sql(words::sql(analysis, incident.who, incident.sql), SQL)) }
                @if let Some(blocker) = incident.blockers.first() {
                    @let holding = &analysis.blocking_holds[blocker.hold as usize];
                    dt { "blocked by" }
                    dd {
                        (sql(words::sql(analysis, holding.who, holding.sql), SQL))
                        div.dim {
                            bdi { (line(&words::who(analysis, holding.who, blocker.tid), 120)) } ", holding " (holding.lock) ", " (blocker.state.id())
                        }
                    }
                }
                @for outsider in words::untraced_holders(analysis, incident) {
                    dt { "blocked by" }
                    dd { bdi { (line(&outsider.to_string(), 300)) } ", outside the trace, holding " (line(&outsider.lock(), 60)) }
                }
                dt { "fix" }
                dd {
                    strong { (lines(&harm.fix.change, 1_000)) }
                    @for text in &harm.fix.more { div { (lines(text, 1_000)) } }
                }
                dt { "proof" }
                dd {
                    @if listed { a href={ "#incident-" (harm.worst + 1) } { "incident " (harm.worst + 1) } " · " }
                    code { (words::explain(analysis, harm.worst)) }
                }
            }
        }
    }
}

/// A sentence that there is none of something, as far as the trace shows.
pub(super) fn none(analysis: &Analysis<'_>, what: &str) -> Markup {
    html! {
        p {
            @match (analysis.records, analysis.has_losses()) {
                (0, false) => "Nothing was recorded.",
                (0, true) => "No record is left that could show it.",
                (_, true) => { (what) " in the records that are left." }
                (_, false) => { (what) "." }
            }
        }
    }
}

/// The few facts under the title.
pub(super) fn facts(page: &Page<'_>) -> Markup {
    let analysis = &page.analysis;
    html! {
        p.facts {
            (many(analysis.records, "record")) " of " (many(analysis.trace.logs().len() as u64, "process log"))
            " · " (many(analysis.databases.len() as u64, "database"))
            @if let Some((from, to)) = analysis.span {
                " · " (duration(to.saturating_sub(from))) " from "
                time datetime=(rfc3339(from)) { (rfc3339(from).replace('T', " ").replace('Z', " UTC")) }
            }
            " · " (count(page.counts.holds)) " holds"
        }
    }
}

fn rfc3339(ns: u64) -> String {
    humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(ns)).to_string()
}
