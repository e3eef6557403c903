//! The report for programs: one JSON object, `"schema": 1`.
//!
//! This page describes every key. A later version may add keys, and raises `schema` if a key changes its meaning. Times are UTC, RFC 3339.
//! Lengths of time end in `_ns`. An unknown value is null, or its key is left out.
//!
//! | key | what |
//! | --- | --- |
//! | `schema` | 1 |
//! | `records`, `from`, `to` | how many records were read; the first and the last instant |
//! | `refused` | `attempts`; `closing` and `optional` (those of closing connections, and those for a reader's slot that SQLite carries on without; both are normal and not in `attempts`); `by_lock` (`lock`, `mode`, `attempts`); `certain`, `possible`, `untraced` (attempts by how certain their holder is) |
//! | `worst_holder` | the holder that most attempts name: a [holder](#holders), `certain_attempts`, `possible_attempts` |
//! | `databases` | array: `path`, `paths`, `journal_modes` (`wal`, `delete`, `rollback`, `unknown`), `file_systems`, `connections`, `processes`, `records`, `transitions`, `redundant`, `locks`, `longest_holds` |
//! | `databases[].locks` | array: `lock`, `mode` (wal-index locks), `acquired`, `refused` (including those of closing connections), `held`, `unknown_holds`, `open_holds`, `waited`, `gave_up`, `tried`; `held`, `waited` and `tried` are distributions: `count`, `p50_ns`, `p95_ns`, `p99_ns`, `max_ns`, `total_ns` |
//! | `databases[].longest_holds` | array: `ns`, `lock`, `mode`, `since`, `open`, and *who* |
//! | `refusals` | array, in time order: `database` (index), `time`, `n` (record number), *who*, `kind`, `lock` or `slots` and `mode`, `rc`, `result`, `closing`, `optional`, `wait` (index), `holders`, `more_holders`, `no_holder` (why there is none), `in_process` (refused inside its own process; left out if false), `outside` (left out if the recorder did not ask the kernel) |
//! | `waits` | array: `database`, *who*, `lock` or `slots` and `mode`, `from`, `ns`, `attempts`, `sleeps`, `slept_us`, `outcome` (`acquired`, `gave_up`, `went_on` (without the lock), `trace_end`) |
//! | `incidents` | array, in time order (all of them, up to 10,000), with the keys of [an incident](#incidents) |
//! | `causes` | array, the most harmful first: `id`, `count`, `gave_up`, `waited_ns`, `change`, `fix` |
//! | `statements` | array, the most harmful first: which statement blocks which: `victim`, `blocker` (texts, or null), `count`, `gave_up`, `waited_ns` |
//! | `other_statements` | if there are very many pairs of statements: `count`, `gave_up`, `waited_ns` of the least harmful ones, which are not in `statements`. Left out if there are none |
//! | `incidents_not_listed`, `waits_not_listed`, `refusals_not_listed` | how many are in the sums but not in the array, which has the first ones, and the worst incidents of each kind (`--incidents`, `--all`). Left out if 0 |
//! | `hazards` | array: `id`, `database` (index), `what`, `fix`, `evidence` (array of `log`, `n`) |
//! | `harmless` | object: waits that no application notices, by kind (`closing`, `reader-slot`, `passive-checkpoint`, `automatic-checkpoint`, `header-changing`, `cache-spill`) |
//! | `processes` | array: `log`, `pid`, `exe`, `command`, `host`, `sqlite` |
//! | `losses` | `lossless`, and the sums over all `logs` of `overwritten`, `lost`, `empty`, `torn`, `missing`, `lost_names` |
//! | `logs` | array: `log`, `pid`, `exe`, `sqlite`, and what became of its records (see `Tally`) |
//! | `problems` | array: `severity`, `text` |
//!
//! `outside` is the answer of `/proc/locks`: `asked_here` (false: at an earlier attempt of the wait), `after_ns` (from that attempt's start to
//! the answer), and, as in the names (`shim::format`), `readings`, `failed`, `holders`, `more`. `outside_holder`, next to `worst_holder`, is the
//! holder outside the trace that the kernel named for the most attempts without a certain traced holder, with its `attempts`.
//!
//! *Who* is `log`, `pid`, `tid`, `thread`, `conn`, `forked` (left out if false), `sql` (hash), `text`.
//!
//! # Incidents
//!
//! A wait of one connection for one lock, or an upgrade that failed without a refused call (`stale-snapshot`).
//!
//! | key | what |
//! | --- | --- |
//! | `id` | its place in this array, from 1 on, for `locktrace explain --incident` |
//! | `database`, `path` | an index into `databases`, or null; the path of the database |
//! | `lock`, `mode` | the refused lock, or the first of several slots; `mode` for wal-index locks |
//! | `victim` | `log`, `pid`, `tid`, `thread`, `connection`, `sql` (text or null), `sql_hash` |
//! | `blockers` | array, the one that refused most attempts first; the keys of `victim`, and `lock`, `mode`, `state` (`running`, `idle-in-transaction`, `syncing`, `checkpointing`, `waiting`, `gone`, `untraced`), `certain`, `same_thread`, `attempts` (how many it refused), `last_sql` (the statement seen last while it held the lock), `held_before_ns` (up to the first attempt), `held_after_ns` (after the last one, or the success), `waits_in` (the incident in which it waits itself, or null). For a process outside the trace only `pid`, `command` and `lock` are known |
//! | `more_blockers` | how many further blockers there are |
//! | `root` | `blockers` of the incident at which the chain of waits ends; null if there is no chain |
//! | `first`, `first_ns` | when the first attempt began, as a time and in nanoseconds since `from` |
//! | `waited_ns` | from the first attempt to the success, or to the end of the last attempt |
//! | `attempts`, `sleeps` | refused attempts; SQLite's own sleeps between them |
//! | `outcome` | `succeeded-after-wait`, `gave-up` (the application saw an error), `open` (the trace ended) |
//! | `told_busy` | the victim gave up, but no statement failed: `PRAGMA wal_checkpoint` returned a row that says busy |
//! | `went_on` | the statement went on without the lock; `outcome` is `succeeded-after-wait` |
//! | `cause`, `contributing` | identifiers |
//! | `reading_sql` | the statement that began the read transaction of a refused upgrade; null if there is none, or if it is unknown |
//! | `own_cursor` | the victim's own unfinished statement keeps that transaction open |
//! | `change` | what to change first, in one line |
//! | `fix` | `change`, then why, further changes and limits |
//! | `evidence` | array of `log`, `n` (the record's number in it), `shows` |
//!
//! # Holders
//!
//! *Who*, `lock`, `mode`, `since` (when the call that took the lock began), `held_ns` (from then to the refused attempt), `seen` (whether
//! that call was seen), `certain`.
#![forbid(unsafe_code)]

