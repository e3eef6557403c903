//! The rows that come from the finished analysis: incidents with their blockers and proof, causes, hazards, databases, processes, losses, and texts
//! of statements.
#![forbid(unsafe_code)]

use super::rows::{RowNumbers, connection, process};
use super::{VERSION, logs};
use crate::analysis::framework::Frameworks;
use crate::analysis::{Analysis, Blocker, ConnId, Distribution, LockId};
use crate::export::table_values::{self, integer, mode};
use crate::report::{fix, ranking, words};
use crate::trace::text::to_hex;
use crate::trace::{Log, OutsideHolder, Severity, Tally, total};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Result, params};
use std::collections::HashMap;

/// A length, limited to 63 bits.
fn length(ns: u64) -> i64 {
    integer(ns).unwrap_or(i64::MAX)
}

pub(super) fn write(to: &Connection, analysis: &Analysis<'_>, rows: &mut RowNumbers, events: bool) -> Result<()> {
    processes(to, analysis)?;
    databases(to, analysis)?;
    incidents(to, analysis, rows)?;
    for cause in ranking::causes(analysis) {
        let counts = (length(cause.count), length(cause.gave_up), length(cause.waited_ns));
        to.prepare_cached("INSERT INTO causes VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
            cause.cause.id(),
            counts.0,
            counts.1,
            counts.2,
            cause.fix.text()
        ])?;
    }
    for pair in ranking::statements(analysis) {
        let counts = (length(pair.count), length(pair.gave_up), length(pair.waited_ns));
        to.prepare_cached("INSERT INTO statement_pairs VALUES (NULL, ?1, ?2, ?3, ?4, ?5)")?.execute(params![
            pair.victim,
            pair.blocker,
            counts.0,
            counts.1,
            counts.2
        ])?;
    }
    hazards(to, analysis)?;
    // Last, because all rows above can name statements.
    statements(to, analysis, rows)?;
    about(to, analysis, events)
}

fn about(to: &Connection, analysis: &Analysis<'_>, events: bool) -> Result<()> {
    let (from, to_) = analysis.span.unzip();
    let listed = analysis.incidents.len() as u64;
    let all: u64 = ranking::causes(analysis).iter().map(|cause| cause.count).sum();
    let number = |value: Option<u64>| value.and_then(integer).map_or(Value::Null, Value::Integer);
    let text = |value: &str| Value::Text(value.to_owned());
    let pairs = [
        ("schema", Value::Integer(VERSION.into())),
        ("written_by", text(concat!("locktrace ", env!("CARGO_PKG_VERSION")))),
        ("records", number(Some(analysis.records))),
        ("from_ns", number(from)),
        ("to_ns", number(to_)),
        ("events", text(if events { "all" } else { "none: locktrace export --format sqlite --events writes them" })),
        ("incidents", number(Some(all.max(listed)))),
        ("incidents_not_listed", number(Some(all.saturating_sub(listed)))),
        ("records_not_read", number(Some(total(analysis.summary.tallies.iter().map(Tally::unread))))),
        ("clocks", number(Some(analysis.trace.clocks().len() as u64))),
    ];
    for (key, value) in pairs {
        to.execute("INSERT INTO about VALUES (?1, ?2)", params![key, value])?;
    }
    Ok(())
}

fn processes(to: &Connection, analysis: &Analysis<'_>) -> Result<()> {
    for (id, log) in logs(analysis.trace) {
        let names = &log.names;
        let known = analysis.trace.clock(id).ns_per_tick().is_some();
        to.prepare_cached("INSERT INTO processes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?.execute(params![
            process(id),
            log.id,
            log.pid,
            names.exe(),
            names.argv().and_then(|argv| serde_json::to_string(&argv).ok()),
            names.host(),
            names.sqlite_versions().join(", "),
            names.policy(),
            (log.boot_id != [0; 16]).then(|| to_hex(&log.boot_id)),
            integer(log.first.real_ns),
            known
        ])?;
        let tally = analysis.summary.tallies.get(id.0 as usize).copied().unwrap_or_default();
        let counts =
            [tally.head, tally.read, tally.overwritten, tally.lost, tally.empty, tally.torn, tally.missing, log.lost_names];
        let counts = counts.map(length);
        to.prepare_cached("INSERT INTO losses VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?.execute(params![
            process(id),
            counts[0],
            counts[1],
            counts[2],
            counts[3],
            counts[4],
            counts[5],
            counts[6],
            counts[7]
        ])?;
    }
    for problem in &analysis.summary.problems {
        let severity = if problem.severity == Severity::Notice { "notice" } else { "problem" };
        to.execute("INSERT INTO problems VALUES (NULL, ?1, ?2)", params![severity, problem.to_string()])?;
    }
    Ok(())
}

