//! The pictures of the page that need no script, as SVG: how long locks were held and waited for, and each database over time.
//!
//! Each picture also says in words what it shows.
#![forbid(unsafe_code)]

use super::Page;
use super::bins::{BINS, Scale, Shares};
use super::data;
use super::overview::{Overview, kind};
use super::selection::Selection;
use super::verdict::none;
use crate::analysis::{Analysis, Database, Distribution, LockId};
use crate::report::human::{self, count, duration};
use crate::report::style::many;
use maud::{Markup, html};
use std::fmt::Write as _;

/// How many databases have pictures.
const DATABASES: usize = 12;

/// One database over time.
pub(super) struct Chart {
    db: usize,
    writing: Vec<f64>,
    waiting: Vec<f64>,
    reading: Vec<f64>,
    wal: Option<Vec<u64>>,
    /// The number of bins up to the end of the trace.
    bins: usize,
    length: u64,
    /// The bins count nanoseconds, not ticks.
    known: bool,
}

/// The curves of each database, the one with most writing time first.
pub(super) fn curves(analysis: &Analysis<'_>, overview: &mut Overview<'_, '_>, selection: &Selection) -> Vec<Chart> {
    let Some(scale) = overview.scale else { return Vec::new() };
    let length = overview.until.saturating_sub(scale.origin);
    let bins = (length.div_ceil(scale.width) as usize).clamp(1, BINS);
    let mut charts: Vec<Chart> = Vec::new();
    for (db, curves) in overview.curves.iter_mut().enumerate() {
        let waiting = waiting(analysis, selection, db as u32, &scale);
        let (writing, reading) = (curves.writing.shares(&scale), curves.reading.shares(&scale));
        let wal = curves.has_wal.then(|| curves.wal.peaks(&scale, bins));
        if !writing.is_empty() || !reading.is_empty() || wal.is_some() {
            let known = overview.time.unit == super::time::Unit::Nanoseconds;
            charts.push(Chart { db, writing, waiting, reading, wal, bins, length, known });
        }
    }
    charts.sort_by(|a, b| b.writing.iter().sum::<f64>().total_cmp(&a.writing.iter().sum()));
    charts
}

/// How many connections waited in each bin, in the listed incidents.
fn waiting(analysis: &Analysis<'_>, selection: &Selection, db: u32, scale: &Scale) -> Vec<f64> {
    let mut shares = Shares::default();
    for listed in &selection.incidents {
        let incident = &analysis.incidents[listed.index as usize];
        if let (Some(from), Some(until)) = (listed.from, listed.until)
            && incident.db == Some(db)
        {
            shares.add(scale, from.max(scale.origin), until.max(from));
        }
    }
    shares.shares(scale)
}

pub(super) fn section(page: &Page<'_>) -> Markup {
    html! {
        section #load aria-labelledby="load-head" {
            h2 #load-head { "Over time" }
            @if page.curves.is_empty() { (none(&page.analysis, "No lock was held")) }
            @if page.curves.len() > DATABASES { p.note { "The " (DATABASES) " most written databases of " (count(page.curves.len() as u64)) "." } }
            @for chart in page.curves.iter().take(DATABASES) {
                @let name = page.analysis.databases.get(chart.db).map(data::database).unwrap_or_default();
                h3 { bdi { (name) } }
                div.strips {
                    (strip("write", "writer's lock (WRITE, RESERVED) held", &chart.writing, chart, Some(1.0), percent))
                    (strip("wait", "connections waiting, in the incidents listed", &chart.waiting, chart, None, number))
                    (strip("read", "connections reading", &chart.reading, chart, None, number))
                    @if let Some(wal) = &chart.wal {
                        @let bytes: Vec<f64> = wal.iter().map(|&bytes| bytes as f64).collect();
                        (strip("wal", "-wal: bytes written since its log last restarted", &bytes, chart, None, |bytes| human::bytes(bytes as u64)))
                    }
                    div.ends {
                        span { "0" }
                        span { @if chart.known { (duration(chart.length)) } @else { (count(chart.length)) " ticks" } }
                    }
                }
            }
        }
    }
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 0.1 { "less than 0.1 %".to_owned() } else { format!("{percent:.1} %") }
}

fn number(value: f64) -> String {
    if value > 0.0 && value < 0.01 { "less than 0.01".to_owned() } else { format!("{value:.2}") }
}