mod incident;

use super::words;
use crate::analysis::{
    Analysis, Candidate, ConnId, Database, Distribution, Instant, LockId, Refusal, RefusalStats, Request, Wait, WaitEnd,
};
use crate::trace::{LogId, Severity, object};
use serde_json::{Map, Value, json};
use std::io::{self, Write};

/// Writes the report.
///
/// # Errors
/// The errors of `out`.
pub fn write(analysis: &Analysis<'_>, out: &mut impl Write) -> io::Result<()> {
    let stats = &analysis.refusal_stats;
    write!(out, "{{\"schema\":1,\n\"records\":{}", analysis.records)?;
    let (from, to) = analysis.span.unzip();
    write!(out, ",\n\"from\":{},\n\"to\":{}", json!(from.map(rfc3339)), json!(to.map(rfc3339)))?;
    write!(out, ",\n\"refused\":{}", refused(stats))?;
    let worst = stats.top_candidate.map(|worst| {
        let mut value = holder(analysis, &worst.candidate, None);
        value.remove("certain");
        value.insert("certain_attempts".into(), worst.certain.into());
        value.insert("possible_attempts".into(), worst.possible.into());
        value
    });
    write!(out, ",\n\"worst_holder\":{}", json!(worst))?;
    if let Some((holder, attempts)) = stats.outside {
        let mut value = object(json!(holder));
        value.insert("attempts".into(), attempts.into());
        write!(out, ",\n\"outside_holder\":{}", Value::Object(value))?;
    }
    array(out, "databases", analysis.databases.iter().map(|db| database(analysis, db)))?;
    array(out, "refusals", analysis.refusals.iter().map(|item| refusal(analysis, item)))?;
    array(out, "waits", analysis.waits.iter().map(|item| wait(analysis, item)))?;
    incident::write(analysis, out)?;
    for (what, more) in ["incidents", "waits", "refusals"].into_iter().zip(analysis.not_listed()) {
        if more > 0 {
            write!(out, ",\n\"{what}_not_listed\":{more}")?;
        }
    }
    array(out, "logs", (0..).map(LogId).zip(analysis.trace.logs()).map(|(id, _)| log(analysis, id)))?;
    array(
        out,
        "problems",
        analysis.summary.problems.iter().map(|problem| {
            let severity = if problem.severity == Severity::Notice { "notice" } else { "problem" };
            json!({"severity": severity, "text": problem.to_string()})
        }),
    )?;
    out.write_all(b"}\n")
}