fn databases(to: &Connection, analysis: &Analysis<'_>) -> Result<()> {
    let named = analysis.trace.logs().iter().flat_map(|log| log.names.files());
    let bytes: HashMap<&str, &[u8]> =
        named.filter_map(|name| Some((name.path.text.as_str(), name.path.bytes.as_deref()?))).collect();
    for (id, db) in (0i64..).zip(&analysis.databases) {
        let systems: Vec<&str> = db.file_systems.iter().map(String::as_str).collect();
        let path = db.paths.first();
        to.prepare_cached("INSERT INTO databases VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?.execute(params![
            id,
            path,
            path.and_then(|path| bytes.get(path.as_str())),
            db.modes.names().join(" "),
            systems.join(" "),
            length(db.connections),
            length(db.logs.len() as u64),
            length(db.records),
            length(db.transitions),
            length(db.redundant)
        ])?;
        for path in &db.paths {
            to.prepare_cached("INSERT INTO database_paths VALUES (?1, ?2)")?.execute(params![id, path])?;
        }
        for lock in LockId::all().filter(|&lock| db.lock(lock).any()) {
            let stats = db.lock(lock);
            let (held, waited) = (distribution(&stats.held), distribution(&stats.waited));
            let sql = "INSERT INTO locks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)";
            to.prepare_cached(sql)?.execute(params![
                id,
                lock.name(),
                mode(lock),
                length(stats.acquired),
                length(stats.refused),
                length(stats.held.count),
                held[0],
                held[1],
                held[2],
                held[3],
                held[4],
                length(stats.unknown),
                length(stats.open),
                length(stats.waited.count),
                waited[0],
                waited[1],
                waited[2],
                waited[3],
                waited[4],
                length(stats.gave_up)
            ])?;
        }
    }
    Ok(())
}

/// Median, 95th and 99th percentile, longest, sum; NULL for an empty distribution.
fn distribution(of: &Distribution) -> [Option<i64>; 5] {
    if of.count == 0 {
        return [None; 5];
    }
    let quantile = |part| of.quantile(part).map(length);
    let sum = u64::try_from(of.sum_ns).unwrap_or(u64::MAX);
    [quantile(0.5), quantile(0.95), quantile(0.99), Some(length(of.max_ns)), Some(length(sum))]
}

fn incidents(to: &Connection, analysis: &Analysis<'_>, rows: &mut RowNumbers) -> Result<()> {
    let frameworks = Frameworks::of(analysis.trace);
    for (id, incident) in (1i64..).zip(&analysis.incidents) {
        let (log, lock) = (incident.who.log, LockId::of(incident.request));
        let thread = thread(to, analysis, rows, incident.who, incident.tid)?;
        to.prepare_cached("INSERT INTO incidents VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)")?
            .execute(params![
                id,
                incident.db,
                rows.connection(to, incident.who, incident.db)?,
                thread,
                rows.statement(incident.sql),
                lock.name(),
                mode(lock),
                analysis.real_ns(log, incident.first).and_then(integer),
                analysis.ns(log, incident.first, incident.until).and_then(integer),
                incident.attempts,
                incident.sleeps,
                length(incident.slept_us),
                incident.end.id(),
                incident.cause.id(),
                fix::of(analysis, &frameworks, incident).text(),
                incident.more_blockers
            ])?;
        for contributing in &incident.contributing {
            to.prepare_cached("INSERT OR IGNORE INTO contributing VALUES (?1, ?2)")?.execute(params![id, contributing.id()])?;
        }
        for (position, blocker) in (1i64..).zip(&incident.blockers) {
            traced(to, analysis, rows, (id, position), blocker)?;
        }
        let traced = incident.blockers.len() as i64;
        for (position, holder) in (traced + 1..).zip(words::untraced_holders(analysis, incident)) {
            untraced_blocker(to, (id, position), holder)?;
        }
        for (position, evidence) in (1i64..).zip(&incident.evidence) {
            to.prepare_cached("INSERT INTO evidence VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
                id,
                position,
                process(evidence.log),
                integer(evidence.number),
                fix::shows(evidence.role)
            ])?;
        }
    }
    rows.finish(to)
}

