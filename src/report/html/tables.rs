//! The tables of the page: incidents, which statement blocks which, the locks of each database, losses, and what the page leaves out.
#![forbid(unsafe_code)]

use super::Page;
use super::data;
use super::escape::{line, lines};
use super::selection::Listed;
use super::time::Unit;
use super::verdict::none;
use crate::analysis::{Database, Distribution, LockId};
use crate::report::human::{count, duration, known};
use crate::report::ranking::{self, BlockingPair};
use crate::report::style::many;
use crate::report::{losses, words};
use maud::{Markup, html};

/// How many incidents are laid out before the timeline is drawn.
const AT_ONCE: usize = 50;
/// How many statements are on each side of the matrix.
const MATRIX: usize = 10;
/// How many databases have a table.
const DATABASES: usize = 40;
/// How many lines about losses are shown.
const LOSSES: usize = 200;

/// A statement, or a remark that none is known.
pub(super) fn sql(text: Option<String>, most: usize) -> Markup {
    match text {
        Some(text) => html! {
            code.sql { bdi { (lines(&text, most)) } }
            @if text.chars().nth(most).is_some() { span.dim { " (" (count(text.len() as u64)) " bytes)" } }
        },
        None => html! { span.dim { "no statement known" } },
    }
}

/// The list of incidents: the timeline in words.
pub(super) fn incidents(page: &Page<'_>) -> Markup {
    let selection = &page.selection;
    html! {
        section #incidents aria-labelledby="incidents-head" {
            h2 #incidents-head { "Incidents" }
            @if selection.unlisted > 0 {
                p.note {
                    "The " (count(selection.incidents.len() as u64)) " worst are listed, some of each cause among them: errors first, then the longest waits. "
                    (count(selection.unlisted)) " more are in the sums above and in " code { "locktrace report --json --all" } "."
                }
            }
            @if selection.incidents.is_empty() {
                (none(&page.analysis, "No refusal that an application could see"))
            } @else {
                p.note #incidents-shown aria-live="polite" {}
                div.scroll tabindex="0" role="region" aria-label="List of incidents" {
                    table.incidents {
                        thead { tr {
                            th scope="col" { "#" } th scope="col" { "when" } th scope="col" { "why" } th scope="col" { "lock" }
                            th scope="col" { "waited" } th scope="col" { "outcome" } th scope="col" { "refused" } th scope="col" { "blocked by" }
                        } }
                        // Entries far down are laid out after the timeline (timeline/model.js).
                        @let (first, later) = selection.incidents.split_at(selection.incidents.len().min(AT_ONCE));
                        tbody { @for listed in first { (incident(page, listed)) } }
                        @if !later.is_empty() { tbody.later { @for listed in later { (incident(page, listed)) } } }
                    }
                }
            }
        }
    }
}

fn incident(page: &Page<'_>, listed: &Listed) -> Markup {
    let analysis = &page.analysis;
    let incident = &analysis.incidents[listed.index as usize];
    let number = listed.index + 1;
    html! {
        tr id={ "incident-" (number) } {
            th scope="row" { a href={ "#incident-" (number) } { (number) } }
            td.num { (words::at(analysis, incident.who.log, incident.first)) }
            td {
                (incident.cause.id())
                @for item in &incident.contributing { " " span.also { "+ " (item.id()) } }
            }
            td { (incident.request) }
            td.num { (known(analysis.ns(incident.who.log, incident.first, incident.until))) }
            td class=(incident.end.id()) { (words::ended(incident)) }
            td {
                (sql(words::sql(analysis, incident.who, incident.sql), 160))
                div.dim { bdi { (line(&words::who(analysis, incident.who, incident.tid), 100)) } }
            }
            td {
                @if let Some(blocker) = incident.blockers.first() {
                    @let holding = &analysis.blocking_holds[blocker.hold as usize];
                    (sql(words::sql(analysis, holding.who, holding.sql), 160))
                    div.dim {
                        @if !blocker.certain { "possibly " }
                        bdi { (line(&words::who(analysis, holding.who, blocker.tid), 100)) } ", " (holding.lock) ", " (blocker.state.id())
                    }
                    @if incident.blockers.len() > 1 || incident.more_blockers > 0 {
                        div.dim { "and " (incident.blockers.len() as u64 - 1 + u64::from(incident.more_blockers)) " more" }
                    }
                }
                @for outsider in words::untraced_holders(analysis, incident) { div { bdi { (line(&outsider.to_string(), 200)) } ", outside the trace" } }
                @if incident.blockers.is_empty() && incident.outside.is_none() { span.dim { "no blocker is known" } }
            }
        }
    }
}