/// Writes an array, one item on each line.
fn array(out: &mut impl Write, key: &str, items: impl Iterator<Item = Value>) -> io::Result<()> {
    write!(out, ",\n\"{key}\":[")?;
    for (i, item) in items.enumerate() {
        out.write_all(if i == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, &item)?;
    }
    out.write_all(b"]")
}

fn rfc3339(ns: u64) -> String {
    humantime::format_rfc3339_nanos(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(ns)).to_string()
}

fn refused(stats: &RefusalStats<'_>) -> Value {
    let by_lock: Vec<Value> = stats
        .by_lock
        .iter()
        .map(|(&lock, attempts)| {
            let mut value = Map::new();
            put_lock(&mut value, lock);
            value.insert("attempts".into(), (*attempts).into());
            Value::Object(value)
        })
        .collect();
    json!({
        "attempts": stats.refused, "closing": stats.closing, "optional": stats.optional, "by_lock": by_lock,
        "certain": stats.certain, "possible": stats.possible, "untraced": stats.untraced,
    })
}

fn put_lock(value: &mut Map<String, Value>, lock: LockId) {
    value.insert("lock".into(), lock.name().into());
    if let Some(mode) = lock.mode() {
        value.insert("mode".into(), mode.into());
    }
}

fn put_request(value: &mut Map<String, Value>, request: Request) {
    match request {
        Request::File(level) => value.insert("lock".into(), level.to_string().into()),
        Request::Shm { exclusive, .. } => {
            value.insert("mode".into(), if exclusive { "EXCLUSIVE" } else { "SHARED" }.into());
            value.insert("slots".into(), request.names().into())
        }
    };
}

fn who(analysis: &Analysis<'_>, who: ConnId, tid: u32, sql: u64) -> Map<String, Value> {
    let log = analysis.trace.log(who.log);
    let mut value = Map::new();
    value.insert("log".into(), log.id.as_str().into());
    value.insert("pid".into(), log.pid.into());
    value.insert("conn".into(), who.conn.into());
    if who.forked {
        value.insert("forked".into(), true.into());
    }
    if tid != 0 {
        value.insert("tid".into(), tid.into());
    }
    if let Some(name) = words::thread(analysis.trace, who, tid) {
        value.insert("thread".into(), name.into());
    }
    if sql != 0 {
        value.insert("sql".into(), format!("{sql:016x}").into());
    }
    if let Some(text) = words::sql_text(analysis.trace, who, sql) {
        value.insert("text".into(), text.into());
    }
    value
}

fn time(analysis: &Analysis<'_>, log: LogId, at: Instant) -> Value {
    json!(analysis.real_ns(log, at).map(rfc3339))
}

fn holder(analysis: &Analysis<'_>, holder: &Candidate, refused_at: Option<Instant>) -> Map<String, Value> {
    let mut value = who(analysis, holder.who, holder.tid, holder.sql);
    put_lock(&mut value, holder.lock);
    value.insert("since".into(), if holder.since == 0 { Value::Null } else { time(analysis, holder.who.log, holder.since) });
    if let Some(at) = refused_at.filter(|_| holder.seen) {
        value.insert("held_ns".into(), json!(analysis.ns(holder.who.log, holder.since, at)));
    }
    value.insert("seen".into(), holder.seen.into());
    value.insert("certain".into(), holder.certain.into());
    value
}

