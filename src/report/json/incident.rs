//! The part of the JSON report about incidents, causes, statements, hazards, processes and losses.
#![forbid(unsafe_code)]

use super::{array, put_lock, rfc3339};
use crate::analysis::framework::Frameworks;
use crate::analysis::incidents::incident::chain;
use crate::analysis::{Analysis, Blocker, ConnId, Hazard, Incident, LockId, State};
use crate::report::fix;
use crate::report::ranking;
use crate::report::words;
use crate::trace::{Log, OutsideHolder, Tally, total};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};

pub(super) fn write(analysis: &Analysis<'_>, out: &mut impl Write) -> io::Result<()> {
    let frameworks = Frameworks::of(analysis.trace);
    array(out, "incidents", (0..).zip(&analysis.incidents).map(|(index, item)| incident(analysis, &frameworks, index, item)))?;
    array(
        out,
        "causes",
        ranking::causes(analysis).into_iter().map(|cause| {
            json!({
                "id": cause.cause.id(), "count": cause.count, "gave_up": cause.gave_up,
                "waited_ns": cause.waited_ns, "change": cause.fix.change, "fix": cause.fix.text(),
            })
        }),
    )?;
    array(
        out,
        "statements",
        ranking::statements(analysis).into_iter().map(|pair| {
            json!({
                "victim": pair.victim, "blocker": pair.blocker, "count": pair.count, "gave_up": pair.gave_up,
                "waited_ns": pair.waited_ns,
            })
        }),
    )?;
    let other = analysis.totals.other_pairs;
    if other.count > 0 {
        let other = json!({"count": other.count, "gave_up": other.gave_up, "waited_ns": other.waited_ns});
        write!(out, ",\n\"other_statements\":{other}")?;
    }
    array(out, "hazards", analysis.hazards.iter().map(|item| hazard(analysis, item)))?;
    let mut harmless: BTreeMap<&str, u64> = BTreeMap::new();
    for (kind, count) in &analysis.totals.harmless {
        harmless.insert(kind.id(), *count);
    }
    write!(out, ",\n\"harmless\":{}", json!(harmless))?;
    array(out, "processes", analysis.trace.logs().iter().map(process))?;
    write!(out, ",\n\"losses\":{}", losses(analysis))
}

/// A connection with its thread and statement, under the keys that incidents use.
fn party(analysis: &Analysis<'_>, who: ConnId, tid: u32, sql: u64) -> Map<String, Value> {
    let log = analysis.trace.log(who.log);
    let mut value = Map::new();
    value.insert("log".into(), log.id.as_str().into());
    value.insert("pid".into(), log.pid.into());
    value.insert("tid".into(), json!((tid != 0).then_some(tid)));
    value.insert("thread".into(), json!(words::thread(analysis.trace, who, tid)));
    value.insert("connection".into(), who.conn.into());
    if who.forked {
        value.insert("forked".into(), true.into());
    }
    value.insert("sql".into(), json!(words::sql_text(analysis.trace, who, sql)));
    value.insert("sql_hash".into(), json!((sql != 0).then(|| format!("{sql:016x}"))));
    value
}

fn blocker(analysis: &Analysis<'_>, blocker: &Blocker) -> Value {
    let holding = &analysis.blocking_holds[blocker.hold as usize];
    let mut value = party(analysis, holding.who, blocker.tid, holding.sql);
    put_lock(&mut value, holding.lock);
    value.insert("last_sql".into(), json!(words::sql_text(analysis.trace, holding.who, holding.last_sql)));
    value.insert("state".into(), blocker.state.id().into());
    value.insert("certain".into(), blocker.certain.into());
    value.insert("same_thread".into(), blocker.same_thread.into());
    value.insert("attempts".into(), blocker.attempts.into());
    value.insert("held_before_ns".into(), json!(blocker.held_before_ns));
    value.insert("held_after_ns".into(), json!(blocker.held_after_ns));
    value.insert("waits_in".into(), json!(blocker.waits_in.map(|index| index + 1)));
    Value::Object(value)
}

fn blockers(analysis: &Analysis<'_>, incident: &Incident) -> Vec<Value> {
    let traced = incident.blockers.iter().map(|item| blocker(analysis, item));
    traced.chain(words::untraced_holders(analysis, incident).map(outsider)).collect()
}