/// The matrix of statements: which one blocks which.
pub(super) fn matrix(page: &Page<'_>) -> Markup {
    let pairs = ranking::statements(&page.analysis);
    let (mut victims, mut blockers): (Vec<&Option<String>>, Vec<&Option<String>>) = (Vec::new(), Vec::new());
    for pair in &pairs {
        if victims.len() < MATRIX && !victims.contains(&&pair.victim) {
            victims.push(&pair.victim);
        }
        if blockers.len() < MATRIX && !blockers.contains(&&pair.blocker) {
            blockers.push(&pair.blocker);
        }
    }
    let cell = |victim: &Option<String>, blocker: &Option<String>| {
        let mut found = pairs.iter().filter(|pair| pair.victim == *victim && pair.blocker == *blocker);
        let first = found.next()?.clone();
        Some(found.fold(first, |sum, pair| BlockingPair {
            count: sum.count + pair.count,
            gave_up: sum.gave_up + pair.gave_up,
            errors: sum.errors + pair.errors,
            waited_ns: sum.waited_ns.saturating_add(pair.waited_ns),
            ..sum
        }))
    };
    let other = page.analysis.totals.other_pairs;
    let most = pairs.iter().map(|pair| pair.count).max().unwrap_or(1).max(1);
    let shown = pairs.iter().filter(|pair| victims.contains(&&pair.victim) && blockers.contains(&&pair.blocker)).count();
    let name = |text: &Option<String>| sql(text.clone(), 120);
    html! {
        section #matrix aria-labelledby="matrix-head" {
            h2 #matrix-head { "Who blocks whom" }
            @if pairs.is_empty() {
                (none(&page.analysis, "No statement blocked another"))
            } @else {
                p.note {
                    "A row for each refused statement, a column for each statement that took the blocking lock: how often, errors, and time waited."
                    @if shown < pairs.len() { " " (many((pairs.len() - shown) as u64, "more pair")) " of statements: " code { "locktrace report --json" } "." }
                    @if other.count > 0 { " Further pairs of statements, counted together: " (many(other.count, "time")) ", " (many(other.errors(), "error")) ", " (duration(other.waited_ns)) "." }
                }
                div.scroll tabindex="0" role="region" aria-label="Table of statements" {
                    table.matrix {
                        thead { tr { td.corner { "refused ↓ · blocked by →" } @for blocker in &blockers { th scope="col" { (name(blocker)) } } } }
                        tbody {
                            @for victim in &victims {
                                tr {
                                    th scope="row" { (name(victim)) }
                                    @for blocker in &blockers {
                                        @match cell(victim, blocker) {
                                            Some(pair) => td.heat.{ "h" (1 + pair.count * 4 / most) } {
                                                strong { (count(pair.count)) }
                                                @if pair.errors > 0 { div.bad { (many(pair.errors, "error")) } }
                                                div.dim { (duration(pair.waited_ns)) }
                                            },
                                            None => td { span.dim { "–" } },
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The locks of each database, in numbers.
pub(super) fn databases(page: &Page<'_>) -> Markup {
    let all = &page.analysis.databases;
    html! {
        section #databases aria-labelledby="databases-head" {
            h2 #databases-head { "Databases" }
            @if all.is_empty() { (none(&page.analysis, "No record is about a database")) }
            @if all.len() > DATABASES {
                p.note { "The first " (DATABASES) " of " (count(all.len() as u64)) ": all are in " code { "locktrace report" } "." }
            }
            @for db in all.iter().take(DATABASES) { (database(db)) }
        }
    }
}

fn database(db: &Database) -> Markup {
    let shown: Vec<LockId> = LockId::all().filter(|&lock| db.lock(lock).any()).collect();
    let name = data::database(db);
    html! {
        h3 { bdi { (name) } @for path in db.paths.iter().skip(1) { span.dim { ", also " bdi { (line(path, 300)) } } } }
        p.dim {
            "journal mode: " (db.modes.names().join(" and ")) " · " (many(db.connections, "connection")) " · "
            @if db.logs.len() == 1 { "1 process" } @else { (count(db.logs.len() as u64)) " processes" }
            " · " (many(db.records, "record")) " · " (many(db.transitions, "transition")) " · " (count(db.redundant)) " redundant"
        }
        @if !shown.is_empty() {
            div.scroll tabindex="0" role="region" aria-label={ "Locks of " (name) } {
                table.numbers {
                    thead { tr { @for head in HEADS { th scope="col" { (head) } } } }
                    tbody {
                        @for lock in shown {
                            @let stats = db.lock(lock);
                            tr {
                                th scope="row" { (lock) }
                                td { (count(stats.acquired)) } td { (count(stats.refused)) }
                                (quantiles(&stats.held)) (quantiles(&stats.waited))
                                td { (count(stats.gave_up)) } td { (count(stats.unknown)) } td { (count(stats.open)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

const HEADS: [&str; 14] = [
    "lock",
    "taken",
    "refused",
    "held p50",
    "p95",
    "p99",
    "max",
    "got after p50",
    "p95",
    "p99",
    "max",
    "gave up",
    "unknown",
    "open",
];

fn quantiles(distribution: &Distribution) -> Markup {
    let max = (distribution.count > 0).then_some(distribution.max_ns);
    let show = |ns: Option<u64>| ns.map_or_else(|| "–".to_owned(), duration);
    html! {
        @for part in [0.5, 0.95, 0.99] { td { (show(distribution.quantile(part))) } }
        td { (show(max)) }
    }
}

/// The losses, and what the page leaves out.
pub(super) fn account(page: &Page<'_>) -> Markup {
    let analysis = &page.analysis;
    let counts = &page.counts;
    let lossy = analysis.trace.logs().iter().zip(&analysis.summary.tallies).filter(|(_, tally)| tally.unread() > 0);
    let mut lost: Vec<String> = lossy.map(|(log, tally)| format!("log {}: {}", log.id, losses(tally))).collect();
    lost.extend(analysis.summary.problems.iter().map(|problem| problem.to_string()));
    html! {
        section #losses aria-labelledby="losses-head" {
            h2 #losses-head { "Lost or unusable" }
            @if lost.is_empty() && analysis.records == 0 { p { "Nothing: the trace has no records." } }
            @else if lost.is_empty() { p { "Nothing: every record was read." } }
            ul {
                @for what in lost.iter().take(LOSSES) { li { bdi { (line(what, 500)) } } }
                @if lost.len() > LOSSES { li { "and " (count((lost.len() - LOSSES) as u64)) " more lines: " code { "locktrace report" } } }
            }
        }
        section #about aria-labelledby="about-head" {
            h2 #about-head { "What this page shows" }
            p #aggregated {
                @if counts.complete {
                    "All " (count(counts.holds)) " holds are drawn one by one."
                } @else {
                    (count(counts.holds.saturating_sub(counts.shown))) " holds are drawn as density; " (count(counts.shown))
                    " are shown one by one: those around incidents, as far as there is room, and the longest of each connection."
                }
            }
            @if counts.folded > 0 {
                p { (many(counts.folded, "connection")) " without a part in any listed incident are drawn together, in one row for a process or a database." }
            }
            @if page.placeless > 0 {
                p { (many(page.placeless, "hold")) " and stretches of work are not drawn: the clock of their log does not show when they happened." }
            }
            @if page.unit == Unit::Ticks {
                p { "This trace does not show how long a tick of the clock is, so the timeline counts ticks. Their order and proportions are right." }
            }
            @if counts.cut_statements > 0 { p { (many(counts.cut_statements, "statement")) " in the timeline are cut short, because there are so many." } }
            p.dim {
                "Made by locktrace " (env!("CARGO_PKG_VERSION")) ". This file is complete: it loads nothing. It contains SQL texts of your program: treat it like the trace."
            }
        }
    }
}