/// The row of a thread.
fn thread(to: &Connection, analysis: &Analysis<'_>, rows: &mut RowNumbers, who: ConnId, tid: u32) -> Result<Option<i64>> {
    rows.thread(to, who.log, tid, words::thread(analysis.trace, who, tid))
}

fn traced(to: &Connection, analysis: &Analysis<'_>, rows: &mut RowNumbers, id: (i64, i64), blocker: &Blocker) -> Result<()> {
    let holding = &analysis.blocking_holds[blocker.hold as usize];
    let thread = thread(to, analysis, rows, holding.who, blocker.tid)?;
    let of = connection(holding.who);
    let mut hold = to.prepare_cached("SELECT id FROM holds WHERE connection = ?1 AND record = ?2 AND lock = ?3 AND mode = ?4")?;
    let hold: Option<i64> = hold
        .query_row(params![of, integer(holding.number), holding.lock.name(), mode(holding.lock)], |row| row.get(0))
        .optional()?;
    to.prepare_cached(BLOCKER)?.execute(params![
        id.0,
        id.1,
        hold,
        rows.connection(to, holding.who, None)?,
        thread,
        rows.statement(holding.sql),
        rows.statement(holding.last_sql),
        holding.lock.name(),
        mode(holding.lock),
        blocker.state.id(),
        blocker.certain,
        blocker.same_thread,
        blocker.attempts,
        blocker.held_before_ns.and_then(integer),
        blocker.held_after_ns.and_then(integer),
        blocker.waits_in.map(|index| i64::from(index) + 1),
        analysis.trace.log(holding.who.log).pid,
        None::<&str>
    ])?;
    Ok(())
}

const BLOCKER: &str =
    "INSERT INTO blockers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";

/// A process outside the trace, known only from the kernel.
fn untraced_blocker(to: &Connection, id: (i64, i64), holder: &OutsideHolder) -> Result<()> {
    let none = None::<i64>;
    let pid = (holder.pid > 0).then_some(holder.pid);
    let state = crate::analysis::State::Untraced.id();
    let lock = holder.lock();
    let (mode, lock) = table_values::outside(&lock);
    to.prepare_cached(BLOCKER)?.execute(params![
        id.0,
        id.1,
        none,
        none,
        none,
        none,
        none,
        lock,
        mode,
        state,
        false,
        false,
        none,
        none,
        none,
        none,
        pid,
        holder.command()
    ])?;
    Ok(())
}

fn hazards(to: &Connection, analysis: &Analysis<'_>) -> Result<()> {
    for (id, hazard) in (1i64..).zip(&analysis.hazards) {
        to.execute("INSERT INTO hazards VALUES (?1, ?2, ?3, ?4)", params![id, hazard.db, hazard.kind.id(), hazard.what])?;
        for (position, &(log, number)) in (1i64..).zip(&hazard.evidence) {
            let row = params![id, position, process(log), integer(number)];
            to.execute("INSERT INTO hazard_evidence VALUES (?1, ?2, ?3, ?4)", row)?;
        }
    }
    Ok(())
}

/// The texts of all statements, also of those that no row names.
fn statements(to: &Connection, analysis: &Analysis<'_>, rows: &mut RowNumbers) -> Result<()> {
    for (hash, sql) in analysis.trace.logs().iter().flat_map(|log: &Log| log.names.numbered_sqls()) {
        let Some(id) = rows.statement(hash) else { continue };
        let text = &sql.text;
        to.prepare_cached("INSERT OR IGNORE INTO statements VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
            id,
            format!("{hash:016x}"),
            text.text,
            text.bytes,
            length(sql.len)
        ])?;
    }
    for (hash, id) in rows.statements() {
        let mut insert = to.prepare_cached("INSERT OR IGNORE INTO statements VALUES (?1, ?2, NULL, NULL, NULL)")?;
        insert.execute(params![id, format!("{hash:016x}")])?;
    }
    Ok(())
}