fn refusal(analysis: &Analysis<'_>, refusal: &Refusal) -> Value {
    let mut value = who(analysis, refusal.who, refusal.tid, refusal.sql);
    put_request(&mut value, refusal.request);
    let kind = if matches!(refusal.request, Request::File(_)) { "xLock" } else { "xShmLock" };
    value.insert("kind".into(), kind.into());
    value.insert("database".into(), json!(refusal.db));
    value.insert("time".into(), time(analysis, refusal.who.log, refusal.start));
    value.insert("n".into(), refusal.number.into());
    value.insert("rc".into(), refusal.rc.0.into());
    value.insert("result".into(), refusal.rc.to_string().into());
    value.insert("closing".into(), refusal.closing.into());
    value.insert("optional".into(), refusal.request.is_optional().into());
    value.insert("wait".into(), refusal.wait.into());
    let holders: Vec<Value> =
        refusal.candidates.iter().map(|item| Value::Object(holder(analysis, item, Some(refusal.start)))).collect();
    if holders.is_empty() {
        value.insert("no_holder".into(), words::no_holder(analysis, refusal).into());
    }
    value.insert("holders".into(), holders.into());
    value.insert("more_holders".into(), refusal.more_candidates.into());
    if refusal.in_process {
        value.insert("in_process".into(), true.into());
    }
    if let (Some(outside), Some(query)) = (analysis.outside(refusal), refusal.kernel_query) {
        let mut answer = object(json!(outside));
        let ticks = answer.remove("after").and_then(|after| after.as_u64());
        answer.retain(|key, _| !matches!(key.as_str(), "conn" | "start"));
        answer.insert("after_ns".into(), json!(ticks.and_then(|ticks| analysis.trace.clock(refusal.who.log).to_ns(ticks))));
        answer.insert("asked_here".into(), query.here.into());
        value.insert("outside".into(), answer.into());
    }
    Value::Object(value)
}

fn wait(analysis: &Analysis<'_>, wait: &Wait) -> Value {
    let mut value = who(analysis, wait.who, wait.tid, wait.sql);
    put_request(&mut value, wait.request);
    value.insert("database".into(), json!(wait.db));
    value.insert("from".into(), time(analysis, wait.who.log, wait.from));
    value.insert("ns".into(), json!(analysis.ns(wait.who.log, wait.from, wait.until)));
    value.insert("attempts".into(), wait.attempts.into());
    value.insert("sleeps".into(), wait.sleeps.into());
    value.insert("slept_us".into(), wait.slept_us.into());
    let outcome = match wait.end {
        WaitEnd::Acquired => "acquired",
        WaitEnd::GaveUp => "gave_up",
        WaitEnd::WentOn => "went_on",
        WaitEnd::TraceEnd => "trace_end",
    };
    value.insert("outcome".into(), outcome.into());
    Value::Object(value)
}

fn distribution(distribution: &Distribution) -> Value {
    json!({
        "count": distribution.count,
        "p50_ns": distribution.quantile(0.5),
        "p95_ns": distribution.quantile(0.95),
        "p99_ns": distribution.quantile(0.99),
        "max_ns": if distribution.count > 0 { Some(distribution.max_ns) } else { None },
        "total_ns": u64::try_from(distribution.sum_ns).ok(),
    })
}

fn database(analysis: &Analysis<'_>, db: &Database) -> Value {
    let mut locks = Vec::new();
    for lock in LockId::all() {
        let stats = db.lock(lock);
        if !stats.any() {
            continue;
        }
        let mut value = Map::new();
        put_lock(&mut value, lock);
        value.insert("acquired".into(), stats.acquired.into());
        value.insert("refused".into(), stats.refused.into());
        value.insert("held".into(), distribution(&stats.held));
        value.insert("unknown_holds".into(), stats.unknown.into());
        value.insert("open_holds".into(), stats.open.into());
        value.insert("waited".into(), distribution(&stats.waited));
        value.insert("gave_up".into(), stats.gave_up.into());
        value.insert("tried".into(), distribution(&stats.tried));
        locks.push(Value::Object(value));
    }
    let longest: Vec<Value> = db
        .longest
        .iter()
        .map(|hold| {
            let mut value = who(analysis, hold.who, hold.tid, hold.sql);
            put_lock(&mut value, hold.lock);
            value.insert("ns".into(), hold.ns.into());
            value.insert("since".into(), time(analysis, hold.who.log, hold.since.0));
            value.insert("open".into(), hold.open.into());
            Value::Object(value)
        })
        .collect();
    json!({
        "path": db.paths.first(), "paths": db.paths, "journal_modes": db.modes.names(), "file_systems": db.file_systems,
        "connections": db.connections, "processes": db.logs.len(), "records": db.records, "transitions": db.transitions,
        "redundant": db.redundant, "locks": locks, "longest_holds": longest,
    })
}

fn log(analysis: &Analysis<'_>, id: LogId) -> Value {
    let log = analysis.trace.log(id);
    let tally = analysis.summary.tallies.get(id.0 as usize).copied().unwrap_or_default();
    json!({
        "log": log.id, "pid": log.pid, "exe": log.names.exe(), "sqlite": log.names.sqlite_versions(),
        "head": tally.head, "read": tally.read, "overwritten": tally.overwritten, "lost": tally.lost, "empty": tally.empty,
        "torn": tally.torn, "missing": tally.missing, "lost_names": log.lost_names,
    })
}