/// One curve with its title, mean and peak.
fn strip(class: &str, what: &str, values: &[f64], chart: &Chart, top: Option<f64>, show: fn(f64) -> String) -> Markup {
    let peak = values.iter().copied().fold(0.0, f64::max);
    let mean = values.iter().sum::<f64>() / chart.bins as f64;
    let top = top.unwrap_or(peak).max(f64::MIN_POSITIVE);
    let says = if peak == 0.0 { "none".to_owned() } else { format!("{} on average, {} at most", show(mean), show(peak.min(top))) };
    let mut path = String::from("M0 100");
    let mut last = 0.0;
    for (bin, value) in values.iter().take(chart.bins).chain([&0.0]).enumerate() {
        let x = bin as f64 * 1000.0 / chart.bins as f64;
        let y = 100.0 - value.min(top) / top * 98.0;
        if y != last {
            let _ = write!(path, "H{x:.1}V{y:.1}");
            last = y;
        }
    }
    path.push_str("H1000V100Z");
    html! {
        figure.strip {
            figcaption { strong { (what) } " " span.dim { (says) } }
            svg.(class) viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label={ (what) ": " (says) } { path d=(path) {} }
        }
    }
}

/// The histograms of how long each lock was held and waited for.
pub(super) fn distributions(page: &Page<'_>) -> Markup {
    let some = |db: &&Database| LockId::all().any(|lock| shown(db, lock));
    let all: Vec<&Database> = page.analysis.databases.iter().filter(some).collect();
    html! {
        section #distributions aria-labelledby="distributions-head" {
            h2 #distributions-head { "How long locks were held and waited for" }
            @if all.is_empty() {
                (none(&page.analysis, "No hold has a known length"))
            } @else {
                p.note { "Both axes are logarithmic: from short to long, and from few to many." }
            }
            @if all.len() > DATABASES { p.note { "The first " (DATABASES) " databases of " (count(all.len() as u64)) "." } }
            @for db in all.iter().take(DATABASES) {
                h3 { bdi { (data::database(db)) } }
                div.histograms { @for lock in LockId::all().filter(|&lock| shown(db, lock)) { (histograms(db, lock)) } }
            }
        }
    }
}

fn shown(db: &Database, lock: LockId) -> bool {
    let stats = db.lock(lock);
    stats.held.count + stats.waited.count + stats.tried.count > 0
}

fn histograms(db: &Database, lock: LockId) -> Markup {
    let stats = db.lock(lock);
    html! {
        figure.histogram {
            figcaption { strong { (lock) } }
            (histogram(&format!("kind{}", kind(lock)), &many(stats.held.count, "hold"), &stats.held))
            @if stats.waited.count > 0 { (histogram("wait", &format!("{} that got it", many(stats.waited.count, "wait")), &stats.waited)) }
            @if stats.tried.count > 0 { (histogram("lost", &format!("{} that gave up", many(stats.tried.count, "wait")), &stats.tried)) }
        }
    }
}

/// The decades of nanoseconds on the axis: from 100 ns to 1,000 s.
const DECADES: std::ops::Range<u32> = 2..12;

fn histogram(class: &str, what: &str, distribution: &Distribution) -> Markup {
    if distribution.count == 0 {
        return html! {};
    }
    let steps = distribution.steps();
    let most = (steps.iter().map(|step| step.1).max().unwrap_or(1) as f64 + 1.0).log10();
    let middle = distribution.quantile(0.5).unwrap_or(0);
    let says = format!(
        "{what}: p50 {}, p99 {}, longest {}",
        duration(middle),
        duration(distribution.quantile(0.99).unwrap_or(0)),
        duration(distribution.max_ns)
    );
    let bar = 300.0 / (f64::from(DECADES.end - DECADES.start) * 3.0);
    let place = |begins: u64| {
        let decade = begins.max(1).ilog10();
        let part = match begins / 10u64.pow(decade) {
            5.. => 2,
            2.. => 1,
            _ => 0,
        };
        (i64::from(decade) - i64::from(DECADES.start)).clamp(0, i64::from(DECADES.end - DECADES.start - 1)) as f64 * 3.0
            + f64::from(part)
    };
    html! {
        svg.(class) viewBox="0 0 300 62" role="img" aria-label=(says) {
            @for decade in DECADES {
                @let x = f64::from(decade - DECADES.start) * bar * 3.0;
                line.grid x1=(x) x2=(x) y1="0" y2="50" {}
                @if (decade - DECADES.start) % 3 == 1 { text x=(x) y="60" { (duration(10u64.pow(decade)).replace(".00", "")) } }
            }
            @for (begins, number) in &steps {
                @let height = ((*number as f64 + 1.0).log10() / most * 48.0).max(2.0);
                rect x=(format!("{:.1}", place(*begins) * bar + 0.5)) y=(format!("{:.1}", 50.0 - height)) width=(format!("{:.1}", bar - 1.0)) height=(format!("{height:.1}")) {
                    title { (count(*number)) " from " (duration(*begins)) }
                }
            }
            line.axis x1="0" x2="300" y1="50" y2="50" {}
        }
        p.dim { (says) }
    }
}