/// A process outside the trace, of which only the kernel's answer is known.
fn outsider(holder: &OutsideHolder) -> Value {
    json!({
        "pid": (holder.pid > 0).then_some(holder.pid), "command": holder.command(), "lock": holder.lock(), "state": State::Untraced.id(),
        "tid": null, "thread": null, "connection": null, "sql": null, "sql_hash": null, "last_sql": null, "certain": false,
        "same_thread": false, "held_before_ns": null, "held_after_ns": null, "waits_in": null,
    })
}

fn incident(analysis: &Analysis<'_>, frameworks: &Frameworks, index: u32, incident: &Incident) -> Value {
    let log = incident.who.log;
    let mut value = Map::new();
    value.insert("id".into(), (index + 1).into());
    value.insert("database".into(), json!(incident.db));
    let path = incident.db.and_then(|db| analysis.databases.get(db as usize)?.paths.first());
    value.insert("path".into(), json!(path));
    put_lock(&mut value, LockId::of(incident.request));
    value.insert("victim".into(), party(analysis, incident.who, incident.tid, incident.sql).into());
    value.insert("reading_sql".into(), json!(words::sql_text(analysis.trace, incident.who, incident.reading_sql)));
    value.insert("own_cursor".into(), incident.own_cursor.into());
    value.insert("blockers".into(), blockers(analysis, incident).into());
    value.insert("more_blockers".into(), incident.more_blockers.into());
    let root = chain(&analysis.incidents, index).last().copied().filter(|&last| last != index);
    let root = root.and_then(|last| analysis.incidents.get(last as usize)).map(|last| blockers(analysis, last));
    value.insert("root".into(), json!(root));
    let first = analysis.real_ns(log, incident.first);
    value.insert("first".into(), json!(first.map(rfc3339)));
    let since = first.zip(analysis.span).map(|(first, (from, _))| first.saturating_sub(from));
    value.insert("first_ns".into(), json!(since));
    value.insert("waited_ns".into(), json!(analysis.ns(log, incident.first, incident.until)));
    value.insert("attempts".into(), incident.attempts.into());
    value.insert("sleeps".into(), incident.sleeps.into());
    value.insert("outcome".into(), incident.end.id().into());
    value.insert("told_busy".into(), incident.checkpoint_busy.into());
    value.insert("went_on".into(), incident.went_on.into());
    value.insert("cause".into(), incident.cause.id().into());
    let contributing: Vec<&str> = incident.contributing.iter().map(|item| item.id()).collect();
    value.insert("contributing".into(), contributing.into());
    let fix = fix::of(analysis, frameworks, incident);
    value.insert("change".into(), fix.change.as_str().into());
    value.insert("fix".into(), fix.text().into());
    let evidence = incident.evidence.iter().map(|evidence| {
        let log = analysis.trace.log(evidence.log);
        json!({"log": log.id, "n": evidence.number, "shows": fix::shows(evidence.role)})
    });
    value.insert("evidence".into(), evidence.collect());
    Value::Object(value)
}

fn hazard(analysis: &Analysis<'_>, hazard: &Hazard) -> Value {
    let evidence: Vec<Value> =
        hazard.evidence.iter().map(|(log, number)| json!({"log": analysis.trace.log(*log).id, "n": number})).collect();
    json!({"id": hazard.kind.id(), "database": hazard.db, "what": hazard.what, "fix": hazard.kind.entry().fix, "evidence": evidence})
}

fn process(log: &Log) -> Value {
    json!({
        "log": log.id, "pid": log.pid, "exe": log.names.exe(), "command": log.names.argv(), "host": log.names.host(),
        "sqlite": log.names.sqlite_versions(),
    })
}

fn losses(analysis: &Analysis<'_>) -> Value {
    let sum = |of: fn(&Tally) -> u64| total(analysis.summary.tallies.iter().map(of));
    json!({
        "lossless": !analysis.has_losses(),
        "overwritten": sum(|tally| tally.overwritten), "lost": sum(|tally| tally.lost), "empty": sum(|tally| tally.empty),
        "torn": sum(|tally| tally.torn), "missing": sum(|tally| tally.missing),
        "lost_names": total(analysis.trace.logs().iter().map(|log| log.lost_names)),
    })
}
